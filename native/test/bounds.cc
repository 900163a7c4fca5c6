#include "bounds.h"

#include <algorithm>
#include <cmath>
#include <cstdio>

#include "problem/checked.h"

namespace convtranspose {
namespace {

// Of the direct, gemm, depthwise and reference kernels, which add one product after the other, and of amx with precision
// 'highest'.
double element_wise_bound(double products, double magnitude, DataKind kind) {
  if (kind == DataKind::kSmallIntegers) return 0.0;
  const double underflow = products * 0x1p-126;
  const double classical = products * 0x1p-24 * (1.0 + products * 0x1p-24) * magnitude;
  if (kind == DataKind::kAny) return classical + underflow;
  return std::min(classical, 0x1p-22 * std::sqrt(products) * magnitude) + underflow;
}

// Of products of terms of bfloat16, for each product |xw| of an output. A term is rounded to nearest with 8 significant
// bits, so that what is left is at most 2^-8 of what it was. With x = x1 + x' and w = w1 + w', one term leaves out x1 w' +
// x' w of xw: 2*2^-8 + 2^-16. With two, where x = x1 + x2 + x'', x2 w2 + x w'' + x'' (w1 + w2) is left out, three times
// 2^-16 and 2^-32. With three that is 2*2^-24 + 2^-32, within the bound for the roundings of sums. Small integers are one
// term.
double omitted_share(Precision precision, DataKind kind) {
  if (kind == DataKind::kSmallIntegers || precision == Precision::kHighest) return 0.0;
  return precision == Precision::kHigh ? 3 * 0x1p-16 + 0x1p-32 : 2 * 0x1p-8 + 0x1p-16;
}

// Of Winograd: every value of a tile meets every rounding of it, so that the largest input of the tiles that reach an output
// takes the place of each, and the largest tap that of each tap,
//   C * 2^-23 * sqrt(products) * sum over input channels of max|x in these tiles| * max|w of the phase's taps|
// with C a factor for every dimension, the largest of the sums over points of |output row| * sum|input row| * sum|tap row|:
// with tiles of two 6 for two taps (4 + 1 + 1 for the points 1, 0 and infinity) and 8 for three, with tiles of four 21
// and 39.
constexpr double kFactor[5] = {0.0, 1.0, 8.0, 0.0, 40.0};  // [positions of a tile]

class WinogradBound {
 public:
  WinogradBound(const Problem& problem, const Values& values) : p_(problem), v_(values) {
    const int most = p_.call.precision == Precision::kHighest ? 2 : 4;
    for (int d = 0; d < kSpatialDims; ++d) {
      tile_[d] = p_.layer.kernel[d] > p_.layer.stride[d] ? most : 1;
      grids_[d] = p_.layer.dilation[d];
      tiles_[d] = (p_.call.in[d] + grids_[d] * tile_[d] - 1) / (grids_[d] * tile_[d]);
      factor_ *= kFactor[tile_[d]];
    }
    largest_.assign(
        static_cast<std::size_t>(p_.call.batch * p_.layer.in_channels * all_tiles(0) * all_tiles(1) * all_tiles(2)), 0.0);
    for (std::int64_t n = 0; n < p_.call.batch; ++n) {
      for (std::int64_t c = 0; c < p_.layer.in_channels; ++c) {
        for (std::int64_t d = 0; d < p_.call.in[0]; ++d) {
          for (std::int64_t h = 0; h < p_.call.in[1]; ++h) {
            for (std::int64_t w = 0; w < p_.call.in[2]; ++w) {
              double& at = largest_[tile_index(n, c, tile_of(0, d), tile_of(1, h), tile_of(2, w))];
              at = std::max(
                  at,
                  std::fabs(static_cast<double>(
                      v_.x[static_cast<std::size_t>(element(p_.call, p_.layer.in_channels, p_.call.in, n, c, d, h, w))])));
            }
          }
        }
      }
    }
  }

  double at(std::int64_t n, std::int64_t co, const Dims& o, double products) const {
    const std::int64_t inputs = p_.in_channels_per_group(), outputs = p_.out_channels_per_group();
    double sum = 0.0;
    for (std::int64_t c = 0; c < inputs; ++c) {
      const std::int64_t ci = co / outputs * inputs + c;
      sum += largest_input(n, ci, o) * largest_tap(ci, co % outputs, o);
    }
    return factor_ * 0x1p-23 * std::sqrt(products) * sum + 64.0 * products * 0x1p-126;
  }

 private:
  std::size_t tile_index(std::int64_t n, std::int64_t c, std::int64_t d, std::int64_t h, std::int64_t w) const {
    return static_cast<std::size_t>((((n * p_.layer.in_channels + c) * all_tiles(0) + d) * all_tiles(1) + h) * all_tiles(2) +
                                    w);
  }
  // With dilation every grid of inputs has its own tiles, one grid's after the other's.
  std::int64_t all_tiles(int d) const { return grids_[d] * tiles_[d]; }
  std::int64_t tile_of(int d, std::int64_t in) const { return in % grids_[d] * tiles_[d] + in / grids_[d] / tile_[d]; }
  // The first tap that reaches an output, and the input (maybe before the first or beyond the last one) that it meets.
  std::int64_t first_tap(int d, std::int64_t o) const {
    std::int64_t k = 0;
    while (k < p_.layer.stride[d] && floor_mod(o + p_.call.pad_begin[d] - k * grids_[d], p_.layer.stride[d]) != 0) ++k;
    return k;
  }
  std::int64_t met(int d, std::int64_t o) const {
    return floor_div(o + p_.call.pad_begin[d] - first_tap(d, o) * grids_[d], p_.layer.stride[d]);
  }
  double largest_input(std::int64_t n, std::int64_t c, const Dims& o) const {
    std::int64_t first[kSpatialDims], last[kSpatialDims];
    for (int d = 0; d < kSpatialDims; ++d) {
      const std::int64_t in = met(d, o[d]);
      const std::int64_t before = floor_mod(in, grids_[d]) * tiles_[d];  // tiles of other grids
      const std::int64_t tile = floor_div(floor_div(in, grids_[d]), tile_[d]);
      last[d] = before + std::min(tile, tiles_[d] - 1);
      first[d] = before + std::clamp<std::int64_t>(tile - (tile_[d] > 1 ? 1 : 0), 0, tiles_[d] - 1);
    }
    double largest = 0.0;
    for (std::int64_t d = first[0]; d <= last[0]; ++d) {
      for (std::int64_t h = first[1]; h <= last[1]; ++h) {
        for (std::int64_t w = first[2]; w <= last[2]; ++w) largest = std::max(largest, largest_[tile_index(n, c, d, h, w)]);
      }
    }
    return largest;
  }
  double largest_tap(std::int64_t ci, std::int64_t co, const Dims& o) const {
    const LayerSpec& l = p_.layer;
    std::int64_t residue[kSpatialDims];
    for (int d = 0; d < kSpatialDims; ++d) residue[d] = first_tap(d, o[d]);
    double largest = 0.0;
    for (std::int64_t kd = residue[0]; kd < l.kernel[0]; kd += l.stride[0]) {
      for (std::int64_t kh = residue[1]; kh < l.kernel[1]; kh += l.stride[1]) {
        for (std::int64_t kw = residue[2]; kw < l.kernel[2]; kw += l.stride[2]) {
          const std::int64_t at =
              (((ci * p_.out_channels_per_group() + co) * l.kernel[0] + kd) * l.kernel[1] + kh) * l.kernel[2] + kw;
          largest = std::max(largest, std::fabs(static_cast<double>(v_.w[static_cast<std::size_t>(at)])));
        }
      }
    }
    return largest;
  }

  const Problem& p_;
  const Values& v_;
  std::int64_t tile_[kSpatialDims];
  Dims tiles_, grids_;
  double factor_ = 1.0;
  std::vector<double> largest_;  // [image][channel][tile]
};

// Of the sums, before residual and activation.
std::vector<double> sum_bounds(const Algorithm& algorithm, const Problem& problem, const Values& values,
                               const Expected& expected, DataKind kind) {
  std::vector<double> bounds(expected.y.size());
  if (algorithm.choice() != AlgorithmChoice::kWinograd) {
    const bool by_terms = algorithm.choice() == AlgorithmChoice::kAmx;
    const double omitted = by_terms ? omitted_share(problem.call.precision, kind) : 0.0;
    for (std::size_t i = 0; i < bounds.size(); ++i) {
      bounds[i] = element_wise_bound(expected.products[i], expected.magnitude[i], kind);
      if (omitted > 0.0) bounds[i] += omitted * expected.magnitude[i];  // which may be infinite
    }
    return bounds;
  }
  const WinogradBound bound(problem, values);
  const Dims& out = problem.call.out;
  for (std::int64_t n = 0; n < problem.call.batch; ++n) {
    for (std::int64_t co = 0; co < problem.layer.out_channels; ++co) {
      for (std::int64_t d = 0; d < out[0]; ++d) {
        for (std::int64_t h = 0; h < out[1]; ++h) {
          for (std::int64_t w = 0; w < out[2]; ++w) {
            const std::size_t at =
                static_cast<std::size_t>(element(problem.call, problem.layer.out_channels, out, n, co, d, h, w));
            bounds[at] = bound.at(n, co, {d, h, w}, expected.products[at]) +
                         element_wise_bound(1.0, expected.magnitude[at], DataKind::kAny);
          }
        }
      }
    }
  }
  return bounds;
}

// The most that an activation multiplies a difference of sums by.
double steepest(const PostOps& post_ops, float slope) {
  switch (post_ops.activation) {
    case Activation::kLeakyRelu:
    case Activation::kElu:
      return std::max(1.0, std::fabs(static_cast<double>(post_ops.alpha)));
    case Activation::kPrelu:
      return std::max(1.0, std::fabs(static_cast<double>(slope)));
    case Activation::kGelu:
    case Activation::kGeluTanh:
    case Activation::kSilu:
      return 1.13;
    default:
      return 1.0;
  }
}

}  // namespace

double ulp(double y) {
  int exponent;
  std::frexp(y, &exponent);
  return std::ldexp(1.0, std::max(exponent - 24, -149));
}

double activation_error(Activation activation, double y) {
  switch (activation) {
    case Activation::kClamp:
      return 0.0;
    case Activation::kLeakyRelu:
    case Activation::kPrelu:
      return 0.5 * ulp(y);
    case Activation::kTanh:
    case Activation::kElu:
      return 3.0 * ulp(y);
    // These are 0 where a result would be smaller than about 2^-118.
    case Activation::kSigmoid:
    case Activation::kSilu:
      return std::max(3.0 * ulp(y), 0x1p-118);
    case Activation::kGelu:
      return std::max(8.0 * ulp(y), 0x1p-118);
    case Activation::kGeluTanh:
      return std::max(4.0 * ulp(y), 0x1p-118);
  }
  return 0.0;
}

std::vector<double> error_bounds(const Algorithm& algorithm, const Problem& problem, const Values& values,
                                 const Expected& expected, DataKind kind) {
  std::vector<double> bounds = sum_bounds(algorithm, problem, values, expected, kind);
  const PostOps& post_ops = problem.call.post_ops;
  for (std::size_t i = 0; i < bounds.size(); ++i) {
    // The sum of a residual is rounded once more, and both may be as large as the error of the first.
    if (!values.residual.empty()) bounds[i] += 0.5 * ulp(std::fabs(expected.sum[i]) + bounds[i]);
    const float slope = values.slopes.empty() ? 0.0f : values.slopes[static_cast<std::size_t>(channel_at(problem, i))];
    bounds[i] = bounds[i] * steepest(post_ops, slope);
    bounds[i] += activation_error(post_ops.activation, std::fabs(expected.y[i]) + bounds[i]);
  }
  return bounds;
}

std::string first_wrong_output(const std::vector<float>& y, const Expected& expected, const std::vector<double>& bounds) {
  if (y.size() != expected.y.size()) return "the number of outputs is wrong";
  for (std::size_t i = 0; i < y.size(); ++i) {
    const double wanted = expected.y[i];
    const bool right = std::isfinite(wanted) ? std::fabs(y[i] - wanted) <= bounds[i] : same_kind(y[i], wanted);
    if (right) continue;
    char text[128];
    std::snprintf(text, sizeof text, "output %zu is %.9g instead of %.9g, allowed error %.3g", i, static_cast<double>(y[i]),
                  wanted, bounds[i]);
    return text;
  }
  return "";
}

}  // namespace convtranspose
