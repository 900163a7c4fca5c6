#include "algorithms/definition.h"

#include <algorithm>
#include <cmath>
#include <numeric>

#include "problem/checked.h"

namespace convtranspose {
namespace {

constexpr std::int64_t kMaxListedStride = std::int64_t{1} << 20;

// The activation in double precision. slope: of kPrelu.
double activate(const PostOps& post_ops, float slope, double x) {
  const double alpha = static_cast<double>(post_ops.alpha);
  const double kRootHalf = std::sqrt(0.5);
  const double kTwoRootTwoOverPi = std::sqrt(8.0 / std::acos(-1.0));
  // x / (1 + e^-w), without an overflow on the way for x = w.
  const auto gated = [x](double w) { return w < 0 ? x * (std::exp(w) / (1 + std::exp(w))) : x / (1 + std::exp(-w)); };
  switch (post_ops.activation) {
    case Activation::kClamp:
      if (x < static_cast<double>(post_ops.lower)) return static_cast<double>(post_ops.lower);
      return x > static_cast<double>(post_ops.upper) ? static_cast<double>(post_ops.upper) : x;
    case Activation::kLeakyRelu:
      return x > 0 ? x : alpha * x;
    case Activation::kPrelu:
      return x > 0 ? x : static_cast<double>(slope) * x;
    case Activation::kTanh:
      return std::tanh(x);
    case Activation::kSigmoid:
      return x < 0 ? std::exp(x) / (1 + std::exp(x)) : 1 / (1 + std::exp(-x));
    case Activation::kGelu:
      return x * (0.5 * std::erfc(-x * kRootHalf));
    case Activation::kGeluTanh:
      return gated(kTwoRootTwoOverPi * (x + 0.044715 * x * x * x));
    case Activation::kSilu:
      return gated(x);
    case Activation::kElu:
      return x < 0 ? alpha * std::expm1(x) : x;
  }
  return x;
}

}  // namespace

Definition::Definition(const Problem& problem) : problem_(problem) {
  for (int d = 0; d < kSpatialDims; ++d) {
    const std::int64_t stride = problem.layer.stride[d];
    const std::int64_t dilation = problem.layer.dilation[d];
    gcd_[d] = std::gcd(stride, dilation);
    const std::int64_t step = stride / gcd_[d];
    if (step > kMaxListedStride) continue;
    first_tap_[d].assign(static_cast<std::size_t>(step), -1);
    for (std::int64_t k = 0; k < std::min(problem.layer.kernel[d], step); ++k) {
      first_tap_[d][static_cast<std::size_t>(k * dilation % stride / gcd_[d])] = k;
    }
  }
}

double Definition::products_per_output() const {
  double products = static_cast<double>(problem_.in_channels_per_group());
  for (int d = 0; d < kSpatialDims; ++d) {
    const double taps =
        static_cast<double>(problem_.layer.kernel[d]) / static_cast<double>(problem_.layer.stride[d] / gcd_[d]);
    products *= std::max(1.0, std::min(taps, static_cast<double>(problem_.call.in[d])));
  }
  return products;
}

Definition::Reach Definition::reach(int d, std::int64_t o) const {
  const std::int64_t stride = problem_.layer.stride[d];
  const std::int64_t dilation = problem_.layer.dilation[d];
  const std::int64_t last_i = problem_.call.in[d] - 1;
  const std::int64_t last_k = problem_.layer.kernel[d] - 1;
  const std::int64_t position = o + problem_.call.pad_begin[d];  // = i*stride + k*dilation
  const std::int64_t residue = floor_mod(position, stride);
  Reach r;
  r.k_step = stride / gcd_[d];
  r.i_step = dilation / gcd_[d];
  if (residue % gcd_[d] != 0) return r;
  // The first tap that is congruent; the others follow at steps of stride/gcd.
  std::int64_t k = 0;
  if (!first_tap_[d].empty()) {
    k = first_tap_[d][static_cast<std::size_t>(residue / gcd_[d])];
    if (k < 0) return r;
  } else {
    while (k <= last_k && k < r.k_step && k * dilation % stride != residue) ++k;
    if (k > last_k || k == r.k_step) return r;
  }
  const std::int64_t phase_taps = (last_k - k) / r.k_step + 1;
  r.whole = false;
  if (last_i < 0 || position < 0) return r;
  // i = (position - k*dilation)/stride must not pass the end of the input ...
  const std::int64_t excess = position - last_i * stride - k * dilation;
  if (excess > 0) {
    if (r.k_step > last_k) return r;
    const std::int64_t step = r.k_step * dilation;
    k += (excess + step - 1) / step * r.k_step;
  }
  // ... nor fall below its beginning.
  const std::int64_t most_k = std::min(last_k, position / dilation);
  if (k > most_k) return r;
  r.k_first = k;
  r.i_first = (position - k * dilation) / stride;
  r.count = (most_k - k) / r.k_step + 1;
  r.whole = r.count == phase_taps;
  return r;
}

bool Definition::reached(const Dims& o) const {
  return reach(0, o[0]).count > 0 && reach(1, o[1]).count > 0 && reach(2, o[2]).count > 0;
}

bool Definition::at_border(const Dims& o) const {
  return !reach(0, o[0]).whole || !reach(1, o[1]).whole || !reach(2, o[2]).whole;
}

std::int64_t Definition::index(std::int64_t image, std::int64_t channel, const Dims& o) const {
  const Dims& out = problem_.call.out;
  const std::int64_t channels = problem_.layer.out_channels;
  if (problem_.call.format == MemoryFormat::kChannelsLast) {
    return (((image * out[0] + o[0]) * out[1] + o[1]) * out[2] + o[2]) * channels + channel;
  }
  return (((image * channels + channel) * out[0] + o[0]) * out[1] + o[1]) * out[2] + o[2];
}

float Definition::output(const RunArgs& args, std::int64_t image, std::int64_t channel, const Dims& o) const {
  const Problem& p = problem_;
  const bool last = p.call.format == MemoryFormat::kChannelsLast;
  const std::int64_t in_per_group = p.in_channels_per_group();
  const std::int64_t out_per_group = p.out_channels_per_group();
  const std::int64_t group = channel / out_per_group;
  const std::int64_t pixel_step = last ? p.layer.in_channels : 1;
  const std::int64_t channel_step = last ? 1 : p.in_points();

  double sum = 0.0;
  const Reach rd = reach(0, o[0]), rh = reach(1, o[1]), rw = reach(2, o[2]);
  if (rd.count > 0 && rh.count > 0 && rw.count > 0) {
    for (std::int64_t c = 0; c < in_per_group; ++c) {
      const std::int64_t in_channel = group * in_per_group + c;
      const float* x = args.src + image * p.layer.in_channels * p.in_points() + in_channel * channel_step;
      const float* w = args.raw_weights + (in_channel * out_per_group + channel % out_per_group) * p.kernel_points();
      for (std::int64_t a = 0; a < rd.count; ++a) {
        for (std::int64_t b = 0; b < rh.count; ++b) {
          const std::int64_t x_row =
              ((rd.i_first - a * rd.i_step) * p.call.in[1] + rh.i_first - b * rh.i_step) * p.call.in[2];
          const std::int64_t w_row =
              ((rd.k_first + a * rd.k_step) * p.layer.kernel[1] + rh.k_first + b * rh.k_step) * p.layer.kernel[2];
          for (std::int64_t e = 0; e < rw.count; ++e) {
            sum += static_cast<double>(x[(x_row + rw.i_first - e * rw.i_step) * pixel_step]) *
                   static_cast<double>(w[w_row + rw.k_first + e * rw.k_step]);
          }
        }
      }
    }
  }
  // After all products, as in the kernels: so a bias of -0 becomes 0 wherever no product arrives.
  if (args.bias != nullptr) sum += static_cast<double>(args.bias[channel]);
  if (args.residual != nullptr) sum += static_cast<double>(args.residual[index(image, channel, o)]);
  return static_cast<float>(activate(p.call.post_ops, args.slopes == nullptr ? 0.0f : args.slopes[channel], sum));
}

}  // namespace convtranspose
