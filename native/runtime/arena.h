// Workspaces: 64-byte aligned scratch memory for the threads of a run, kept from run to run so that repeated runs allocate
// nothing. Allocations are counted as "runtime/workspace-allocations".
//
// A thread that calls run() has one block of its own (WorkspaceLease). Pool threads take blocks from a stock that the pool
// fills when it opens a stage (WorkspaceStock), so that what is allocated depends on the stage and not on which threads
// happen to come in time.
#pragma once

#include <chrono>
#include <cstddef>

namespace convtranspose {

// Blocks up to this size are kept for good.
inline constexpr std::size_t kRetainedWorkspace = std::size_t{1} << 20;

// The block of the calling thread, grown on demand. Retention: one of more than kRetainedWorkspace that was more than four
// times what was asked for in 64 leases in a row is given back.
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

  static std::size_t thread_capacity();  // bytes that the calling thread holds

 private:
  struct Block;
  static Block& thread_block();
  Block* block_;
  bool owned_;
  std::size_t largest_ = 0;
};

// One block of a stock.
struct Workspace {
  std::byte* data;
  std::size_t capacity;
  Workspace* next = nullptr;
  int last_user = -1;
  std::chrono::steady_clock::time_point put_back{};

  static Workspace* create(std::size_t bytes);  // nullptr when there is no memory; bytes > 0
  static void destroy(Workspace* list);         // with all that follow
};

// Blocks at rest. Not thread-safe: the pool guards it.
class WorkspaceStock {
 public:
  // A block of at least `bytes`, if possible the one that `user` had last (it may still be in that processor's caches), else
  // nullptr.
  Workspace* take(std::size_t bytes, int user);
  void put_back(Workspace* workspace);

  // How many blocks of at least `bytes` are missing to have `count` of them.
  int missing(int count, std::size_t bytes) const;

  // Takes one block of fewer than `bytes` out, for a larger one to take its place; nullptr if there is none.
  Workspace* take_too_small(std::size_t bytes);

  // Takes all blocks out that are larger than kRetainedWorkspace and have rested since `time` or longer.
  Workspace* take_unused_since(std::chrono::steady_clock::time_point time);

 private:
  Workspace* unlink(Workspace** link);
  Workspace* first_ = nullptr;
};

}  // namespace convtranspose
