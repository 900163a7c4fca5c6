#include "failing_allocations.h"

#include <atomic>
#include <cstdlib>
#include <new>

#if defined(__linux__)
#include <errno.h>
#include <sys/mman.h>
#endif

namespace convtranspose {
namespace {

std::atomic<bool> armed{false};
std::atomic<bool> all_from{false};
std::atomic<std::int64_t> failing{0};
std::atomic<std::int64_t> allocations{0};

bool fails() {
  if (!armed.load(std::memory_order_acquire)) return false;
  const std::int64_t number = allocations.fetch_add(1, std::memory_order_relaxed) + 1;
  const std::int64_t first = failing.load(std::memory_order_relaxed);
  return first > 0 && (number == first || (number > first && all_from.load(std::memory_order_relaxed)));
}

void* allocate(std::size_t bytes) { return fails() ? nullptr : std::malloc(bytes == 0 ? 1 : bytes); }

void* allocate_or_throw(std::size_t bytes) {
  void* const data = allocate(bytes);
  if (data == nullptr) throw std::bad_alloc();
  return data;
}

}  // namespace

FailingAllocations::FailingAllocations(std::int64_t number, Mode mode) {
  allocations.store(0);
  failing.store(number);
  all_from.store(mode == Mode::kAllFrom);
  armed.store(true, std::memory_order_release);
}

FailingAllocations::~FailingAllocations() { armed.store(false); }

std::int64_t FailingAllocations::count() const { return allocations.load(); }

}  // namespace convtranspose

void* operator new(std::size_t bytes) { return convtranspose::allocate_or_throw(bytes); }
void* operator new[](std::size_t bytes) { return convtranspose::allocate_or_throw(bytes); }
void* operator new(std::size_t bytes, const std::nothrow_t&) noexcept { return convtranspose::allocate(bytes); }
void* operator new[](std::size_t bytes, const std::nothrow_t&) noexcept { return convtranspose::allocate(bytes); }
void operator delete(void* data) noexcept { std::free(data); }
void operator delete[](void* data) noexcept { std::free(data); }
void operator delete(void* data, std::size_t) noexcept { std::free(data); }
void operator delete[](void* data, std::size_t) noexcept { std::free(data); }
void operator delete(void* data, const std::nothrow_t&) noexcept { std::free(data); }
void operator delete[](void* data, const std::nothrow_t&) noexcept { std::free(data); }

// The linker hands these to the program in place of the system's (--wrap).
extern "C" {
int __real_posix_memalign(void** data, std::size_t alignment, std::size_t bytes);
int __wrap_posix_memalign(void** data, std::size_t alignment, std::size_t bytes) {
  return convtranspose::fails() ? ENOMEM : __real_posix_memalign(data, alignment, bytes);
}

void* __real_mmap(void* address, std::size_t length, int protection, int flags, int file, off_t offset);
void* __wrap_mmap(void* address, std::size_t length, int protection, int flags, int file, off_t offset) {
  if (convtranspose::fails()) {
    errno = ENOMEM;
    return MAP_FAILED;
  }
  return __real_mmap(address, length, protection, flags, file, offset);
}
}
