// The kernels for AVX2 with FMA: 16 registers of 8 floats.
#include "kernels/simd/avx2.h"

#include "kernels/kernel.h"
#include "kernels/tables.h"

namespace convtranspose {
namespace avx2 {
namespace {

#include "kernels/finish.inl.h"
#include "kernels/lane.inl.h"
#include "kernels/overlap.inl.h"
#include "kernels/row.inl.h"
#include "kernels/store.inl.h"
#include "kernels/tile.inl.h"
#include "kernels/window.inl.h"
#include "kernels/winograd.inl.h"

// A product takes four cycles or so and two start in each, so at least eight accumulators are needed to keep the units busy;
// few rows therefore come with many vectors.
// clang-format off
constexpr TileKernel kWide[] = {
    wide<6, 2>(), wide<6, 1>(),
    wide<5, 2>(), wide<5, 1>(),
    wide<4, 3>(), wide<4, 2>(), wide<4, 1>(),
    wide<3, 4>(), wide<3, 3>(), wide<3, 2>(), wide<3, 1>(),
    wide<2, 6>(), wide<2, 4>(), wide<2, 3>(), wide<2, 2>(), wide<2, 1>(),
    wide<1, 8>(), wide<1, 6>(), wide<1, 4>(), wide<1, 3>(), wide<1, 2>(), wide<1, 1>(),
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
    mixed<4, 3>(), mixed<4, 2>(), mixed<4, 1>(),
};

constexpr RowKernel kRows[] = {
    rows<1, 2, 4>(), rows<1, 4, 2>(), rows<1, 8>(),
    rows<2, 2, 2>(), rows<2, 4>(),
    rows<3, 2, 2>(), rows<3, 2>(),
    rows<4, 1, 2>(), rows<4, 2>(),
    rows<5, 2>(), rows<6, 1>(), rows<7, 1>(), rows<8, 1>(),
};
// clang-format on

}  // namespace
}  // namespace avx2

const KernelTable kAvx2Kernels = {
    "avx2",
    avx2::kLanes,
    avx2::kWide,
    sizeof(avx2::kWide) / sizeof(TileKernel),
    avx2::kChannels,
    sizeof(avx2::kChannels) / sizeof(TileKernel),
    avx2::kMixed,
    sizeof(avx2::kMixed) / sizeof(TileKernel),
    avx2::kRows,
    sizeof(avx2::kRows) / sizeof(RowKernel),
    avx2::pixel_kernel<8>(),
    avx2::lane_kernel<5>(),
    {avx2::window_kernel<8>(), avx2::windows_kernel<4>()},
    avx2::spread,
    avx2::row_store<avx2::PlainStore>,
    avx2::kStoresPast ? avx2::row_store<avx2::StreamStore> : nullptr,
    avx2::pixel_store<avx2::PlainStore>,
    avx2::kStoresPast ? avx2::pixel_store<avx2::StreamStore> : nullptr,
    avx2::transpose,
    avx2::transpose_store,
    avx2::copy_rows,
    avx2::overlap_add,
    avx2::kStoresPast ? avx2::stream : nullptr,
    avx2::fence_past,
    avx2::row_split,
    avx2::kWinogradInput,
    sizeof(avx2::kWinogradInput) / sizeof(WinogradInputKernel),
    avx2::kWinogradOutput,
    sizeof(avx2::kWinogradOutput) / sizeof(WinogradOutputKernel),
    avx2::kWinogradRows,
    sizeof(avx2::kWinogradRows) / sizeof(WinogradRowsKernel),
    avx2::rows_copy,
    avx2::combine,
    avx2::kFinish,
};

}  // namespace convtranspose
