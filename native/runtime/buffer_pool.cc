// Blocks come in size classes, four to a power of two, so that a recycled block wastes at most a fifth of itself. Free
// blocks are kept by class, the latest first (it is still in the caches), and age in one list: when more is held than the
// bound allows, the oldest go back to the system.
//
// The bound is 256 MiB, or what the recent peak of live memory was, if that is less: recycling serves those who need the
// same amount again, and a process that once did a little keeps little. The peak fades by 1/256 with every allocation.
//
// Giving memory back to the system takes 30 microseconds a mebibyte, and a garbage collection lets go of any number of
// blocks in one turn of an event loop: pool threads do it.
#include "runtime/buffer_pool.h"

#include <algorithm>
#include <bit>
#include <iterator>
#include <map>
#include <mutex>
#include <new>
#include <utility>

#include "runtime/aligned_memory.h"
#include "runtime/os_thread.h"
#include "runtime/thread_pool.h"

namespace convtranspose {
namespace {

constexpr std::size_t kSmallest = 256;
constexpr std::size_t kLargest = std::size_t{1} << 46;
constexpr std::uint64_t kMostRecycled = std::uint64_t{256} << 20;
constexpr std::size_t kFreedAtOnce = std::size_t{1} << 20;
constexpr int kPeakShift = 8;
constexpr int kClasses = 4 * 64;

// The smallest class that holds `bytes`: sizes 4/4, 5/4, 6/4 and 7/4 of a power of two.
struct SizeClass {
  int index;
  std::size_t capacity;
};

SizeClass class_for(std::size_t bytes) {
  bytes = std::max(bytes, kSmallest);
  const int power = std::bit_width(bytes - 1) - 1;  // 2^power < bytes <= 2^(power + 1), as bytes > 1
  const std::size_t quarter = std::size_t{1} << (power - 2);
  const int quarters = static_cast<int>((bytes - 1) / quarter) + 1;  // 5 .. 8
  return {4 * power + quarters - 5, quarter * static_cast<std::size_t>(quarters)};
}

// Written into a free block.
struct FreeBlock {
  FreeBlock* older_in_class;
  FreeBlock* newer_in_class;
  FreeBlock* older;
  FreeBlock* newer;
  int index;
  std::size_t capacity;
  bool touched;
};
static_assert(sizeof(FreeBlock) <= kSmallest);

struct Pool {
  std::mutex mutex;
  std::map<std::uintptr_t, std::weak_ptr<Buffer>> live;  // by first byte
  FreeBlock* newest_in_class[kClasses] = {};
  FreeBlock* newest = nullptr;
  FreeBlock* oldest = nullptr;
  std::uint64_t live_bytes = 0;
  std::uint64_t recent_peak = 0;
  std::uint64_t recycled_bytes = 0;
  std::uint64_t allocations = 0;

  void add(FreeBlock* block) {
    FreeBlock*& head = newest_in_class[block->index];
    block->older_in_class = head;
    block->newer_in_class = nullptr;
    if (head != nullptr) head->newer_in_class = block;
    head = block;
    block->older = newest;
    block->newer = nullptr;
    (newest != nullptr ? newest->newer : oldest) = block;
    newest = block;
    recycled_bytes += block->capacity;
  }

  void remove(FreeBlock* block) {
    (block->newer_in_class != nullptr ? block->newer_in_class->older_in_class : newest_in_class[block->index]) =
        block->older_in_class;
    if (block->older_in_class != nullptr) block->older_in_class->newer_in_class = block->newer_in_class;
    (block->newer != nullptr ? block->newer->older : newest) = block->older;
    (block->older != nullptr ? block->older->newer : oldest) = block->newer;
    recycled_bytes -= block->capacity;
  }

  // Takes the oldest blocks out until the bound holds; the caller frees them when the mutex is open. Linked by `older`.
  FreeBlock* take_surplus() {
    const std::uint64_t bound = std::min(kMostRecycled, recent_peak);
    FreeBlock* surplus = nullptr;
    while (recycled_bytes > bound) {
      FreeBlock* block = oldest;
      remove(block);
      block->older = surplus;
      surplus = block;
    }
    return surplus;
  }
};

// Never destroyed: buffers may outlive everything else.
Pool& pool() {
  static Pool* const all = [] {
    Pool* made = new Pool;
    pin_library();
    at_fork([] { pool().mutex.lock(); }, [] { pool().mutex.unlock(); }, [] { pool().mutex.unlock(); });
    return made;
  }();
  return *all;
}

void free_all(FreeBlock* block) {
  while (block != nullptr) {
    FreeBlock* const next = block->older;
    const std::size_t capacity = block->capacity;
    free_aligned(reinterpret_cast<std::byte*>(block), capacity);
    block = next;
  }
}

// Frees a list of blocks on a pool thread, at the latest when it is destroyed.
class FreeingJob final : public Job {
 public:
  explicit FreeingJob(FreeBlock* blocks) : blocks_(blocks) {}
  ~FreeingJob() override { free_all(blocks_); }
  bool next_stage(Stage* stage) noexcept override {
    if (blocks_ == nullptr) return false;
    stage->tasks = 1;
    return true;
  }
  void run_task(std::int64_t, std::byte*, int) noexcept override { free_all(std::exchange(blocks_, nullptr)); }
  void finished(JobResult) noexcept override {}

 private:
  FreeBlock* blocks_;
};

// Frees a list of blocks soon: little of it at once, much of it elsewhere.
void free_later(FreeBlock* blocks) {
  std::size_t bytes = 0;
  for (const FreeBlock* block = blocks; block != nullptr; block = block->older) bytes += block->capacity;
  std::shared_ptr<Job> job;
  if (bytes > kFreedAtOnce) {
    try {
      job = std::make_shared<FreeingJob>(blocks);
    } catch (const std::bad_alloc&) {
    }
  }
  if (job == nullptr) return free_all(blocks);
  ThreadPool::process().submit(std::move(job), 1);
}

}  // namespace

Buffer::~Buffer() {
  Pool& all = pool();
  FreeBlock* surplus;
  {
    const std::lock_guard<std::mutex> lock(all.mutex);
    all.live.erase(reinterpret_cast<std::uintptr_t>(data_));
    all.live_bytes -= capacity_;
    FreeBlock* block = new (data_) FreeBlock{};
    block->index = class_for(capacity_).index;
    block->capacity = capacity_;
    block->touched = touched_;
    all.add(block);
    surplus = all.take_surplus();
  }
  free_later(surplus);
}

std::shared_ptr<Buffer> allocate_buffer(std::size_t bytes) {
  if (bytes > kLargest) return nullptr;
  const SizeClass size = class_for(bytes);
  Pool& all = pool();
  std::byte* data = nullptr;
  bool recycled = false;
  bool touched = false;
  FreeBlock* surplus;
  {
    const std::lock_guard<std::mutex> lock(all.mutex);
    FreeBlock* const block = all.newest_in_class[size.index];
    if (block != nullptr) {
      all.remove(block);
      data = reinterpret_cast<std::byte*>(block);
      recycled = true;
      touched = block->touched;
    } else {
      ++all.allocations;
    }
    all.live_bytes += size.capacity;
    all.recent_peak = std::max(all.recent_peak - (all.recent_peak >> kPeakShift), all.live_bytes);
    surplus = all.take_surplus();
  }
  free_later(surplus);
  if (data == nullptr) data = allocate_aligned(size.capacity);
  if (data == nullptr) {
    // What lies idle may be what is missing.
    {
      const std::lock_guard<std::mutex> lock(all.mutex);
      all.recent_peak = 0;
      surplus = all.take_surplus();
    }
    free_all(surplus);
    data = allocate_aligned(size.capacity);
  }
  std::shared_ptr<Buffer> buffer;  // gives the block back when it goes, which takes the mutex
  if (data != nullptr) {
    try {
      buffer = std::make_shared<Buffer>(data, bytes, size.capacity, touched);
      const std::lock_guard<std::mutex> lock(all.mutex);
      all.live.emplace(reinterpret_cast<std::uintptr_t>(data), buffer);
      return buffer;
    } catch (const std::bad_alloc&) {
      if (buffer != nullptr) return nullptr;
    }
    free_aligned(data, size.capacity);
  }
  const std::lock_guard<std::mutex> lock(all.mutex);
  all.live_bytes -= size.capacity;
  if (!recycled) --all.allocations;
  return nullptr;
}

std::shared_ptr<Buffer> find_buffer(const void* data, std::size_t bytes) {
  const std::uintptr_t first = reinterpret_cast<std::uintptr_t>(data);
  Pool& all = pool();
  std::shared_ptr<Buffer> buffer;
  {
    const std::lock_guard<std::mutex> lock(all.mutex);
    auto after = all.live.upper_bound(first);
    if (after == all.live.begin()) return nullptr;
    buffer = std::prev(after)->second.lock();
  }
  if (buffer == nullptr) return nullptr;
  const std::size_t offset = first - reinterpret_cast<std::uintptr_t>(buffer->data());
  if (offset > buffer->bytes() || bytes > buffer->bytes() - offset) return nullptr;
  return buffer;
}

BufferStats buffer_stats() {
  Pool& all = pool();
  const std::lock_guard<std::mutex> lock(all.mutex);
  return {all.live_bytes, all.recycled_bytes, all.allocations};
}

}  // namespace convtranspose
