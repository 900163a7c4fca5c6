#include "runtime/aligned_memory.h"

#include <cstdlib>

#if defined(_WIN32)
#include <malloc.h>
#endif
#if defined(__linux__)
#include <sys/mman.h>
#endif

namespace convtranspose {
namespace {

constexpr std::size_t kAlignment = 64;

}  // namespace

std::byte* allocate_aligned(std::size_t bytes) {
#if defined(_WIN32)
  return static_cast<std::byte*>(_aligned_malloc(bytes, kAlignment));
#else
  std::size_t alignment = kAlignment;
#if defined(__linux__)
  constexpr std::size_t kHugePage = std::size_t{2} << 20;
  const bool huge = bytes >= 2 * kHugePage;
  if (huge) alignment = kHugePage;
#endif
  void* data = nullptr;
  if (posix_memalign(&data, alignment, bytes) != 0) return nullptr;
#if defined(__linux__)
  // Whole pages only, so that neighbours on the heap are left alone. Advice: failing changes nothing but speed.
  if (huge) madvise(data, bytes / kHugePage * kHugePage, MADV_HUGEPAGE);
#endif
  return static_cast<std::byte*>(data);
#endif
}

void free_aligned(std::byte* data, std::size_t) {
#if defined(_WIN32)
  _aligned_free(data);
#else
  std::free(data);
#endif
}

}  // namespace convtranspose
