#include "runtime/arena.h"

#include <algorithm>
#include <atomic>
#include <cstdint>
#include <cstring>
#include <new>

#include "runtime/aligned_memory.h"
#include "runtime/counters.h"

namespace convtranspose {

namespace {

// Whole pages: sizes that differ a little share a block. nullptr when there is no memory; *bytes becomes the capacity.
std::byte* allocate_workspace(std::size_t* bytes) {
  static std::atomic<std::uint64_t>* const allocations = counter("runtime/workspace-allocations");
  constexpr std::size_t kGrain = 4096;
  constexpr std::size_t kMarkBytes = 64;
  if (*bytes > SIZE_MAX / 2) return nullptr;
  *bytes = (*bytes + kGrain - 1) / kGrain * kGrain;
  std::byte* const data = allocate_aligned(*bytes);
  if (data == nullptr) return nullptr;
  allocations->fetch_add(1, std::memory_order_relaxed);
  // Users mark what they leave at the front: fresh memory must not carry a mark of an earlier life.
  std::memset(data, 0, kMarkBytes);
  return data;
}

}  // namespace

struct WorkspaceLease::Block {
  std::byte* data = nullptr;
  std::size_t capacity = 0;
  bool leased = false;
  int small_leases = 0;  // in a row that needed less than a quarter of the block

  ~Block() { release(); }

  void release() {
    if (data != nullptr) free_aligned(data, capacity);
    data = nullptr;
    capacity = 0;
  }

  void end_lease(std::size_t needed) {
    constexpr int kPatience = 64;
    const bool is_small = capacity > kRetainedWorkspace && needed < capacity / 4;
    small_leases = is_small ? small_leases + 1 : 0;
    if (small_leases < kPatience) return;
    release();  // the next run allocates what it needs
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
  block_->release();
  block_->data = allocate_workspace(&bytes);
  if (block_->data == nullptr) return false;
  block_->capacity = bytes;
  return true;
}

std::byte* WorkspaceLease::data() const { return block_ == nullptr ? nullptr : block_->data; }

std::size_t WorkspaceLease::thread_capacity() { return thread_block().capacity; }

Workspace* Workspace::create(std::size_t bytes) {
  std::byte* const data = allocate_workspace(&bytes);
  if (data == nullptr) return nullptr;
  Workspace* const made = new (std::nothrow) Workspace{data, bytes};
  if (made == nullptr) free_aligned(data, bytes);
  return made;
}

void Workspace::destroy(Workspace* list) {
  while (list != nullptr) {
    Workspace* const next = list->next;
    free_aligned(list->data, list->capacity);
    delete list;
    list = next;
  }
}

Workspace* WorkspaceStock::take(std::size_t bytes, int user) {
  Workspace** chosen = nullptr;
  for (Workspace** link = &first_; *link != nullptr; link = &(*link)->next) {
    if ((*link)->capacity < bytes) continue;
    if (chosen == nullptr || (*link)->last_user == user) chosen = link;
    if ((*link)->last_user == user) break;
  }
  if (chosen == nullptr) return nullptr;
  (*chosen)->last_user = user;
  return unlink(chosen);
}

void WorkspaceStock::put_back(Workspace* workspace) {
  workspace->put_back = std::chrono::steady_clock::now();
  workspace->next = first_;
  first_ = workspace;
}

int WorkspaceStock::missing(int count, std::size_t bytes) const {
  for (const Workspace* block = first_; block != nullptr && count > 0; block = block->next) {
    if (block->capacity >= bytes) --count;
  }
  return std::max(count, 0);
}

Workspace* WorkspaceStock::take_too_small(std::size_t bytes) {
  for (Workspace** link = &first_; *link != nullptr; link = &(*link)->next) {
    if ((*link)->capacity < bytes) return unlink(link);
  }
  return nullptr;
}

Workspace* WorkspaceStock::take_unused_since(std::chrono::steady_clock::time_point time) {
  Workspace* list = nullptr;
  for (Workspace** link = &first_; *link != nullptr;) {
    if ((*link)->capacity <= kRetainedWorkspace || (*link)->put_back > time) {
      link = &(*link)->next;
      continue;
    }
    Workspace* const block = unlink(link);
    block->next = list;
    list = block;
  }
  return list;
}

Workspace* WorkspaceStock::unlink(Workspace** link) {
  Workspace* const block = *link;
  *link = block->next;
  block->next = nullptr;
  return block;
}

}  // namespace convtranspose
