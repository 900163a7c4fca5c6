// Uninitialised memory from the system, aligned to 64 bytes, and to huge pages where blocks are large enough to gain by it.
#pragma once

#include <cstddef>

namespace convtranspose {

// nullptr when there is no memory. bytes > 0.
std::byte* allocate_aligned(std::size_t bytes);

// `bytes` is what was asked for.
void free_aligned(std::byte* data, std::size_t bytes);

// Asks for huge pages in memory that others have allocated, which is about to be touched for the first time. Only advice;
// nothing where there is none to give, or where blocks are too small to gain by it.
void prefer_huge_pages(void* data, std::size_t bytes);

}  // namespace convtranspose
