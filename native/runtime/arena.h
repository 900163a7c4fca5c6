// Workspace of the calling thread: one block a thread, 64-byte aligned, kept from run to run so that repeated runs allocate
// nothing, grown on demand.
//
// Retention: a block that is more than four times what was asked for in the last 64 leases is given back when the next one
// ends, and release_idle() gives back any block above kRetainedBytes (pool threads do so after some seconds without work).
#pragma once

#include <cstddef>

namespace convtranspose {

class WorkspaceLease {
 public:
  // Takes the thread's block; where an outer lease of the same thread has it, makes do with a block of its own.
  WorkspaceLease();
  ~WorkspaceLease();
  WorkspaceLease(const WorkspaceLease&) = delete;
  WorkspaceLease& operator=(const WorkspaceLease&) = delete;

  // Makes data() hold at least `bytes` (contents unspecified, also those held before). False when there is no memory.
  bool reserve(std::size_t bytes);
  std::byte* data() const;

  static constexpr std::size_t kRetainedBytes = std::size_t{1} << 20;
  static void release_idle();            // of the calling thread; not during a lease
  static std::size_t thread_capacity();  // bytes that the calling thread holds

 private:
  struct Block;
  static Block& thread_block();
  Block* block_;
  bool owned_;
  std::size_t largest_ = 0;
};

}  // namespace convtranspose
