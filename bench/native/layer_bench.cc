// Runs layers through the public C++ interface and prints their speed: the bench to tune and profile with.
//
//   layer_bench [options] [layer | "problem"]...
//
// A layer is a name of the suite, with * and ? as wildcards; a problem is text as problem_text.h describes it (it holds a
// space). Without either, the whole suite runs.
#include <getopt.h>

#include <algorithm>
#include <chrono>
#include <cmath>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <limits>
#include <optional>
#include <span>
#include <string>
#include <utility>
#include <vector>

#include "include/convtranspose.h"
#include "peak.h"
#include "problem_text.h"
#include "random_floats.h"

namespace convtranspose::bench {
namespace {

using Clock = std::chrono::steady_clock;

constexpr const char* kUsage =
    "usage: layer_bench [options] [layer | \"problem\"]...\n"
    "  a layer is a name of the suite (* and ? match), a problem is \"n1 c64 o32 i16x16 k4 s2 p1 op0 d1 g1\"\n"
    "  --threads N        threads that a run may use (1)\n"
    "  --seconds S        time for each measurement (1)\n"
    "  --isa NAME         as CONVTRANSPOSE_ISA: baseline, avx2, avx512, amx, neon\n"
    "  --algorithm NAME   auto, direct, gemm, winograd, amx, depthwise, reference; all: each that accepts, reference "
    "excepted\n"
    "  --precision NAME   highest, high, medium\n"
    "  --channels-last    input and output in [N, ..., C] order\n"
    "  --fresh            outputs in memory that the caches do not hold, as of calls without out\n"
    "  --bias             with a bias\n"
    "  --activation NAME  fused: relu, clamp, leakyRelu, prelu, tanh, sigmoid, gelu, geluTanh, silu, elu\n"
    "  --residual         with a residual, added before the activation\n"
    "  --check            compare with the reference algorithm (slow on large layers); exit with 1 if a result is wrong\n"
    "  --suite FILE       lines of \"name problem\"\n";

constexpr std::pair<const char*, AlgorithmChoice> kAlgorithms[] = {
    {"auto", AlgorithmChoice::kAuto},
    {"direct", AlgorithmChoice::kDirect},
    {"gemm", AlgorithmChoice::kGemm},
    {"winograd", AlgorithmChoice::kWinograd},
    {"amx", AlgorithmChoice::kAmx},
    {"depthwise", AlgorithmChoice::kDepthwise},
    {"reference", AlgorithmChoice::kReference},
};
constexpr std::pair<const char*, Precision> kPrecisions[] = {
    {"highest", Precision::kHighest}, {"high", Precision::kHigh}, {"medium", Precision::kMedium}};

constexpr float kUnbounded = std::numeric_limits<float>::infinity();
constexpr std::pair<const char*, PostOps> kActivations[] = {
    {"relu", {Activation::kClamp, 0.0f, kUnbounded}},
    {"clamp", {Activation::kClamp, -1.0f, 1.0f}},
    {"leakyRelu", {Activation::kLeakyRelu, -kUnbounded, kUnbounded, 0.01f}},
    {"prelu", {Activation::kPrelu}},
    {"tanh", {Activation::kTanh}},
    {"sigmoid", {Activation::kSigmoid}},
    {"gelu", {Activation::kGelu}},
    {"geluTanh", {Activation::kGeluTanh}},
    {"silu", {Activation::kSilu}},
    {"elu", {Activation::kElu, -kUnbounded, kUnbounded, 1.0f}},
};

struct Options {
  int threads = 1;
  double seconds = 1;
  std::vector<AlgorithmChoice> algorithms{AlgorithmChoice::kAuto};
  Precision precision = Precision::kHighest;
  MemoryFormat format = MemoryFormat::kContiguous;
  bool fresh = false;
  bool bias = false;
  PostOps post_ops;
  bool residual = false;
  bool check = false;
  std::string suite = CONVTRANSPOSE_SUITE;
};

[[noreturn]] void fail(const std::string& message) {
  std::fprintf(stderr, "layer_bench: %s\n", message.c_str());
  std::exit(1);
}

template <typename Value, std::size_t size>
Value named(const std::pair<const char*, Value> (&names)[size], const char* option, const char* text) {
  for (const auto& [name, value] : names) {
    if (std::strcmp(name, text) == 0) return value;
  }
  fail(std::string(option) + ": unknown name \"" + text + "\"");
}

struct Timing {
  double min_seconds;
  double median_seconds;
  std::size_t runs;
  double peak_gflops;
};

// `outputs`: where calls store their results, in turns.
Timing measure(Layer& layer, const CallSpec& call, Layer::Pointers pointers, std::span<const Floats> outputs,
               const std::string& isa, const Options& options) {
  constexpr double kPeakSeconds = 0.004;
  constexpr double kPeakEvery = 0.1;
  constexpr std::size_t kLeastRuns = 5;
  std::vector<double> seconds;
  std::size_t calls = 0;
  const auto run = [&] {
    pointers.dst = outputs[calls++ % outputs.size()].data();
    const Clock::time_point start = Clock::now();
    if (const Status status = layer.run(call, pointers, options.threads); !status.ok()) fail(status.message);
    return std::chrono::duration<double>(Clock::now() - start).count();
  };
  run();
  run();
  double peak = measure_peak(isa, options.threads, kPeakSeconds);
  double total = 0, since_peak = 0;
  while (total < options.seconds || seconds.size() < kLeastRuns) {
    seconds.push_back(run());
    total += seconds.back();
    since_peak += seconds.back();
    if (since_peak > kPeakEvery) {
      peak = std::max(peak, measure_peak(isa, options.threads, kPeakSeconds));
      since_peak = 0;
    }
  }
  std::sort(seconds.begin(), seconds.end());
  return {seconds.front(), seconds[seconds.size() / 2], seconds.size(), peak};
}

// What --check accepts as the RMS difference from the reference relative to the RMS of its result, by Precision.
constexpr double kRmsLimits[] = {1e-5, 2e-5, 1e-2};

// Prints RMS and largest difference from the reference algorithm, both relative to the RMS of its result. False if the
// former is beyond its limit.
bool check(Layer& layer, CallSpec call, Layer::Pointers pointers, std::span<const float> dst, int threads) {
  Floats expected(static_cast<std::int64_t>(dst.size()));
  pointers.dst = expected.data();
  call.algorithm = AlgorithmChoice::kReference;
  if (const Status status = layer.run(call, pointers, threads); !status.ok()) fail(status.message);
  double squares = 0, error_squares = 0, largest = 0;
  for (std::size_t i = 0; i < dst.size(); ++i) {
    const double error = std::abs(static_cast<double>(dst[i]) - expected.values[i]);
    squares += static_cast<double>(expected.values[i]) * expected.values[i];
    error_squares += error * error;
    if (!(error <= largest)) largest = error;  // a NaN stays
  }
  const double count = static_cast<double>(dst.size());
  const double scale = squares > 0.0 ? std::sqrt(squares / count) : 1.0;  // zeros, if no product reaches any output
  const double rms = std::sqrt(error_squares / count) / scale;
  const bool accepted = rms <= kRmsLimits[static_cast<int>(call.precision)];
  std::printf("  error rms %.1e max %.1e%s", rms, largest / scale, accepted ? "" : " WRONG");
  return accepted;
}

std::string joined(const std::vector<std::string>& words) {
  std::string text;
  for (const std::string& word : words) text += (text.empty() ? "" : " ") + word;
  return text;
}

// False if --check found a wrong result.
bool bench(const NamedProblem& problem, const std::string& isa, const Options& options) {
  Problem sizes{problem.layer, problem.call};
  LayerSpec spec = problem.layer;
  spec.has_bias = options.bias;
  const Floats src(sizes.src_elements(), 1), weights(sizes.weights_elements(), 2), bias(spec.out_channels, 3);
  constexpr std::int64_t kFreshFloats = 32 << 20;  // more than the caches hold, where they are small
  std::vector<Floats> outputs;
  do {
    outputs.emplace_back(sizes.dst_elements());
    std::fill(outputs.back().values.begin(), outputs.back().values.end(), 0.0f);
  } while (options.fresh && static_cast<std::int64_t>(outputs.size()) * sizes.dst_elements() < kFreshFloats);
  const Floats& dst = outputs.front();
  const Floats residual(options.residual ? sizes.dst_elements() : 1, 4), slopes(spec.out_channels, 5);
  const Layer::Pointers pointers{src.data(), dst.data(), options.residual ? residual.data() : nullptr, slopes.data(),
                                 options.fresh};
  std::shared_ptr<Layer> layer;
  if (const Status status = Layer::create(spec, weights.data(), options.bias ? bias.data() : nullptr, &layer);
      !status.ok()) {
    fail(problem.name + ": " + status.message);
  }
  bool right = true;
  for (const AlgorithmChoice algorithm : options.algorithms) {
    CallSpec call = problem.call;
    call.algorithm = algorithm;
    call.precision = options.precision;
    call.format = options.format;
    call.post_ops = options.post_ops;
    Explanation explanation;
    Status status = layer->prepare(call);
    if (status.ok()) status = layer->explain(call, &explanation);
    if (status.code == StatusCode::kUnsupported) {
      std::printf("%-19s declined: %s\n", problem.name.c_str(), status.message.c_str());
      continue;
    }
    if (!status.ok()) fail(problem.name + ": " + status.message);
    const Timing timing = measure(*layer, call, pointers, outputs, isa, options);
    const double gflops = sizes.flops() / timing.min_seconds * 1e-9;
    std::printf("%-19s %9.3f %9.3f %6zu %8.1f %7.1f %6.1f  %s  [%s]", problem.name.c_str(), timing.min_seconds * 1e3,
                timing.median_seconds * 1e3, timing.runs, gflops, timing.peak_gflops, 100 * gflops / timing.peak_gflops,
                explanation.algorithm.c_str(), joined(explanation.kernels).c_str());
    if (options.check) right = check(*layer, call, pointers, dst.values, options.threads) && right;
    std::printf("\n");
    std::fflush(stdout);
  }
  return right;
}

Options parse_options(int argc, char** argv) {
  enum {
    kThreads = 1,
    kSeconds,
    kIsa,
    kAlgorithm,
    kPrecision,
    kChannelsLast,
    kFresh,
    kBias,
    kActivation,
    kResidual,
    kCheck,
    kSuite,
    kHelp
  };
  const option known[] = {{"threads", required_argument, nullptr, kThreads},
                          {"seconds", required_argument, nullptr, kSeconds},
                          {"isa", required_argument, nullptr, kIsa},
                          {"algorithm", required_argument, nullptr, kAlgorithm},
                          {"precision", required_argument, nullptr, kPrecision},
                          {"channels-last", no_argument, nullptr, kChannelsLast},
                          {"fresh", no_argument, nullptr, kFresh},
                          {"bias", no_argument, nullptr, kBias},
                          {"activation", required_argument, nullptr, kActivation},
                          {"residual", no_argument, nullptr, kResidual},
                          {"check", no_argument, nullptr, kCheck},
                          {"suite", required_argument, nullptr, kSuite},
                          {"help", no_argument, nullptr, kHelp},
                          {nullptr, 0, nullptr, 0}};
  Options options;
  for (int key; (key = getopt_long(argc, argv, "", known, nullptr)) != -1;) {
    switch (key) {
      case kThreads:
        options.threads = std::max(1, std::atoi(optarg));
        break;
      case kSeconds:
        options.seconds = std::atof(optarg);
        break;
      case kIsa:
        setenv("CONVTRANSPOSE_ISA", optarg, 1);
        break;  // read by the core at its first use, which is later
      case kAlgorithm:
        if (std::strcmp(optarg, "all") == 0) {
          options.algorithms.clear();
          for (const auto& [name, value] : kAlgorithms) {
            if (value != AlgorithmChoice::kReference) options.algorithms.push_back(value);
          }
        } else {
          options.algorithms = {named(kAlgorithms, "--algorithm", optarg)};
        }
        break;
      case kPrecision:
        options.precision = named(kPrecisions, "--precision", optarg);
        break;
      case kChannelsLast:
        options.format = MemoryFormat::kChannelsLast;
        break;
      case kFresh:
        options.fresh = true;
        break;
      case kBias:
        options.bias = true;
        break;
      case kActivation:
        options.post_ops = named(kActivations, "--activation", optarg);
        break;
      case kResidual:
        options.residual = true;
        break;
      case kCheck:
        options.check = true;
        break;
      case kSuite:
        options.suite = optarg;
        break;
      case kHelp:
        std::fputs(kUsage, stdout);
        std::exit(0);
      default:
        std::fputs(kUsage, stderr);
        std::exit(1);
    }
  }
  return options;
}

int main(int argc, char** argv) {
  const Options options = parse_options(argc, argv);
  std::vector<NamedProblem> problems;
  const std::vector<std::string> names(argv + optind, argv + argc);
  if (const std::string error = select_problems(options.suite, names, &problems); !error.empty()) fail(error);
  Isa active;
  if (const Status status = active_isa(&active); !status.ok()) fail(status.message);
  const std::string isa = isa_name(active);
  ThreadPool::process().set_size(options.threads);
  std::printf("%s, %s, %d thread%s\n", cpu_info().model.c_str(), isa.c_str(), options.threads,
              options.threads == 1 ? "" : "s");
  std::printf("%-19s %9s %9s %6s %8s %7s %6s\n", "layer", "min ms", "median", "runs", "GFLOP/s", "peak", "%");
  bool right = true;
  for (const NamedProblem& problem : problems) right = bench(problem, isa, options) && right;
  return right ? 0 : 1;
}

}  // namespace
}  // namespace convtranspose::bench

int main(int argc, char** argv) { return convtranspose::bench::main(argc, argv); }
