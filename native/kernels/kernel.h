// Contracts of the kernels. A kernel sees pointers, taps and strides: never batch, rank, memory format, phases or the
// name of an instruction set. All strides and offsets are in floats. Each instruction set fills one KernelTable.
//
// This header is included by translation units compiled for wide instruction sets, so it holds plain data only: no inline
// function and no type of the standard library whose weak copy could replace the baseline's at link time.
#pragma once

#include <stddef.h>
#include <stdint.h>

namespace convtranspose {

// One step of a kernel: where what it reads and what it multiplies by begin, relative to src and weights.
struct TapStep {
  ptrdiff_t src;
  ptrdiff_t weights;
};

// Tile kernels: a tile of rows x columns accumulators stays in registers over a whole chunk of channels and taps,
//
//   sum[i][j] = sum over c in [0, channels), t in [0, taps), in this order (c outer), of
//     wide:      weights[(c*taps + t)*mr + i] * src[c*src_channel_stride + tap_offset[t] + j]
//     channels:  weights[(c*taps + t)*nr + j] * src[row_offset[i] + tap_offset[t] + c]
//     mixed:     as wide, but some taps belong to some of the rows alone
//   tile[i*tile_stride + j] = accumulate ? tile[i*tile_stride + j] + sum[i][j] : sum[i][j]
//
// for every i in [0, mr), j in [0, nr). Each product is one fused multiply-add where the instruction set has it, so that a
// result does not depend on which kernel, lane or row computed it (baseline: multiply, then add).
//
// "wide" and "mixed": columns are pixels, rows are output channels. "channels": columns are output channels, rows are
// pixels. The kernel reads all nr columns (wide: of src; channels: of weights) and writes all nr columns of the tile: the
// caller keeps room. "mixed": the rows are four blocks of mr/4; after `taps` taps of all rows follow, for each channel,
// subset_taps[0] of the first and the third block, subset_taps[1] of the first two and subset_taps[2] of the first, with as
// many weights for each tap as it has rows. weights (all) and tile rows are 64-byte aligned when mr/nr and tile_stride
// allow; src has the alignment of a float. channels >= 1, taps >= 1.
//
// Channels kernels by `steps` (steps_fn): of the taps of each channel, whose weights are weights_channel_stride floats, only
// some:
//     weights[c*weights_channel_stride + steps[t].weights + j] * src[row_offset[i] + steps[t].src + c]
// tap_offset may be nullptr then, and `prefetch` is not looked at.
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
  // Wide and mixed kernels ask for cache lines into the second-level cache, for what a later call reads or a store writes:
  // at channel c for those of prefetch + c*prefetch_stride and `prefetch_lines` - 1 more behind it, prefetch_step floats
  // apart. With one tap it is always one line. Channels kernels of more than four rows ask for one line for each channel and
  // tap, nr floats apart from prefetch on.
  const float* prefetch = nullptr;
  ptrdiff_t prefetch_stride = 16;
  int64_t prefetch_lines = 1;
  ptrdiff_t prefetch_step = 16;
  const int64_t* subset_taps = nullptr;  // [3]; mixed kernels only
  const TapStep* steps = nullptr;        // [taps]; for steps_fn only,
  ptrdiff_t weights_channel_stride = 0;  // as is this
};
typedef void (*TileFn)(const TileArgs* args);

struct TileKernel {
  const char* name;  // "8x3": mr x vectors
  int mr;            // rows of accumulators
  int nr;            // columns of accumulators: vectors * lanes
  TileFn fn;
  TileFn steps_fn = nullptr;  // for TileArgs with steps; channels kernels only
};

// What is done to a sum, its bias already added, before it is stored:  v -> min(max(v, lower), upper), and NaN stays NaN.
struct Epilogue {
  float lower;
  float upper;
};

// Phases that a row store interleaves in registers; of more it transposes the tile.
constexpr int64_t kMaxInterleaved = 8;

// Store for contiguous output: interleaves the phases of output rows.
//   dst[i*dst_stride + j*phases + f] = epilogue(tile[i*tile_stride + f*phase_stride + j] + bias)
// for i in [0, rows) and all j, f with j*phases + f < count. With `biases` it is biases[i*bias_row + f*bias_phase] that is
// added: a row's own where rows are channels; those of a pixel's channels where phases are (at most kMaxInterleaved).
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
  const float* biases = nullptr;
  ptrdiff_t bias_phase = 1;
  ptrdiff_t bias_row = 0;
  int64_t rows = 1;
  ptrdiff_t tile_stride = 0;
  ptrdiff_t dst_stride = 0;
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

// What follows a store where an Epilogue is not enough, while the outputs are in the first-level cache:
//   dst[i*dst_stride + j] = act(dst[i*dst_stride + j] + residual[i*residual_stride + j])
// for i in [0, rows), j in [0, columns), without the sum where residual is nullptr. Nothing else is written or read; the
// bits of an output do not depend on its place. act is, in this order,
enum class FinishOp {
  kClamp,      // min(max(x, lower), upper), and NaN stays NaN
  kLeakyRelu,  // x > 0 ? x : alpha*x
  kPrelu,      // x > 0 ? x : slopes[j]*x
  kTanh,
  kSigmoid,
  kGelu,      // x * P(a normal variable is below x)
  kGeluTanh,  // the same by tanh, as torch.nn.functional.gelu(approximate='tanh')
  kSilu,      // x * sigmoid(x)
  kElu,       // x < 0 ? alpha*(e^x - 1) : x
};
constexpr int kFinishOps = 9;
// The errors of each are those of docs/fused.md; where PyTorch gives a NaN or an infinity, so do these.
struct FinishArgs {
  float* dst;
  ptrdiff_t dst_stride;
  const float* residual;
  ptrdiff_t residual_stride;
  int64_t rows;
  int64_t columns;
  float lower, upper;
  float alpha;
  const float* slopes;  // [columns]; kPrelu only
};
typedef void (*FinishFn)(const FinishArgs* args);

// dst[j*dst_stride + i] = src[i*src_stride + j]  for i in [0, rows), j in [0, columns). Nothing outside is touched.
//
// `stream`, which transpose_store has no use for: dst is 64-byte aligned, dst_stride and rows are multiples of 16, and
// squares of 16 x 16 are stored past the caches (see stream_fence) where a vector is a line of them. (In halves, lines that
// passed by took AVX2 1.05 to 1.3 times as long as lines that are read first.)
struct TransposeArgs {
  const float* src;
  ptrdiff_t src_stride;
  float* dst;
  ptrdiff_t dst_stride;
  int64_t rows;
  int64_t columns;
  bool stream = false;
};
typedef void (*TransposeFn)(const TransposeArgs* args);

// The same with an epilogue: dst[j*dst_stride + i] = epilogue(src[i*src_stride + j] + bias[j]).
struct TransposeStoreArgs {
  TransposeArgs transpose;
  const float* bias;  // [columns]
  const Epilogue* epilogue;
};
typedef void (*TransposeStoreFn)(const TransposeStoreArgs* args);

// Copies rows and puts zeros around them:
//   dst[i*dst_stride + j] = 0                      for j in [0, before) and in [before + count, before + count + after)
//   dst[i*dst_stride + j] = src[i*src_stride + j - before]   for j in [before, before + count)
// for i in [0, rows). Nothing outside is touched.
struct CopyRowsArgs {
  const float* src;
  ptrdiff_t src_stride;
  float* dst;
  ptrdiff_t dst_stride;
  int64_t rows;
  int64_t before;
  int64_t count;
  int64_t after;
};
typedef void (*CopyRowsFn)(const CopyRowsArgs* args);

// Overlap-add, channels last: pixel q of a source, at sources[s] + q*pitch, gives to block q of the outputs, `floats`
// floats.
//   dst[q*floats + f] = bias[f] + sum over s, in order, of sources[s][q*pitch + f]
// for q in [0, blocks), f in [0, floats), where s is in [0, whole), and, for f < cut_floats, in [whole, whole + cut) as
// well. Up to a vector more is read of bias and of the first `whole` sources, and written to dst.
struct OverlapAddArgs {
  const float* const* sources;
  int64_t whole;
  int64_t cut;
  int64_t cut_floats;
  ptrdiff_t pitch;
  int64_t blocks;
  int64_t floats;
  const float* bias;
  float* dst;
};
typedef void (*OverlapAddFn)(const OverlapAddArgs* args);

// Row kernels: runs of output rows of some output channels in one pass, from few products to finished, interleaved outputs.
//   sum[f][o][r][j] = sum over the steps of phase f of row r, in order, of  weight[o] * src[r/kinds*src_row + step.src + j]
//   dst[o*dst_stride + r*dst_row + j*phases + f] = epilogue(sum[f][o][r][j] + bias[o])
// for all j, f with j*phases + f < count, r in [0, rows), o in [0, outputs), row by row. The steps of row r are those of
// kind[r % kinds].
// src is read up to nr columns beyond the last j. dst: nothing outside is written. `stream`: dst and its strides are those
// of 64-byte lines, and whole vectors are stored past the caches (see stream_fence). Each product is one fused multiply-add,
// as above. count >= 0.
//
// The first `joint` steps belong to all phases: weights[step.weights + f*outputs + o]. Then come singles[0] steps of phase 0
// alone, singles[1] of phase 1 and so on, weights[step.weights + o]; singles is nullptr when there are none.
struct RowSteps {
  const TapStep* steps;
  int64_t joint;
  const int64_t* singles;  // [phases]
};
struct RowArgs {
  const float* src;
  const float* weights;
  const RowSteps* kind;
  int64_t kinds;
  int64_t rows;
  ptrdiff_t src_row;
  int64_t count;
  float* dst;
  ptrdiff_t dst_row;
  ptrdiff_t dst_stride;
  const float* bias;  // [outputs]
  const Epilogue* epilogue;
  bool stream;
};
struct RowKernel {
  const char* name;  // "rows2x4": phases x vectors, "rows2x2x4": of so many output channels
  int phases;
  int nr;       // columns of accumulators: vectors * lanes
  int outputs;  // output channels
  void (*fn)(const RowArgs* args);
};

// Pixel kernels: channels-last, every channel by itself. Lanes are channels.
//   dst[j*dst_stride + c] = epilogue(bias[c] + sum over steps, in order, of  w[c] * x[j*src_stride + c])
// for j in [0, pixels), c in [0, channels), with w = weights + step.weights and x = src + step.src. Nothing outside is
// written or read. steps >= 0. `stream`: dst is 64-byte aligned, dst_stride and channels are multiples of 16, and the stores
// pass by the caches (see stream_fence).
struct PixelArgs {
  const float* src;
  const float* weights;
  const TapStep* steps;
  int64_t step_count;
  ptrdiff_t src_stride;
  int64_t pixels;
  int64_t channels;
  float* dst;
  ptrdiff_t dst_stride;
  const float* bias;
  const Epilogue* epilogue;
  bool stream;
};
struct PixelKernel {
  const char* name;  // "pixels8": so many pixels at a time
  void (*fn)(const PixelArgs* args);
};

// Lane kernels: an output row of which every float is a channel of its own, neighbours being of different channels and
// phases (channels last, few channels). What a lane multiplies by and where it reads comes again after a period of `vectors`
// vectors of outputs, `period` floats on in src:
//   sum[q][v][l] = sum over the step_count steps of vector v, in order, and k in [0, step.taps), in this order, of
//                  weights[step.weights + k*L + l] * src[step.src + q*period + lanes[step.lanes + k*L + l]]
//   dst[(q*vectors + v)*L + l] = epilogue(sum[q][v][l] + bias[v*L + l])
// for the first `count` floats of dst, L being the lanes of a vector. lanes are in [0, L), or -1: zero is multiplied then. A
// whole vector from each step's place on is read. Nothing outside of dst is written. step_count >= 0. Each product is one
// fused multiply-add, as above. `stream`: dst is 64-byte aligned, and whole vectors are stored past the caches (see
// stream_fence).
struct LaneStep {
  ptrdiff_t src;
  ptrdiff_t weights;
  ptrdiff_t lanes;
  int64_t taps;
};
struct LaneArgs {
  const float* src;
  const float* weights;
  const int32_t* lanes;
  const LaneStep* steps;  // [vectors][step_count]
  int64_t step_count;
  int64_t vectors;
  ptrdiff_t period;
  int64_t count;
  float* dst;
  const float* bias;  // [vectors][L]
  const Epilogue* epilogue;
  bool stream;
};
struct LaneKernel {
  const char* name;  // "lanes8": so many periods at a time
  void (*fn)(const LaneArgs* args);
};

// Window kernels: channels-last, a line of output channels of some pixels, of one phase or of two that read the same inputs.
// Lanes are channels. A step is a few taps of each phase that read neighbouring pixels, so that a vector that is loaded
// serves all of them:
//   sum[f][j] = sum over steps, in order, and t in [0, taps[f]), in this order, of
//               weights[step.weights[f] + t*tap_stride + c] * rows[step.row][src + step.src + (j + f*shift - t)*src_stride +
//               c]
//   dst[j*dst_stride + f*dst_phase + c] = epilogue(sum[f][j] + bias[c])
// for f in [0, phases), j in [0, pixels), c in [0, channels). channels <= 16; rows and weights are read as if it were 16. Of
// dst and bias nothing else is written or read. step_count >= 0. Each product is one fused multiply-add, as above.
//
// `stream`: dst is 64-byte aligned, channels is 16, dst_stride and dst_phase are multiples of it, and the stores pass by the
// caches (see stream_fence).
struct WindowStep {
  ptrdiff_t row;
  ptrdiff_t src;
  ptrdiff_t weights[2];
};
struct WindowArgs {
  const float* const* rows;
  ptrdiff_t src;
  ptrdiff_t src_stride;
  const float* weights;
  ptrdiff_t tap_stride;
  const WindowStep* steps;
  int64_t step_count;
  int64_t pixels;
  int64_t channels;
  float* dst;
  ptrdiff_t dst_stride;
  ptrdiff_t dst_phase;
  const float* bias;
  const Epilogue* epilogue;
  bool stream;
};
typedef void (*WindowFn)(const WindowArgs* args);
struct WindowKernel {
  const char* name;  // "windows2x8": phases x pixels at a time
  // [shift][taps of all phases - phases]. One phase has 1, 2 or 3 taps and no shift. Two have {1, 1}, {2, 1} or {2, 2} with
  // a shift of 0; {1, 1}, {1, 2} or {2, 2} with a shift of 1.
  WindowFn fn[2][3];
};
// Spreads the channels of groups over a line of their outputs, `inputs` channels for `outputs` each, so that a window
// kernel finds what it multiplies in every lane:
//   dst[(j*inputs + i)*16 + l] = src[j*src_stride + l/outputs*inputs + i]
// for j in [0, pixels), i in [0, inputs), l in [0, 16); of `groups` groups alone, the lanes of those beyond get what the
// last one gets. Nothing outside is written or read, and the lines of src + `ahead` are asked for, which need not exist.
// outputs is 1, 2, 4, 8 or a multiple of 16; dst is 64-byte aligned.
struct SpreadArgs {
  const float* src;
  ptrdiff_t src_stride;
  int64_t pixels;
  int64_t inputs;
  int64_t outputs;
  int64_t groups;
  float* dst;
  ptrdiff_t ahead;
};
typedef void (*SpreadFn)(const SpreadArgs* args);

// Winograd, one dimension at a time. Along a dimension an input tile is a polynomial of `tile` coefficients (neighbouring
// positions) and the taps of a phase are another; their product is found from its values at the points 0, 1, -1, 2, -2 (the
// first points - 1 of these) and infinity (its leading coefficient), the last. Arrays hold one value for every tile; kernels
// read and write them in whole vectors, so that up to a vector beyond `count` is touched: callers keep room.

// Splits rows into the coefficients of their tiles: dst[j*dst_stride + r*dst_row + t] = src[r*src_row + t*parts + j], or 0
// beyond src[r*src_row + count - 1], for t*parts + j < round_up(count, parts * vector) and r in [0, rows), in this order: a
// row may overwrite what is beyond the one before. parts is 1, 2 or 4. Nothing of src beyond count is read.
// check: as many floats as a vector has; a NaN is added to one of them if any |src * scale| is infinite or NaN, else 0.
struct RowSplitArgs {
  const float* src;
  ptrdiff_t src_row;
  int64_t rows;
  int64_t count;
  int64_t parts;
  float* dst;
  ptrdiff_t dst_stride;
  ptrdiff_t dst_row;
  float scale;
  float* check;
};
typedef void (*RowSplitFn)(const RowSplitArgs* args);

// dst[p*dst_stride + t/run*run_stride + t%run] = value at point p of the polynomial with the coefficients
// src[j*src_stride + t], for t < count. run is a multiple of a vector, or at least count.
struct WinogradInputArgs {
  const float* src;
  ptrdiff_t src_stride;
  float* dst;
  ptrdiff_t dst_stride;
  int64_t count;
  int64_t run;
  ptrdiff_t run_stride;
};
struct WinogradInputKernel {
  const char* name;
  int tile;
  int points;
  void (*fn)(const WinogradInputArgs* args);
};

// From values at the points (src[p*src_stride + t], scaled as pack/winograd_points.h says) the coefficients of the product,
//   over[j*over_stride + t] = coefficient tile + j        for j in [0, taps - 1): what runs over into the next tile
//   dst[j*dst_stride + t]   = coefficient j               for j in [0, tile), plus, where j < taps - 1 and mask[t] is ones,
//                             over[j*over_stride + t - shift]
// with points = tile + taps - 1. With two taps `over` is not written: it is the last row of src. `shift` floats (and
// a vector) before each of these rows are readable; mask is 0 or all ones for each t.
struct WinogradOutputArgs {
  const float* src;
  ptrdiff_t src_stride;
  float* dst;
  ptrdiff_t dst_stride;
  float* over;
  ptrdiff_t over_stride;
  int64_t count;
  ptrdiff_t shift;
  const uint32_t* mask;
};
struct WinogradOutputKernel {
  const char* name;
  int tile;
  int taps;
  void (*fn)(const WinogradOutputArgs* args);
};

// The transforms along height and width at once, and what follows them, where there are two phases along the width, tiles
// have two positions there and two or none along the height, and no phase has more than two taps along either. With
//   h_f(p, t) = coefficient `coefficient` along the height (as WinogradOutputArgs says) of src[f] at point p of the width:
//               src[f][q*height_stride[f] + p*width_stride[f] + t] are its values at the points q of the height;
//               mask_height[t] says whether h_f adds what runs over from tile t - shift
//   w_f(j, t) = coefficient j of h_f along the width, for j in [0, 2), each with what it keeps:
//               own[f][t] masks the coefficient 0 itself, left[f][t] what runs over into it from tile t - 1
// it stores for t in [0, count) and up to a vector more, j and f in [0, 2),
//   dst[4*t + 2*j + f] = epilogue(w_f(j, t) + bias)
//   over[f][t]         = what runs over from tile t, of phases with two taps, unless over[0] is nullptr
// Masks are 0 or all ones for each t. shift + 1 floats before the values and one mask before mask_height are readable, and a
// vector beyond values and masks.
struct WinogradRowsArgs {
  const float* src[2];
  ptrdiff_t height_stride[2];
  ptrdiff_t width_stride[2];
  int coefficient;
  int64_t count;
  ptrdiff_t shift;
  const uint32_t* mask_height;
  const uint32_t* own[2];
  const uint32_t* left[2];
  float* dst;
  float* over[2];
  float bias;
  const Epilogue* epilogue;
};
struct WinogradRowsKernel {
  const char* name;
  int height_taps;  // 0: no transform along the height, src[f] being h_f
  int taps[2];      // of each phase, along the width
  void (*fn)(const WinogradRowsArgs* args);
};

// Finished outputs to memory: for b in [0, blocks), r in [0, rows),
//   dst[b*dst_block + r*dst_stride + i] = src[b*src_block + r*src_stride + i]          for i in [0, count)
//   dst[b*dst_block + r*dst_stride + count + i] = tail[(b*rows + r)*tail_count + i]    for i in [0, tail_count)
// Nothing else is read or written. `stream`: whole lines of memory are stored past the caches (see stream_fence).
struct RowsCopyArgs {
  const float* src;
  ptrdiff_t src_stride;
  int64_t count;
  const float* tail;
  int64_t tail_count;
  float* dst;
  ptrdiff_t dst_stride;
  int64_t rows;
  bool stream;
  int64_t blocks = 1;
  ptrdiff_t src_block = 0;
  ptrdiff_t dst_block = 0;
};
typedef void (*RowsCopyFn)(const RowsCopyArgs* args);

// dst[i] = sum over k in [0, terms), in this order, of factor[k] * src[offset[k] + i], for i < count. terms >= 1.
struct CombineArgs {
  const float* src;
  const ptrdiff_t* offset;
  const float* factor;
  int64_t terms;
  float* dst;
  int64_t count;
};
typedef void (*CombineFn)(const CombineArgs* args);

// Term kernels: products of matrices of bfloat16 numbers, added up in float. A float is the sum of `terms` of these, the
// first the float rounded to bfloat16, each further one what is left, rounded again; three of them hold every bit. A product
// of two floats is made of the products of their terms i and j with i + j <= terms + 1: one, three or six of them. What is
// left out is at most 2^-7, 2^-14 or 2^-22 of the product, a third of that or less in the mean, of either sign.
inline constexpr int kTermBlock = 32;   // channels that stand beside each other, of one position
inline constexpr int kTermSquare = 16;  // positions and output channels of a matrix
inline constexpr int kMostTerms = 3;
inline constexpr int kMostTermRows = 5;                         // of matrices
inline constexpr int kTermElements = kTermBlock * kTermSquare;  // of a matrix of inputs or weights
inline constexpr int kSplitAhead = 1024;
inline constexpr int kSplitScratch = 2 * kMostTerms * kTermElements;  // the terms of two taps

struct TermSplitAhead;

// For the matrices r in [0, rows) of 16 positions each (of inputs at src[r], of sums at tile[r]), with p(r, i, c, t, k) =
// term k of the input at position i of matrix r shifted by tap t, of channel c of all channel_blocks * 32, which stands at
//   src[r] + k*src_term_stride + c/32*src_channel_stride + tap_offset[t] + i*32 + c%32,
//   tile[r][i*tile_stride + j] = (accumulate ? tile[r][i*tile_stride + j] : 0) +
//                                scale * sum over c, t and terms k, l of  p(r, i, c, t, k) * (term l of the weight c, t, j)
// for every i in [0, 16), j in [0, 16*columns). weights: [channel block][tap][term][column of matrices][pair of channels]
// [output channel][channel of the pair]. Strides and offsets are in elements. Subnormal terms and products count as zero.
// To be called between TermKernels::begin and end on the same thread. channel_blocks >= 1, taps >= 1.
//
// With four columns the weights of the third and fourth stand weights_stride further on, as those of two columns do.
// `unscaled`: scale counts as 1; tiles are aligned to 64 bytes and tile_stride is a multiple of 16 floats. (Kernels that
// split their weights scale.)
//
// `ahead`: inputs to split meanwhile (see TermSplitAhead), or nullptr. Kernels of 2x2 and 1x4 matrices do some of that
// between their products; the others none.
//
// Kernels that split get `values`, floats, in place of weights: [channel block][tap][pair of channels][output channel]
// [channel of the pair]. They make the terms of a tap while they multiply those of the one before, and ask for the lines
// that are kSplitAhead floats ahead: for weights that come from memory for few products each, since floats are fewer bytes.
struct TermArgs {
  const uint16_t* src[kMostTermRows];
  ptrdiff_t src_term_stride;
  ptrdiff_t src_channel_stride;
  const ptrdiff_t* tap_offset;  // [taps]
  const uint16_t* weights;      // 64-byte aligned, as are
  const float* values;          // these
  uint16_t* scratch;            // and this: kSplitScratch, of kernels that split
  ptrdiff_t weights_stride;     // of kernels with four columns alone
  int64_t channel_blocks;
  int64_t taps;
  float* tile[kMostTermRows];
  ptrdiff_t tile_stride;
  float scale;
  bool accumulate;
  bool unscaled = false;
  TermSplitAhead* ahead = nullptr;
};
struct TermKernel {
  const char* name;  // "bf16x6-2x2", "bf16x6-split-4x1": products of terms, rows x columns of matrices
  int terms;
  int rows;
  int columns;
  void (*fn)(const TermArgs* args);
  bool splits = false;
};

// Splits inputs into terms:  dst[k*term_stride + i*dst_stride + c] = term k of scale * src[i*src_stride + c]
// for i in [0, rows), k in [0, terms), c in [0, 32), where inputs of channels from `channels` on count as zero (and are not
// read). Returns whether every magnitude was below `limit` and no input a NaN.
struct TermSplitArgs {
  const float* src;
  ptrdiff_t src_stride;
  int64_t rows;
  int64_t channels;  // 1 to 32
  int terms;
  uint16_t* dst;  // 64-byte aligned, as are all its strides
  ptrdiff_t dst_stride;
  ptrdiff_t term_stride;
  float scale;
  float limit;
};
typedef bool (*TermSplitFn)(const TermSplitArgs* args);

// Splits the weights of one tap and one block of channels, src[c*columns*16 + j], c in [0, 32), into the order of TermArgs:
// dst[term][column of matrices][pair of channels][output channel][channel of the pair], each multiplied by `scale`.
struct TermWeightsArgs {
  const float* src;
  int columns;  // of matrices: 1 or 2
  int terms;
  uint16_t* dst;
  float scale;
};
typedef void (*TermWeightsFn)(const TermWeightsArgs* args);

// Splits planes of inputs into terms, in the order of the weights of TermArgs: positions stand where output channels do.
// src[c*src_stride + i], c in [0, 32), i in [0, positions), goes to matrix m = first_matrix + i/16, of which `columns` (1 or
// 2) stand beside each other:
//   dst[m/columns*group_stride + (term*columns + m%columns)*kTermElements + (c/2*16 + i%16)*2 + c%2] = term of scale * src
// Inputs of channels from `channels` on and of positions from `positions` on, up to a whole matrix, count as zero (and are
// not read). Returns whether every magnitude was below `limit` and no input a NaN.
// TermKernels::split_pixels does the same for src[i*src_stride + c].
struct TermPlanesArgs {
  const float* src;
  ptrdiff_t src_stride;
  int64_t positions;  // >= 1
  int64_t channels;   // 1 to 32
  int terms;
  uint16_t* dst;  // 64-byte aligned
  int64_t first_matrix;
  int columns;
  ptrdiff_t group_stride;
  float scale;
  float limit;
};
typedef bool (*TermPlanesFn)(const TermPlanesArgs* args);

// The same for whole matrices, in pieces: what is split next, while the unit for products is busy with what was split
// before. Whoever does some of a job moves src, dst and left on, which stand within the job before `next`, and clears `fine`
// as split_planes returns false.
enum class TermSource {
  kPlanes,  // src is that of split_planes: pairs of channels of 16 positions, dst being where their matrix begins
  kPixels,  // that of split_pixels, otherwise the same: `left` is even
  kRows,    // rows of 32 floats, one behind the other: dst as of TermKernels::split; their range is not looked at
};
struct TermSplitJob {
  const float* src;
  uint16_t* dst;
  int64_t left;  // pairs or rows, >= 1
};
struct TermSplitAhead {
  TermSplitJob now;  // left is 0 when all is done
  const TermSplitJob* next;
  const TermSplitJob* end;
  ptrdiff_t src_stride;
  TermSource source;
  ptrdiff_t term_stride;  // elements
  int terms;
  float scale;
  float limit;
  bool fine;
  int at_once;  // pairs, 2 or 4, after some products of matrices; of rows, 1 to 4
  // Of rows: so many lines, at most 4, that are asked for each time, from here on. Nothing of it needs to exist.
  int lines = 0;
  const uint16_t* fetch = nullptr;
};
typedef void (*TermAheadFn)(TermSplitAhead* ahead);

// Adds up what neighbouring inputs of a row give to the same outputs, for i in [0, rows):
//   dst[i*dst_row + x] = (accumulate ? dst[i*dst_row + x] : 0) +
//                        scale * sum over t in [0, taps) of src[t*src_stride + i*src_row + x - shift[t]]
// for x in [0, size), where src counts as zero unless 0 <= x - shift[t] < count. dst may be written up to a vector beyond
// `size`: nothing is added there, or zeros stored. shift ascends, 0 <= shift[t], size >= count + shift[t]. taps >= 1.
struct TermOverlapArgs {
  const float* src;
  ptrdiff_t src_stride;
  ptrdiff_t src_row;
  int64_t rows;
  int64_t count;
  const int64_t* shift;
  int64_t taps;
  float* dst;
  ptrdiff_t dst_row;
  int64_t size;
  float scale;
  bool accumulate;
};
typedef void (*TermOverlapFn)(const TermOverlapArgs* args);

// What an instruction set with a unit for products of matrices has beside the other kernels.
struct TermKernels {
  // For each number of terms, ascending: 1x1, 1x2, 2x1, 2x2, 4x1, 1x4 (rows x columns). Then those that split, of three
  // terms: 1x1 to 5x1.
  const TermKernel* multiply;
  int count;
  TermSplitFn split;
  TermWeightsFn split_weights;
  TermPlanesFn split_planes;
  TermPlanesFn split_pixels;
  TermAheadFn finish_ahead;  // does all that is left
  TermOverlapFn overlap;
  void (*begin)();  // claims the unit for the calling thread
  void (*end)();    // gives it back, so that switching threads need not save its registers
};

// Row of TermKernels::multiply for so many terms and rows and columns of matrices.
inline constexpr int kTermSizes = 6;  // for each number of terms
inline int term_kernel_row(int terms, int rows, int64_t columns) {
  const int size = rows == 4 ? 4 : columns == 4 ? 5 : (rows - 1) * 2 + static_cast<int>(columns) - 1;
  return (terms - 1) * kTermSizes + size;
}
// Of the kernel that splits, for so many rows.
inline int term_split_row(int rows) { return kMostTerms * kTermSizes + rows - 1; }

struct KernelTable {
  const char* isa;  // "baseline", "avx2", "avx512", "amx", "neon"
  int lanes;        // floats in a vector
  // Wide kernels by descending mr then descending nr; every mr from 1 to the largest has an entry with one vector at least.
  const TileKernel* wide;
  int wide_count;
  // Channels kernels, likewise: every mr from 1 to the largest occurs with every column count that occurs at all.
  const TileKernel* channels;
  int channels_count;
  // Mixed kernels by descending mr then descending nr, for some multiples of four rows, each with one vector at least.
  const TileKernel* mixed;
  int mixed_count;
  // Row kernels by ascending phases, each number of them from 1 on, then by descending outputs, down to 1.
  const RowKernel* rows;
  int rows_count;
  PixelKernel pixels;
  LaneKernel lane;          // fn is nullptr where no instruction moves lanes by a list
  WindowKernel windows[2];  // of one phase, of two
  SpreadFn spread;
  RowStoreFn row_store;
  // The same past the caches, for dst that is 64-byte aligned (with up to 8 phases: the others are stored as by row_store).
  // nullptr where the instruction set has no such stores; see stream_fence.
  RowStoreFn row_store_past;
  PixelStoreFn pixel_store;
  // The same past the caches, for dst that is 64-byte aligned, dst_stride and columns that are multiples of 16; or nullptr.
  PixelStoreFn pixel_store_past;
  TransposeFn transpose;
  TransposeStoreFn transpose_store;
  CopyRowsFn copy_rows;
  OverlapAddFn overlap_add;
  // dst[i] = src[i] for i in [0, count), past the caches: dst 64-byte aligned, count a multiple of 16. nullptr where the
  // instruction set has no such stores. Before anybody else may read, the thread that stored calls stream_fence.
  void (*stream)(const float* src, float* dst, int64_t count);
  void (*stream_fence)();
  RowSplitFn row_split;
  const WinogradInputKernel* winograd_input;
  int winograd_input_count;
  const WinogradOutputKernel* winograd_output;
  int winograd_output_count;
  const WinogradRowsKernel* winograd_rows;
  int winograd_rows_count;
  RowsCopyFn rows_copy;
  CombineFn combine;
  const FinishFn* finish;  // [kFinishOps]
  const TermKernels* terms = nullptr;
};

}  // namespace convtranspose
