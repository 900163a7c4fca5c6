// What the fuzzers call. Each reads decisions from the bytes, does something with the core, and says in words what is
// wrong; "" if nothing is. Built into fuzzers (fuzz_main.cc) and run over the kept inputs by the unit tests.
#pragma once

#include <cstddef>
#include <cstdint>
#include <map>
#include <string>

namespace convtranspose {

// Validation against 128-bit arithmetic; phases and the canonical form against the definition.
std::string fuzz_problem(const std::uint8_t* data, std::size_t size);

// The planner and every algorithm's plan on problems of any size, which are not run.
std::string fuzz_plan(const std::uint8_t* data, std::size_t size);

// Every algorithm of the list on an instruction set, task by task, against the definition.
std::string fuzz_algorithms(const std::uint8_t* data, std::size_t size);

// A layer and its calls in any order: runs with several threads, jobs, aborts.
std::string fuzz_layer(const std::uint8_t* data, std::size_t size);

struct FuzzTarget {
  const char* name;
  std::string (*run)(const std::uint8_t* data, std::size_t size);
};

inline constexpr FuzzTarget kFuzzTargets[] = {
    {"problem", fuzz_problem}, {"plan", fuzz_plan}, {"algorithms", fuzz_algorithms}, {"layer", fuzz_layer}};

// Runs of fuzz_algorithms by what was run: "direct-wide/avx512/contiguous".
const std::map<std::string, std::uint64_t>& fuzzed_runs();

}  // namespace convtranspose
