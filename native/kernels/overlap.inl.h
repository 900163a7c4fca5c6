// The overlap-add kernel of kernel.h, written once: each instruction set includes this file inside its own unnamed
// namespace, after its vector header.
#pragma once

// kWhole: the number of whole sources, or 0 for any, none among them.
template <int kWhole>
CONVTRANSPOSE_INLINE void overlap_add_blocks(const OverlapAddArgs* args) {
  const int64_t whole = kWhole == 0 ? args->whole : kWhole, all = whole + args->cut;
  const float* sources[kWhole == 0 ? 1 : kWhole];
  for (int s = 0; s < kWhole; ++s) sources[s] = args->sources[s];
  const float* const* const list = args->sources;
  float* dst = args->dst;
  for (int64_t q = 0; q < args->blocks; ++q, dst += args->floats) {
    const ptrdiff_t pixel = q * args->pitch;
    // A block is written over what the vectors of the one before it leave behind that.
    for (int64_t f = 0; f < args->floats; f += kLanes) {
      const ptrdiff_t at = pixel + f;
      Vec sum = zero();
      if constexpr (kWhole == 0) {
        for (int64_t s = 0; s < whole; ++s) sum = add(sum, load(list[s] + at));
      } else {
        sum = load(sources[0] + at);
        for (int s = 1; s < kWhole; ++s) sum = add(sum, load(sources[s] + at));
      }
      if (f < args->cut_floats) {
        const int64_t count = args->cut_floats - f;
        for (int64_t s = whole; s < all; ++s) {
          sum = add(sum, count >= kLanes ? load(list[s] + at) : load_partial(list[s] + at, count));
        }
      }
      store(dst + f, add(sum, load(args->bias + f)));
    }
  }
}

void overlap_add(const OverlapAddArgs* args) {
  switch (args->whole) {
    case 1:
      return overlap_add_blocks<1>(args);
    case 2:
      return overlap_add_blocks<2>(args);
    case 4:
      return overlap_add_blocks<4>(args);
    default:
      return overlap_add_blocks<0>(args);
  }
}
