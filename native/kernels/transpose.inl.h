// The transpose of kernel.h, written once: each instruction set includes this file inside its own unnamed namespace, after
// its vector header.
#pragma once

// How whole vectors are stored.
struct PlainStore {
  CONVTRANSPOSE_INLINE void operator()(float* p, Vec v) const { store(p, v); }
};
struct StreamStore {
  CONVTRANSPOSE_INLINE void operator()(float* p, Vec v) const { store_past(p, v); }
};

// One square of kLanes x kLanes, or what is left of it at an edge: rows and columns <= kLanes. Every vector of a row passes
// through `finish` on its way.
template <class Store, class Finish>
CONVTRANSPOSE_INLINE void transpose_block(const float* src, ptrdiff_t src_stride, float* dst, ptrdiff_t dst_stride,
                                          int64_t rows, int64_t columns, const Finish& finish) {
  Vec v[kLanes];
  if (rows == kLanes && columns == kLanes) {
    unroll<kLanes>([&](auto i) CONVTRANSPOSE_INLINE_LAMBDA { v[i] = finish(load(src + i * src_stride)); });
    transpose_square(v);
    unroll<kLanes>([&](auto j) CONVTRANSPOSE_INLINE_LAMBDA { Store()(dst + j * dst_stride, v[j]); });
  } else {
    unroll<kLanes>([&](auto i) CONVTRANSPOSE_INLINE_LAMBDA {
      v[i] = i < rows ? finish(load_partial(src + i * src_stride, columns)) : zero();
    });
    transpose_square(v);
    unroll<kLanes>([&](auto j) CONVTRANSPOSE_INLINE_LAMBDA {
      if (j < columns) store_partial(dst + j * dst_stride, v[j], rows);
    });
  }
}

// finish(v, j, columns): v holds columns j to j + columns - 1 of a row.
template <class Store, class Finish>
CONVTRANSPOSE_INLINE void transpose_with(const TransposeArgs& args, const Finish& finish) {
  // In squares of a cache line, so that lines on both sides are used up whole while they are near.
  constexpr int64_t kLine = 16;
  for (int64_t i0 = 0; i0 < args.rows; i0 += kLine) {
    const int64_t i1 = i0 + kLine < args.rows ? i0 + kLine : args.rows;
    for (int64_t j0 = 0; j0 < args.columns; j0 += kLine) {
      const int64_t j1 = j0 + kLine < args.columns ? j0 + kLine : args.columns;
      for (int64_t i = i0; i < i1; i += kLanes) {
        for (int64_t j = j0; j < j1; j += kLanes) {
          const int64_t columns = j1 - j < kLanes ? j1 - j : kLanes;
          transpose_block<Store>(args.src + i * args.src_stride + j, args.src_stride, args.dst + j * args.dst_stride + i,
                                 args.dst_stride, i1 - i < kLanes ? i1 - i : kLanes, columns,
                                 [&](Vec v) CONVTRANSPOSE_INLINE_LAMBDA { return finish(v, j, columns); });
        }
      }
    }
  }
}

void transpose(const TransposeArgs* args) {
  const auto as_it_is = [](Vec v, int64_t, int64_t) CONVTRANSPOSE_INLINE_LAMBDA { return v; };
  if constexpr (kLanes == 16) {  // floats of a line
    if (args->stream) return transpose_with<StreamStore>(*args, as_it_is);
  }
  transpose_with<PlainStore>(*args, as_it_is);
}
