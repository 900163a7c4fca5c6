// The points of Toom-Cook (Winograd) products of an input tile of m coefficients with n taps: 0, 1, -1, 2, -2, the first
// m+n-2 of these, and infinity. (A. L. Toom, 1963; S. A. Cook, 1966; for convolution layers: A. Lavin and S. Gray, 2016.)
//
// The product has m+n-1 coefficients c(z) = sum over points p of P(p)/N(p) * prod over q != p of (z - q), plus P(infinity) *
// prod over q of (z - q), with N(p) = prod over q != p of (p - q). The factors 1/N(p) are part of the taps' values, so that
// the kernels' output transforms have small integers only: that is the scale which these functions include.
#pragma once

#include <cstdint>

namespace convtranspose {

inline constexpr int kMaxWinogradTaps = 3;
inline constexpr int kMaxWinogradPoints = 6;

inline int winograd_points(int tile, int taps) { return tile + taps - 1; }

// The scaled value of the taps' polynomial at point `point` of winograd_points(tile, taps): sum over j of factors[j]*tap[j].
// tile is 1, 2 or 4, taps 1 to 3 (1 with tile 1).
void winograd_tap_factors(int tile, int taps, int point, double* factors);

// Of a whole dimension: the largest sums of magnitudes in the transforms of inputs, taps and outputs (neighbour included).
struct WinogradGrowth {
  double input;
  double taps;
  double output;
};
WinogradGrowth winograd_growth(int tile, int taps);

}  // namespace convtranspose
