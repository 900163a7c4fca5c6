// What is asked: one transposed convolution, fully resolved.
//
//   y[n, co, o] = b[co] + sum over ci in the group of co, k, i with o = i*stride - pad_begin + k*dilation
//                 of x[n, ci, i] * w[ci, co', k]
//
// Everything is per spatial dimension. Lower ranks are stored in the last entries: a 2-D problem has index 0 of every
// array at its unit value (size 1, kernel 1, stride 1, dilation 1, pad 0). The core knows only pad_begin and the output
// size; padEnd, outputPadding and auto_pad are resolved above it. An output position that no product reaches holds the bias.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <limits>

#include "problem/status.h"

namespace convtranspose {

inline constexpr int kSpatialDims = 3;
using Dims = std::array<std::int64_t, kSpatialDims>;  // depth, height, width

enum class DataType : std::uint8_t { kFloat32 };
enum class MemoryFormat : std::uint8_t { kContiguous, kChannelsLast };
enum class Direction : std::uint8_t { kForward };

// PyTorch's float32_matmul_precision. A mode without a kernel runs as the next better one.
enum class Precision : std::uint8_t { kHighest, kHigh, kMedium };

enum class AlgorithmChoice : std::uint8_t { kAuto, kDirect, kGemm, kWinograd, kAmx, kDepthwise, kReference };

// What is fixed when a layer is made. Weights are [in_channels, out_channels/groups, ...kernel], bias is [out_channels].
struct LayerSpec {
  int rank = 2;  // spatial dimensions as the caller sees them, 1..3: for messages only
  std::int64_t groups = 1;
  std::int64_t in_channels = 1;   // all groups together
  std::int64_t out_channels = 1;  // all groups together
  Dims kernel{1, 1, 1};
  Dims stride{1, 1, 1};
  Dims dilation{1, 1, 1};
  bool has_bias = false;
  bool operator==(const LayerSpec&) const = default;
};

// Activations, as the functions of torch.nn.functional.
enum class Activation : std::uint8_t {
  kClamp,      // min(max(y, lower), upper); NaN passes through
  kLeakyRelu,  // y > 0 ? y : alpha*y
  kPrelu,      // y > 0 ? y : slope of the channel * y
  kTanh,
  kSigmoid,
  kGelu,
  kGeluTanh,
  kSilu,
  kElu,  // y < 0 ? alpha*(e^y - 1) : y
};

// Fused work before the store: the bias and, if a call brings one, a residual are added, then comes the activation. The
// defaults change nothing.
struct PostOps {
  Activation activation = Activation::kClamp;
  float lower = -std::numeric_limits<float>::infinity();
  float upper = std::numeric_limits<float>::infinity();
  float alpha = 0.0f;
  bool operator==(const PostOps&) const = default;
};

// What may differ from call to call.
struct CallSpec {
  std::int64_t batch = 1;
  Dims in{1, 1, 1};
  Dims pad_begin{0, 0, 0};  // may be negative: rows before the first product, computed like all others
  Dims out{1, 1, 1};
  MemoryFormat format = MemoryFormat::kContiguous;  // of src and dst
  PostOps post_ops;
  Precision precision = Precision::kHighest;
  AlgorithmChoice algorithm = AlgorithmChoice::kAuto;
  bool invariant = false;            // the bits of an output depend on the values that reach it alone
  bool weights_reused = true;        // false: this call alone pays for packing (functional form)
  std::int64_t workspace_limit = 0;  // bytes per thread; 0: the planner's own limit
  bool operator==(const CallSpec&) const = default;
};

// A validated pair. Types are fields so that other compute types can be added without another description.
struct Problem {
  LayerSpec layer;
  CallSpec call;
  DataType src_type = DataType::kFloat32;
  DataType weights_type = DataType::kFloat32;
  DataType accumulator_type = DataType::kFloat32;
  DataType dst_type = DataType::kFloat32;
  float pad_value = 0.0f;
  Direction direction = Direction::kForward;

  std::int64_t in_channels_per_group() const { return layer.in_channels / layer.groups; }
  std::int64_t out_channels_per_group() const { return layer.out_channels / layer.groups; }
  std::int64_t in_points() const { return call.in[0] * call.in[1] * call.in[2]; }
  std::int64_t out_points() const { return call.out[0] * call.out[1] * call.out[2]; }
  std::int64_t kernel_points() const { return layer.kernel[0] * layer.kernel[1] * layer.kernel[2]; }
  std::int64_t src_elements() const { return call.batch * layer.in_channels * in_points(); }
  std::int64_t dst_elements() const { return call.batch * layer.out_channels * out_points(); }
  std::int64_t weights_elements() const { return layer.in_channels * out_channels_per_group() * kernel_points(); }
  // Effective operations, the figure that GFLOP/s are quoted in: 2 * batch * Cin * Cout/groups * inputSize * kernelSize.
  double flops() const;
};

// Check every field and every product of sizes with overflow-checked arithmetic (all byte counts stay below 2^53).
Status validate(const LayerSpec& layer);
Status validate(const LayerSpec& layer, const CallSpec& call);

}  // namespace convtranspose
