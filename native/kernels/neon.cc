// The kernels for Advanced SIMD of armv8.0: 32 registers of 4 floats.
#include "kernels/simd/neon.h"

#include "kernels/kernel.h"
#include "kernels/tables.h"

namespace convtranspose {
namespace neon {
namespace {

#include "kernels/finish.inl.h"
#include "kernels/lane.inl.h"
#include "kernels/overlap.inl.h"
#include "kernels/row.inl.h"
#include "kernels/store.inl.h"
#include "kernels/tile.inl.h"
#include "kernels/window.inl.h"
#include "kernels/winograd.inl.h"

// Big cores start two to four products in each cycle and take four for one: sixteen accumulators and more keep them busy.
// clang-format off
constexpr TileKernel kWide[] = {
    wide<8, 3>(), wide<8, 2>(), wide<8, 1>(),
    wide<7, 3>(), wide<7, 2>(), wide<7, 1>(),
    wide<6, 4>(), wide<6, 3>(), wide<6, 2>(), wide<6, 1>(),
    wide<5, 4>(), wide<5, 3>(), wide<5, 2>(), wide<5, 1>(),
    wide<4, 6>(), wide<4, 4>(), wide<4, 3>(), wide<4, 2>(), wide<4, 1>(),
    wide<3, 8>(), wide<3, 6>(), wide<3, 4>(), wide<3, 3>(), wide<3, 2>(), wide<3, 1>(),
    wide<2, 8>(), wide<2, 6>(), wide<2, 4>(), wide<2, 3>(), wide<2, 2>(), wide<2, 1>(),
    wide<1, 8>(), wide<1, 6>(), wide<1, 4>(), wide<1, 3>(), wide<1, 2>(), wide<1, 1>(),
};

constexpr TileKernel kChannels[] = {
    channels<8, 3>(), channels<8, 2>(), channels<8, 1>(),
    channels<7, 3>(), channels<7, 2>(), channels<7, 1>(),
    channels<6, 3>(), channels<6, 2>(), channels<6, 1>(),
    channels<5, 3>(), channels<5, 2>(), channels<5, 1>(),
    channels<4, 3>(), channels<4, 2>(), channels<4, 1>(),
    channels<3, 3>(), channels<3, 2>(), channels<3, 1>(),
    channels<2, 3>(), channels<2, 2>(), channels<2, 1>(),
    channels<1, 3>(), channels<1, 2>(), channels<1, 1>(),
};

constexpr TileKernel kMixed[] = {
    mixed<8, 3>(), mixed<8, 2>(), mixed<8, 1>(),
    mixed<4, 6>(), mixed<4, 4>(), mixed<4, 2>(), mixed<4, 1>(),
};

constexpr RowKernel kRows[] = {
    rows<1, 4, 4>(), rows<1, 4, 2>(), rows<1, 8>(),
    rows<2, 2, 4>(), rows<2, 4, 2>(), rows<2, 4>(),
    rows<3, 2, 4>(), rows<3, 2, 2>(), rows<3, 3>(),
    rows<4, 1, 4>(), rows<4, 2, 2>(), rows<4, 4>(),
    rows<5, 2>(), rows<6, 2>(), rows<7, 2>(), rows<8, 2>(),
};
// clang-format on

}  // namespace
}  // namespace neon

const KernelTable kNeonKernels = {
    "neon",
    neon::kLanes,
    neon::kWide,
    sizeof(neon::kWide) / sizeof(TileKernel),
    neon::kChannels,
    sizeof(neon::kChannels) / sizeof(TileKernel),
    neon::kMixed,
    sizeof(neon::kMixed) / sizeof(TileKernel),
    neon::kRows,
    sizeof(neon::kRows) / sizeof(RowKernel),
    neon::pixel_kernel<8>(),
    neon::lane_kernel<8>(),
    {neon::window_kernel<16>(), neon::windows_kernel<8>()},
    neon::spread,
    neon::row_store<neon::PlainStore>,
    neon::kStoresPast ? neon::row_store<neon::StreamStore> : nullptr,
    neon::pixel_store<neon::PlainStore>,
    neon::kStoresPast ? neon::pixel_store<neon::StreamStore> : nullptr,
    neon::transpose,
    neon::transpose_store,
    neon::copy_rows,
    neon::overlap_add,
    neon::kStoresPast ? neon::stream : nullptr,
    neon::fence_past,
    neon::row_split,
    neon::kWinogradInput,
    sizeof(neon::kWinogradInput) / sizeof(WinogradInputKernel),
    neon::kWinogradOutput,
    sizeof(neon::kWinogradOutput) / sizeof(WinogradOutputKernel),
    neon::kWinogradRows,
    sizeof(neon::kWinogradRows) / sizeof(WinogradRowsKernel),
    neon::rows_copy,
    neon::combine,
    neon::kFinish,
};

}  // namespace convtranspose
