// The kernels for every processor: SSE2 on x86-64, the plain vector unit elsewhere; 16 registers of 4 floats.
#include "kernels/simd/baseline.h"

#include "kernels/kernel.h"
#include "kernels/tables.h"

namespace convtranspose {
namespace baseline {
namespace {

#include "kernels/finish.inl.h"
#include "kernels/overlap.inl.h"
#include "kernels/row.inl.h"
#include "kernels/store.inl.h"
#include "kernels/tile.inl.h"
#include "kernels/window.inl.h"
#include "kernels/winograd.inl.h"

// Without a fused multiply-add each product needs a register of its own before it is added, and a broadcast one more.
// clang-format off
constexpr TileKernel kWide[] = {
    wide<6, 2>(), wide<6, 1>(),
    wide<5, 2>(), wide<5, 1>(),
    wide<4, 2>(), wide<4, 1>(),
    wide<3, 3>(), wide<3, 2>(), wide<3, 1>(),
    wide<2, 4>(), wide<2, 3>(), wide<2, 2>(), wide<2, 1>(),
    wide<1, 6>(), wide<1, 4>(), wide<1, 3>(), wide<1, 2>(), wide<1, 1>(),
};

constexpr TileKernel kChannels[] = {
    channels<6, 2>(), channels<6, 1>(),
    channels<5, 2>(), channels<5, 1>(),
    channels<4, 2>(), channels<4, 1>(),
    channels<3, 2>(), channels<3, 1>(),
    channels<2, 2>(), channels<2, 1>(),
    channels<1, 2>(), channels<1, 1>(),
};

constexpr TileKernel kMixed[] = {
    mixed<4, 2>(), mixed<4, 1>(),
};

constexpr RowKernel kRows[] = {
    rows<1, 2, 4>(), rows<1, 4, 2>(), rows<1, 4>(),
    rows<2, 2, 2>(), rows<2, 4>(),
    rows<3, 1, 2>(), rows<3, 2>(),
    rows<4, 1, 2>(), rows<4, 2>(),
    rows<5, 1>(), rows<6, 1>(), rows<7, 1>(), rows<8, 1>(),
};
// clang-format on

}  // namespace
}  // namespace baseline

const KernelTable kBaselineKernels = {
    "baseline",
    baseline::kLanes,
    baseline::kWide,
    sizeof(baseline::kWide) / sizeof(TileKernel),
    baseline::kChannels,
    sizeof(baseline::kChannels) / sizeof(TileKernel),
    baseline::kMixed,
    sizeof(baseline::kMixed) / sizeof(TileKernel),
    baseline::kRows,
    sizeof(baseline::kRows) / sizeof(RowKernel),
    baseline::pixel_kernel<4>(),
    {nullptr, nullptr},
    {baseline::window_kernel<8>(), baseline::windows_kernel<4>()},
    baseline::spread,
    baseline::row_store<baseline::PlainStore>,
    baseline::kStoresPast ? baseline::row_store<baseline::StreamStore> : nullptr,
    baseline::pixel_store<baseline::PlainStore>,
    baseline::kStoresPast ? baseline::pixel_store<baseline::StreamStore> : nullptr,
    baseline::transpose,
    baseline::transpose_store,
    baseline::copy_rows,
    baseline::overlap_add,
    baseline::kStoresPast ? baseline::stream : nullptr,
    baseline::fence_past,
    baseline::row_split,
    baseline::kWinogradInput,
    sizeof(baseline::kWinogradInput) / sizeof(WinogradInputKernel),
    baseline::kWinogradOutput,
    sizeof(baseline::kWinogradOutput) / sizeof(WinogradOutputKernel),
    baseline::kWinogradRows,
    sizeof(baseline::kWinogradRows) / sizeof(WinogradRowsKernel),
    baseline::rows_copy,
    baseline::combine,
    baseline::kFinish,
};

}  // namespace convtranspose
