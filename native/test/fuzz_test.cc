// The targets of the fuzzers over inputs that are kept (fuzz/corpus/: what fuzzers found, and a few that reach much), and
// over random ones.
#include <doctest/doctest.h>

#include <algorithm>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <random>
#include <string>
#include <vector>

#include "fuzz/targets.h"
#include "kernels/registry.h"
#include "plan/planner.h"

namespace convtranspose {
namespace {

std::string run(const FuzzTarget& target, const std::vector<std::uint8_t>& input) {
  return target.run(input.data(), input.size());
}

TEST_CASE("fuzz targets: nothing is wrong with the inputs that are kept") {
  for (const FuzzTarget& target : kFuzzTargets) {
    int inputs = 0;
    for (const auto& entry : std::filesystem::directory_iterator(std::string(CONVTRANSPOSE_FUZZ_CORPUS "/") + target.name)) {
      std::ifstream file(entry.path(), std::ios::binary);
      const std::vector<std::uint8_t> input((std::istreambuf_iterator<char>(file)), std::istreambuf_iterator<char>());
      INFO(entry.path().string());
      REQUIRE(run(target, input) == "");
      ++inputs;
    }
    CHECK(inputs > 0);
  }
}

bool has_terms() {
  const std::vector<Isa>& isas = cpu_info().supported;
  return std::any_of(isas.begin(), isas.end(), [](Isa isa) {
    const KernelTable* const table = kernel_table(isa);
    return table != nullptr && table->terms != nullptr;
  });
}

TEST_CASE("fuzz targets: random inputs reach every algorithm in both memory formats, if it runs both") {
  std::mt19937 random(20261122);
  const auto input = [&random] {
    std::vector<std::uint8_t> bytes(random() % 128);
    for (std::uint8_t& byte : bytes) byte = static_cast<std::uint8_t>(random());
    return bytes;
  };
  for (const FuzzTarget& target : kFuzzTargets) {
    INFO(std::string(target.name));
    for (int i = 0; i < 200; ++i) REQUIRE(run(target, input()) == "");
  }
  const auto reached = [](const std::string& algorithm, const std::string& format) {
    for (const auto& [name, count] : fuzzed_runs()) {
      if (name.rfind(algorithm + "/", 0) == 0 && name.ends_with("/" + format)) return true;
    }
    return false;
  };
  for (const Algorithm* algorithm : algorithm_list()) {
    if (algorithm->choice() == AlgorithmChoice::kAmx && !has_terms()) continue;
    for (const std::string format : {"contiguous", "channelsLast"}) {
      if (algorithm == &direct_residues() && format == "channelsLast") continue;  // it declines them
      for (int i = 0; i < 5000 && !reached(algorithm->name(), format); ++i) {
        const std::vector<std::uint8_t> bytes = input();
        REQUIRE(fuzz_algorithms(bytes.data(), bytes.size()) == "");
      }
      CHECK_MESSAGE(reached(algorithm->name(), format), algorithm->name() << " in " << format);
    }
  }
}

}  // namespace
}  // namespace convtranspose
