// Memory that runs out on purpose: replaces what the core allocates with (operator new, posix_memalign, mmap) in the whole
// test program.
#pragma once

#include <cstdint>

namespace convtranspose {

// While one lives, allocations are counted in all threads, and one of them fails, or that one and all that follow.
class FailingAllocations {
 public:
  enum class Mode { kOne, kAllFrom };
  // The first allocation has number 1; 0: none fails.
  FailingAllocations(std::int64_t number, Mode mode);
  ~FailingAllocations();
  FailingAllocations(const FailingAllocations&) = delete;
  FailingAllocations& operator=(const FailingAllocations&) = delete;

  std::int64_t count() const;  // allocations so far
};

}  // namespace convtranspose
