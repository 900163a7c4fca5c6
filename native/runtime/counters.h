// Counts of what really ran, by name ("direct-wide/avx512/8x3"), and of heap allocations made by runs: what the tests hold
// against explain() and against the promise that a repeated call allocates nothing. Counting is one relaxed increment a
// task.
#pragma once

#include <atomic>
#include <cstdint>
#include <string>
#include <utility>
#include <vector>

namespace convtranspose {

// The counter for `name`, made at the first call and never freed. Takes a lock: call it at plan time and keep the pointer.
std::atomic<std::uint64_t>* counter(const std::string& name);

std::vector<std::pair<std::string, std::uint64_t>> read_counters();  // sorted by name, zeros left out
void reset_counters();

}  // namespace convtranspose
