// The kernels that transform Winograd's products along height and width at once (WinogradRowsArgs of kernels/kernel.h).
#pragma once

#include <algorithm>
#include <array>

#include "kernels/kernel.h"
#include "pack/winograd_points.h"
#include "pack/winograd_weights.h"
#include "problem/problem.h"

namespace convtranspose {

inline constexpr int kJointPhases = 2;  // along the width
inline constexpr int kJointTile = 2;

// [taps along the height]: row of table.winograd_rows for residues with so many, or -1.
using JointKernels = std::array<int, kMaxWinogradTaps + 1>;

inline JointKernels joint_winograd_kernels(const LayerSpec& layer, const KernelTable& table,
                                           const std::array<int, kSpatialDims>& tile) {
  JointKernels kernels;
  kernels.fill(-1);
  if (layer.stride[2] != kJointPhases || tile[2] != kJointTile || tile[1] > kJointTile) return kernels;
  if (layer.dilation != Dims{1, 1, 1}) return kernels;
  for (int i = 0; i < table.winograd_rows_count; ++i) {
    const WinogradRowsKernel& kernel = table.winograd_rows[i];
    if ((kernel.height_taps == 0) != (tile[1] == 1)) continue;
    bool fits = true;
    for (int f = 0; f < kJointPhases; ++f) fits = fits && kernel.taps[f] == WinogradWeights::taps(layer, 2, f);
    if (!fits) continue;
    kernels[static_cast<std::size_t>(std::max(kernel.height_taps, 1))] = i;
  }
  return kernels;
}

}  // namespace convtranspose
