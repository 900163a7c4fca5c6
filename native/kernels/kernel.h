// Contracts of the kernels. A kernel sees pointers, taps and strides: never batch, rank, memory format, phases or the
// name of an instruction set. All strides and offsets are in floats. Each instruction set fills one KernelTable.
//
// This header is included by translation units compiled for wide instruction sets, so it holds plain data only: no inline
// function and no type of the standard library whose weak copy could replace the baseline's at link time.
#pragma once

#include <stddef.h>
#include <stdint.h>

namespace convtranspose {

// Tile kernels: a tile of rows x columns accumulators stays in registers over a whole chunk of channels and taps,
//
//   sum[i][j] = sum over c in [0, channels), t in [0, taps), in this order (c outer), of
//     wide:      weights[(c*taps + t)*mr + i] * src[c*src_channel_stride + tap_offset[t] + j]
//     channels:  weights[(c*taps + t)*nr + j] * src[row_offset[i] + tap_offset[t] + c]
//   tile[i*tile_stride + j] = accumulate ? tile[i*tile_stride + j] + sum[i][j] : sum[i][j]
//
// for every i in [0, mr), j in [0, nr). Each product is one fused multiply-add where the instruction set has it, so that a
// result does not depend on which kernel, lane or row computed it (baseline: multiply, then add).
//
// "wide": columns are pixels, rows are output channels. "channels": columns are output channels, rows are pixels.
// The kernel reads all nr columns (wide: of src; channels: of weights) and writes all nr columns of the tile: the caller
// keeps room. weights (both) and tile rows are 64-byte aligned when mr/nr and tile_stride allow; src has the alignment of a
// float. channels >= 1, taps >= 1.
struct TileArgs {
  const float* src;
  const ptrdiff_t* tap_offset;   // [taps]
  const ptrdiff_t* row_offset;   // [mr]; channels kernels only
  ptrdiff_t src_channel_stride;  // wide kernels only
  const float* weights;
  int64_t channels;
  int64_t taps;
  float* tile;
  ptrdiff_t tile_stride;
  bool accumulate;
};
typedef void (*TileFn)(const TileArgs* args);

struct TileKernel {
  const char* name;  // "8x3": mr x vectors
  int mr;            // rows of accumulators
  int nr;            // columns of accumulators: vectors * lanes
  TileFn fn;
};

// What is done to a sum, its bias already added, before it is stored:  v -> min(max(v, lower), upper), and NaN stays NaN.
struct Epilogue {
  float lower;
  float upper;
};

// Store for contiguous output: interleaves the phases of one output row.
//   dst[j*phases + f] = epilogue(tile[f*phase_stride + j] + bias)   for all j, f with j*phases + f < count
// The tile may be read up to one vector beyond the last value of each phase. dst: nothing outside is written.
// phases >= 1, count >= 0.
struct RowStoreArgs {
  const float* tile;
  ptrdiff_t phase_stride;
  int64_t phases;
  int64_t count;
  float* dst;
  float bias;
  const Epilogue* epilogue;
};
typedef void (*RowStoreFn)(const RowStoreArgs* args);

// Store for channels-last output: rows are pixels, columns channels.
//   dst[i*dst_stride + j] = epilogue(tile[i*tile_stride + j] + bias[j])   for i in [0, rows), j in [0, columns)
// Nothing outside is written or read. bias holds `columns` values (zeros if the layer has none).
struct PixelStoreArgs {
  const float* tile;
  ptrdiff_t tile_stride;
  int64_t rows;
  int64_t columns;
  float* dst;
  ptrdiff_t dst_stride;
  const float* bias;
  const Epilogue* epilogue;
};
typedef void (*PixelStoreFn)(const PixelStoreArgs* args);

// dst[j*dst_stride + i] = src[i*src_stride + j]  for i in [0, rows), j in [0, columns). Nothing outside is touched.
struct TransposeArgs {
  const float* src;
  ptrdiff_t src_stride;
  float* dst;
  ptrdiff_t dst_stride;
  int64_t rows;
  int64_t columns;
};
typedef void (*TransposeFn)(const TransposeArgs* args);

struct KernelTable {
  const char* isa;  // "baseline", "avx2", "avx512", "neon"
  int lanes;        // floats in a vector
  // Wide kernels by descending mr then descending nr; every mr from 1 to the largest has an entry with one vector at least.
  const TileKernel* wide;
  int wide_count;
  // Channels kernels, likewise: every mr from 1 to the largest occurs with every column count that occurs at all.
  const TileKernel* channels;
  int channels_count;
  RowStoreFn row_store;
  PixelStoreFn pixel_store;
  TransposeFn transpose;
};

}  // namespace convtranspose
