#include "runtime/aligned_memory.h"

#include <cstdint>
#include <cstdlib>

#if defined(_WIN32)
#include <malloc.h>
#elif defined(__linux__)
#include <sys/mman.h>
#endif

namespace convtranspose {
namespace {

constexpr std::size_t kAlignment = 64;

#if defined(__linux__)

constexpr std::size_t kHugePage = std::size_t{2} << 20;

// Blocks from here on are mapped on their own: touching fresh huge pages costs about a quarter of touching small ones, and
// freeing such a block really returns it, whatever the allocator's thresholds have become.
constexpr std::size_t kMapped = 2 * kHugePage;

std::size_t mapped_size(std::size_t bytes) { return (bytes + kHugePage - 1) / kHugePage * kHugePage; }

std::byte* map_block(std::size_t bytes) {
  if (bytes > SIZE_MAX / 2) return nullptr;
  const std::size_t size = mapped_size(bytes);
  // One huge page more than needed, of which what lies before and behind the aligned block is given back.
  void* mapping = mmap(nullptr, size + kHugePage, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  if (mapping == MAP_FAILED) return nullptr;
  std::byte* const begin = static_cast<std::byte*>(mapping);
  const std::size_t before = (kHugePage - reinterpret_cast<std::uintptr_t>(begin) % kHugePage) % kHugePage;
  std::byte* const block = begin + before;
  if (before != 0) munmap(begin, before);
  munmap(block + size, kHugePage - before);
  madvise(block, size, MADV_HUGEPAGE);  // advice: failing changes nothing but speed
  return block;
}

#endif

}  // namespace

std::byte* allocate_aligned(std::size_t bytes) {
#if defined(_WIN32)
  return static_cast<std::byte*>(_aligned_malloc(bytes, kAlignment));
#else
#if defined(__linux__)
  if (bytes >= kMapped) return map_block(bytes);
#endif
  void* data = nullptr;
  return posix_memalign(&data, kAlignment, bytes) == 0 ? static_cast<std::byte*>(data) : nullptr;
#endif
}

void prefer_huge_pages([[maybe_unused]] void* data, [[maybe_unused]] std::size_t bytes) {
#if defined(__linux__)
  if (bytes < kMapped) return;
  const std::uintptr_t begin = (reinterpret_cast<std::uintptr_t>(data) + kHugePage - 1) / kHugePage * kHugePage;
  const std::uintptr_t end = (reinterpret_cast<std::uintptr_t>(data) + bytes) / kHugePage * kHugePage;
  madvise(reinterpret_cast<void*>(begin), end - begin, MADV_HUGEPAGE);
#endif
}

void free_aligned(std::byte* data, [[maybe_unused]] std::size_t bytes) {
#if defined(_WIN32)
  _aligned_free(data);
#else
#if defined(__linux__)
  if (bytes >= kMapped) {
    munmap(data, mapped_size(bytes));
    return;
  }
#endif
  std::free(data);
#endif
}

}  // namespace convtranspose
