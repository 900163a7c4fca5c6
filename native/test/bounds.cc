#include "bounds.h"

#include <algorithm>
#include <cmath>
#include <cstdio>

namespace convtranspose {
namespace {

// Of the direct, gemm, depthwise and reference kernels, which add one product after the other.
double element_wise_bound(double products, double magnitude, DataKind kind) {
  if (kind == DataKind::kSmallIntegers) return 0.0;
  const double underflow = products * 0x1p-126;
  const double classical = products * 0x1p-24 * (1.0 + products * 0x1p-24) * magnitude;
  if (kind == DataKind::kAny) return classical + underflow;
  return std::min(classical, 0x1p-22 * std::sqrt(products) * magnitude) + underflow;
}

}  // namespace

std::vector<double> error_bounds(const Algorithm&, const Problem&, const Values&, const Expected& expected, DataKind kind) {
  std::vector<double> bounds(expected.y.size());
  for (std::size_t i = 0; i < bounds.size(); ++i) {
    bounds[i] = element_wise_bound(expected.products[i], expected.magnitude[i], kind);
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
