// Which algorithm each layer of the bench's suite gets on each instruction set, compared with a table that is committed:
// choices.txt beside this file. The table is the same on every machine, because plans can be made for instruction sets that
// this one cannot run, with caches that are given.
//
// Below the choices the file lists the main tiles: of each of these plans the tile kernel with the most accumulators, and of
// how many plans each is the main one. The checks of the machine code read it.
//
// A change of the cost model, of an algorithm or of a kernel table may change it; then run these tests once with the
// environment variable CONVTRANSPOSE_UPDATE_CHOICES=1, and look at the difference before committing it. Columns of
// instruction sets that are not in this binary stay as they are (neon: run the tests of an arm64 build).
#include <doctest/doctest.h>

#include <cstdlib>
#include <fstream>
#include <iomanip>
#include <map>
#include <sstream>
#include <string>
#include <vector>

#include "kernels/registry.h"
#include "plan/planner.h"
#include "problem_text.h"

namespace convtranspose {
namespace {

constexpr const char* kTiles = "main tiles";
const std::vector<std::string> kColumns{"baseline", "avx2", "avx512", "amx", "neon"};

struct Section {
  const char* title;
  MemoryFormat format;
  Precision precision;
};
constexpr Section kSections[] = {
    {"contiguous highest", MemoryFormat::kContiguous, Precision::kHighest},
    {"channelsLast highest", MemoryFormat::kChannelsLast, Precision::kHighest},
    {"contiguous high", MemoryFormat::kContiguous, Precision::kHigh},
};

// Of a server processor of the size that most clouds offer.
CacheInfo usual_caches() {
  CacheInfo caches;
  caches.l1d = 48 * 1024;
  caches.l2 = 2048 * 1024;
  caches.l3 = 32 * 1024 * 1024;
  return caches;
}

struct Choices {
  // Section, layer, instruction set -> algorithm.
  std::map<std::string, std::map<std::string, std::map<std::string, std::string>>> algorithms;
  // Instruction set -> "wide 8x3" -> plans.
  std::map<std::string, std::map<std::string, int>> tiles;
};

// "wide 8x3", or nothing if the plan runs no tile kernel.
std::string main_tile(const Execution& execution, const KernelTable& table) {
  std::string name;
  int most = 0;
  const auto look_at = [&](const char* family, const TileKernel& kernel, int number) {
    if (!execution.kernels.test(static_cast<std::size_t>(number)) || kernel.mr * kernel.nr <= most) return;
    most = kernel.mr * kernel.nr;
    name = std::string(family) + " " + kernel.name;
  };
  for (int row = 0; row < table.wide_count; ++row) look_at("wide", table.wide[row], wide_number(table, row));
  for (int row = 0; row < table.channels_count; ++row) {
    look_at("channels", table.channels[row], channels_number(table, row));
  }
  return name;
}

// What this binary chooses, for the instruction sets that it holds.
Choices choices_here(const std::vector<bench::NamedProblem>& suite) {
  Choices choices;
  for (const Isa isa : {Isa::kBaseline, Isa::kAvx2, Isa::kAvx512, Isa::kAmx, Isa::kNeon}) {
    const KernelTable* const table = kernel_table(isa);
    if (table == nullptr) continue;
    for (const Section& section : kSections) {
      for (const bench::NamedProblem& layer : suite) {
        Problem problem{layer.layer, layer.call};
        problem.call.format = section.format;
        problem.call.precision = section.precision;
        std::shared_ptr<const Plan> plan;
        REQUIRE(make_plan(problem, WeightFacts{}, *table, usual_caches(), &plan).ok());
        choices.algorithms[section.title][layer.name][isa_name(isa)] = plan->algorithm->name();
        if (const std::string tile = main_tile(*plan->execution, *table); !tile.empty()) {
          ++choices.tiles[isa_name(isa)][tile];
        }
      }
    }
  }
  return choices;
}

Choices read_choices(const std::string& path) {
  Choices choices;
  std::ifstream file(path);
  std::string section;
  for (std::string line; std::getline(file, line);) {
    if (line.empty() || line[0] == '#') continue;
    if (line[0] == '[') {
      section = line.substr(1, line.find(']') - 1);
      continue;
    }
    std::istringstream words(line);
    std::string layer, word;
    words >> layer;
    if (section == kTiles) {
      std::string family, size;
      int plans = 0;
      words >> family >> size >> plans;
      choices.tiles[layer][family + " " + size] = plans;
      continue;
    }
    for (const std::string& column : kColumns) {
      if (words >> word) choices.algorithms[section][layer][column] = word;
    }
  }
  return choices;
}

void write_choices(const std::string& path, const std::vector<bench::NamedProblem>& suite, Choices& choices) {
  std::ofstream file(path);
  file << "# What the planner chooses for the suite of the bench. Written by choices_test.cc, which says how.\n";
  for (const Section& section : kSections) {
    file << "\n[" << section.title << "]\n" << std::left << std::setw(20) << "# layer";
    for (const std::string& column : kColumns) file << " " << std::setw(column == kColumns.back() ? 0 : 19) << column;
    file << "\n";
    for (const bench::NamedProblem& layer : suite) {
      file << std::setw(20) << layer.name;
      for (const std::string& column : kColumns) {
        const std::string& algorithm = choices.algorithms[section.title][layer.name][column];
        file << " " << std::setw(column == kColumns.back() ? 0 : 19) << (algorithm.empty() ? "?" : algorithm);
      }
      file << "\n";
    }
  }
  file << "\n[" << kTiles << "]\n";
  for (const auto& [isa, tiles] : choices.tiles) {
    for (const auto& [tile, plans] : tiles) file << isa << " " << tile << " " << plans << "\n";
  }
}

}  // namespace

TEST_CASE("choices: the suite gets the algorithms of the committed table on every instruction set") {
  std::vector<bench::NamedProblem> suite;
  REQUIRE(bench::read_suite(CONVTRANSPOSE_SUITE, &suite) == "");
  REQUIRE(suite.size() > 30);
  Choices here = choices_here(suite);
  Choices expected = read_choices(CONVTRANSPOSE_CHOICES);
  if (std::getenv("CONVTRANSPOSE_UPDATE_CHOICES") != nullptr) {
    for (const auto& [section, layers] : here.algorithms) {
      for (const auto& [layer, algorithms] : layers) {
        for (const auto& [isa, algorithm] : algorithms) expected.algorithms[section][layer][isa] = algorithm;
      }
    }
    for (const auto& [isa, tiles] : here.tiles) expected.tiles[isa] = tiles;
    write_choices(CONVTRANSPOSE_CHOICES, suite, expected);
    return;
  }
  INFO("if the difference is meant: CONVTRANSPOSE_UPDATE_CHOICES=1 npm run test:native -- -tc=choices*");
  // doctest's messages are lambdas, and clang before 16 captures no structured bindings: the names go through a function.
  const auto check = [](bool ok, const std::string& fault) { CHECK_MESSAGE(ok, fault); };
  for (const auto& [section, layers] : here.algorithms) {
    check(layers.size() == expected.algorithms[section].size(),
          "[" + section + "]: the table holds other layers than the suite");
    for (const auto& [layer, algorithms] : layers) {
      for (const auto& [isa, algorithm] : algorithms) {
        const std::string& wanted = expected.algorithms[section][layer][isa];
        check(algorithm == wanted,
              "[" + section + "] " + layer + " on " + isa + ": " + algorithm + ", the table has \"" + wanted + "\"");
      }
    }
  }
  for (const auto& [isa, tiles] : here.tiles) {
    check(tiles == expected.tiles[isa], "the main tiles on " + isa + " are others than the table's");
  }
}

}  // namespace convtranspose
