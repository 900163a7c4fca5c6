// Packed input: a box of input positions with its halo, copied to scratch so that kernels meet neither the edges of the
// input (outside is zero) nor the strides of whole planes, which collide in caches and TLBs.
#pragma once

#include <cstdint>

#include "kernels/kernel.h"
#include "problem/problem.h"

namespace convtranspose {

// Where one image's channels of one group stand in src.
struct InputView {
  const float* data;  // first channel of the group, position 0
  MemoryFormat format;
  Dims in;                    // input sizes
  std::int64_t channels;      // of the group
  std::int64_t pixel_stride;  // floats between neighbouring positions: 1, or all channels (channels last)
};

InputView input_view(const Problem& problem, const float* src, std::int64_t image, std::int64_t group);

// A box of positions [first, first + size) per dimension, any of which may lie outside the input.
struct InputBox {
  Dims first;
  Dims size;
};

// dst[d*stride_d + h*stride_h + c*stride_c + w] for every channel c: pixels are contiguous.
void pack_planes(const InputView& input, const InputBox& box, std::int64_t stride_d, std::int64_t stride_h,
                 std::int64_t stride_c, const KernelTable& kernels, float* dst);

// dst[((d*size_h + h)*size_w + w)*stride_pixel + c]: channels are contiguous.
void pack_pixels(const InputView& input, const InputBox& box, std::int64_t stride_pixel, TransposeFn transpose, float* dst);

// Strips of pixels: position first + j of an image, its spatial dimensions taken as one row, goes to pixel at + j,
//   dst[((at + j) / strip * channels + c) * strip + (at + j) % strip]   for all channels c, j in [0, count).
void pack_strips(const InputView& input, std::int64_t first, std::int64_t count, std::int64_t at, std::int64_t strip,
                 const KernelTable& kernels, float* dst);

}  // namespace convtranspose
