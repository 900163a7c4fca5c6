// Uninitialised memory from the system, aligned to 64 bytes, and to huge pages where blocks are large enough to gain by it.
#pragma once

#include <cstddef>

namespace convtranspose {

// nullptr when there is no memory. bytes > 0.
std::byte* allocate_aligned(std::size_t bytes);

// `bytes` is what was asked for.
void free_aligned(std::byte* data, std::size_t bytes);

}  // namespace convtranspose
