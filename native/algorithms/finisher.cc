#include "algorithms/finisher.h"

#include <limits>

namespace convtranspose {
namespace {

// The two lists are the same.
static_assert(static_cast<int>(Activation::kElu) == static_cast<int>(FinishOp::kElu) && kFinishOps == 9);

}  // namespace

const Epilogue Finisher::kNoBounds{-std::numeric_limits<float>::infinity(), std::numeric_limits<float>::infinity()};

Finisher::Finisher(const Problem& problem, const KernelTable& table)
    : post_ops_(problem.call.post_ops),
      bounds_{post_ops_.lower, post_ops_.upper},
      activates_(post_ops_.activation != Activation::kClamp),
      finish_(table.finish[static_cast<int>(post_ops_.activation)]),
      leaky_(table.finish[static_cast<int>(FinishOp::kLeakyRelu)]) {}

FinishArgs Finisher::make_args(const RunArgs& args, float* data, std::ptrdiff_t index) const {
  FinishArgs call{};
  call.dst = data;
  call.residual = args.residual == nullptr ? nullptr : args.residual + index;
  call.lower = post_ops_.lower;
  call.upper = post_ops_.upper;
  call.alpha = post_ops_.alpha;
  return call;
}

void Finisher::finish_row(const RunArgs& args, std::int64_t channel, float* data, std::ptrdiff_t index,
                          std::int64_t count) const {
  FinishArgs call = make_args(args, data, index);
  call.rows = 1;
  call.columns = count;
  if (post_ops_.activation == Activation::kPrelu) {
    call.alpha = args.slopes[channel];
    leaky_(&call);
  } else {
    finish_(&call);
  }
}

void Finisher::unreached(const RunArgs& args, std::int64_t channel, std::ptrdiff_t index) const {
  const Epilogue& bounds = epilogue(args);
  float value = 0.0f + (args.bias == nullptr ? 0.0f : args.bias[channel]);
  if (value < bounds.lower) value = bounds.lower;
  if (value > bounds.upper) value = bounds.upper;
  args.dst[index] = value;
  row(args, channel, args.dst + index, index, 1);
}

void Finisher::finish_pixels(const RunArgs& args, std::int64_t first_channel, float* data, std::ptrdiff_t stride,
                             std::ptrdiff_t index, std::int64_t pixels, std::int64_t channels) const {
  FinishArgs call = make_args(args, data, index);
  call.rows = pixels;
  call.columns = channels;
  call.dst_stride = call.residual_stride = stride;
  if (post_ops_.activation == Activation::kPrelu) {
    call.slopes = args.slopes + first_channel;
  } else if (channels == stride) {  // neighbours throughout: few channels need not be a vector's part each
    call.rows = 1;
    call.columns = pixels * channels;
  }
  finish_(&call);
}

}  // namespace convtranspose
