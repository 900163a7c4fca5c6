#include "problem_text.h"

#include <fnmatch.h>

#include <charconv>
#include <fstream>
#include <map>
#include <sstream>

namespace convtranspose::bench {
namespace {

using Sizes = std::vector<std::int64_t>;

// "4x4" -> {4, 4}; empty if the text is anything else.
Sizes parse_sizes(std::string_view text) {
  Sizes sizes;
  const char* at = text.data();
  const char* end = at + text.size();
  while (true) {
    std::int64_t value = 0;
    const auto [next, error] = std::from_chars(at, end, value);
    if (error != std::errc() || value < 0) return {};
    sizes.push_back(value);
    if (next == end) return sizes;
    if (*next != 'x') return {};
    at = next + 1;
  }
}

// The sizes of one word in the core's order (lower ranks in the last entries); false if their number does not fit.
bool spread(const Sizes& sizes, std::size_t rank, Dims* dims) {
  if (sizes.size() != 1 && sizes.size() != rank) return false;
  for (std::size_t d = 0; d < rank; ++d) (*dims)[kSpatialDims - rank + d] = sizes[sizes.size() == 1 ? 0 : d];
  return true;
}

}  // namespace

std::string parse_problem(NamedProblem* problem) {
  std::map<std::string, Sizes> words;
  std::istringstream stream(problem->text);
  for (std::string word; stream >> word;) {
    const std::size_t digits = word.find_first_of("0123456789");
    const std::string key = word.substr(0, digits);
    if (std::string_view(" n c o i k s p op d g ").find(" " + key + " ") == std::string_view::npos) {
      return "\"" + word + "\": expected one of n c o i k s p op d g with its sizes";
    }
    Sizes sizes = digits == std::string::npos ? Sizes() : parse_sizes(std::string_view(word).substr(digits));
    if (sizes.empty()) return "\"" + word + "\": expected whole numbers joined by x";
    if (!words.emplace(key, std::move(sizes)).second) return "\"" + word + "\": given twice";
  }
  for (const char* key : {"c", "o", "i", "k"}) {
    if (!words.contains(key)) return std::string("\"") + key + "\" is missing";
  }

  const std::size_t rank = words["i"].size();
  if (rank > kSpatialDims) return "i: at most 3 spatial dimensions";
  for (const char* key : {"n", "c", "o", "g"}) {
    if (words.contains(key) && words[key].size() != 1) return std::string(key) + ": one number only";
  }
  Dims padding{0, 0, 0}, output_padding{0, 0, 0};
  LayerSpec& layer = problem->layer;
  CallSpec& call = problem->call;
  layer = {};
  call = {};
  const std::pair<const char*, Dims*> spatial[] = {{"i", &call.in},        {"k", &layer.kernel}, {"s", &layer.stride},
                                                   {"d", &layer.dilation}, {"p", &padding},      {"op", &output_padding}};
  for (const auto& [key, dims] : spatial) {
    if (words.contains(key) && !spread(words[key], rank, dims)) return std::string(key) + ": as many sizes as i, or one";
  }
  layer.rank = static_cast<int>(rank);
  layer.in_channels = words["c"][0];
  layer.out_channels = words["o"][0];
  if (words.contains("g")) layer.groups = words["g"][0];
  if (words.contains("n")) call.batch = words["n"][0];
  for (int d = 0; d < kSpatialDims; ++d) {
    call.pad_begin[d] = padding[d];
    call.out[d] = (call.in[d] - 1) * layer.stride[d] - 2 * padding[d] + layer.dilation[d] * (layer.kernel[d] - 1) +
                  output_padding[d] + 1;
  }
  const Status status = validate(layer, call);
  return status.ok() ? "" : std::string(status.argument) + ": " + status.message;
}

std::string read_suite(const std::string& path, std::vector<NamedProblem>* suite) {
  std::ifstream file(path);
  if (!file) return path + ": cannot be read";
  for (std::string line; std::getline(file, line);) {
    std::istringstream words(line.substr(0, line.find('#')));
    NamedProblem problem;
    if (!(words >> problem.name)) continue;
    std::getline(words >> std::ws, problem.text);
    if (const std::string error = parse_problem(&problem); !error.empty()) return path + ", " + problem.name + ": " + error;
    suite->push_back(std::move(problem));
  }
  return "";
}

std::string select_problems(const std::string& path, const std::vector<std::string>& arguments,
                            std::vector<NamedProblem>* selected) {
  std::vector<NamedProblem> suite;
  if (const std::string error = read_suite(path, &suite); !error.empty()) return error;
  if (arguments.empty()) *selected = suite;
  for (const std::string& argument : arguments) {
    if (argument.find(' ') != std::string::npos) {
      NamedProblem own;
      own.name = own.text = argument;
      if (const std::string error = parse_problem(&own); !error.empty()) return error;
      selected->push_back(std::move(own));
      continue;
    }
    const std::size_t before = selected->size();
    for (const NamedProblem& problem : suite) {
      if (fnmatch(argument.c_str(), problem.name.c_str(), 0) == 0) selected->push_back(problem);
    }
    if (selected->size() == before) return "no layer of the suite is called \"" + argument + "\"";
  }
  return "";
}

}  // namespace convtranspose::bench
