#include "pack/winograd_points.h"

#include <algorithm>
#include <cmath>

namespace convtranspose {
namespace {

constexpr double kPoint[] = {0.0, 1.0, -1.0, 2.0, -2.0};

// 1/N(point), but 1 for the point 0 where the kernels' formulas take its value as it is (fewer than six points).
double scale(int points, int point) {
  const int finite = points - 1;
  if (point == 0 && points < kMaxWinogradPoints) return 1.0;
  double n = 1.0;
  for (int q = 0; q < finite; ++q) {
    if (q != point) n *= kPoint[point] - kPoint[q];
  }
  return 1.0 / n;
}

}  // namespace

void winograd_tap_factors(int tile, int taps, int point, double* factors) {
  const int points = winograd_points(tile, taps);
  if (point == points - 1) {
    for (int j = 0; j < taps; ++j) factors[j] = j == taps - 1 ? 1.0 : 0.0;
    return;
  }
  double power = scale(points, point);
  for (int j = 0; j < taps; ++j) {
    factors[j] = power;
    power *= kPoint[point];
  }
}

WinogradGrowth winograd_growth(int tile, int taps) {
  if (tile == 1) return {1.0, 1.0, 1.0};
  WinogradGrowth growth{1.0, 1.0, 1.0};
  const int points = winograd_points(tile, taps);
  for (int p = 0; p < points - 1; ++p) {
    double input = 0.0;
    for (int j = 0; j < tile; ++j) input += std::pow(std::fabs(kPoint[p]), j);
    growth.input = std::max(growth.input, input);
    double factors[kMaxWinogradTaps];
    winograd_tap_factors(tile, taps, p, factors);
    double sum = 0.0;
    for (int j = 0; j < taps; ++j) sum += std::fabs(factors[j]);
    growth.taps = std::max(growth.taps, sum);
  }
  // Of a coefficient and of what runs over from the neighbour: the rows of the kernels' formulas.
  constexpr double kOutput[kMaxWinogradPoints + 1] = {0.0, 1.0, 2.0, 4.0, 7.0, 9.0, 20.0};
  growth.output = kOutput[points];
  return growth;
}

}  // namespace convtranspose
