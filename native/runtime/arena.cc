#include "runtime/arena.h"

#include <algorithm>
#include <atomic>
#include <new>

#include "runtime/aligned_memory.h"
#include "runtime/counters.h"

namespace convtranspose {

struct WorkspaceLease::Block {
  std::byte* data = nullptr;
  std::size_t capacity = 0;
  bool leased = false;
  int small_leases = 0;  // in a row that needed less than a quarter of the block

  ~Block() { resize(0); }

  // Gives up the old contents.
  bool resize(std::size_t bytes) {
    if (data != nullptr) free_aligned(data, capacity);
    data = nullptr;
    capacity = 0;
    if (bytes == 0) return true;
    static std::atomic<std::uint64_t>* const allocations = counter("runtime/workspace-allocations");
    data = allocate_aligned(bytes);
    if (data == nullptr) return false;
    allocations->fetch_add(1, std::memory_order_relaxed);
    capacity = bytes;
    return true;
  }

  void end_lease(std::size_t needed) {
    constexpr int kPatience = 64;
    if (capacity <= kRetainedBytes || needed > capacity / 4) {
      small_leases = 0;
      return;
    }
    if (++small_leases < kPatience) return;
    // The next run allocates what it needs.
    resize(0);
    small_leases = 0;
  }
};

WorkspaceLease::Block& WorkspaceLease::thread_block() {
  thread_local Block block;
  return block;
}

WorkspaceLease::WorkspaceLease() : block_(&thread_block()), owned_(false) {
  if (block_->leased) {
    block_ = nullptr;  // made when something is asked for
    owned_ = true;
    return;
  }
  block_->leased = true;
}

WorkspaceLease::~WorkspaceLease() {
  if (owned_) {
    delete block_;
    return;
  }
  block_->leased = false;
  block_->end_lease(largest_);
}

bool WorkspaceLease::reserve(std::size_t bytes) {
  largest_ = std::max(largest_, bytes);
  if (bytes == 0) return true;
  if (block_ == nullptr) {
    block_ = new (std::nothrow) Block;
    if (block_ == nullptr) return false;
  }
  if (block_->capacity >= bytes) return true;
  if (bytes > SIZE_MAX / 2) return false;
  // Whole pages: sizes that differ a little share a block.
  constexpr std::size_t kGrain = 4096;
  return block_->resize((bytes + kGrain - 1) / kGrain * kGrain);
}

std::byte* WorkspaceLease::data() const { return block_ == nullptr ? nullptr : block_->data; }

void WorkspaceLease::release_idle() {
  Block& block = thread_block();
  if (!block.leased && block.capacity > kRetainedBytes) block.resize(0);
}

std::size_t WorkspaceLease::thread_capacity() { return thread_block().capacity; }

}  // namespace convtranspose
