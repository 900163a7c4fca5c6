// The kernels for AVX-512: 32 registers of 16 floats.
#include "kernels/simd/avx512.h"

#include "kernels/kernel.h"
#include "kernels/tables.h"

namespace convtranspose {
namespace avx512 {
namespace {

#include "kernels/finish.inl.h"
#include "kernels/lane.inl.h"
#include "kernels/overlap.inl.h"
#include "kernels/row.inl.h"
#include "kernels/store.inl.h"
#include "kernels/tile.inl.h"
#include "kernels/window.inl.h"
#include "kernels/winograd.inl.h"

// A product takes about four cycles and two start in each, so at least eight accumulators are needed to keep the units busy;
// few rows therefore come with many vectors. Tall tiles are for layers whose width fills no more vectors than they have.
// clang-format off
constexpr TileKernel kWide[] = {
    wide<14, 2>(), wide<14, 1>(),
    wide<13, 2>(), wide<13, 1>(),
    wide<12, 2>(), wide<12, 1>(),
    wide<11, 2>(), wide<11, 1>(),
    wide<10, 2>(), wide<10, 1>(),
    wide<9, 3>(), wide<9, 2>(), wide<9, 1>(),
    wide<8, 3>(), wide<8, 2>(), wide<8, 1>(),
    wide<7, 3>(), wide<7, 2>(), wide<7, 1>(),
    wide<6, 4>(), wide<6, 3>(), wide<6, 2>(), wide<6, 1>(),
    wide<5, 5>(), wide<5, 4>(), wide<5, 3>(), wide<5, 2>(), wide<5, 1>(),
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
    mixed<12, 2>(), mixed<12, 1>(),
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
}  // namespace avx512

const KernelTable kAvx512Kernels = {
    "avx512",
    avx512::kLanes,
    avx512::kWide,
    sizeof(avx512::kWide) / sizeof(TileKernel),
    avx512::kChannels,
    sizeof(avx512::kChannels) / sizeof(TileKernel),
    avx512::kMixed,
    sizeof(avx512::kMixed) / sizeof(TileKernel),
    avx512::kRows,
    sizeof(avx512::kRows) / sizeof(RowKernel),
    avx512::pixel_kernel<8>(),
    avx512::lane_kernel<8>(),
    {avx512::window_kernel<16>(), avx512::windows_kernel<8>()},
    avx512::spread,
    avx512::row_store<avx512::PlainStore>,
    avx512::kStoresPast ? avx512::row_store<avx512::StreamStore> : nullptr,
    avx512::pixel_store<avx512::PlainStore>,
    avx512::kStoresPast ? avx512::pixel_store<avx512::StreamStore> : nullptr,
    avx512::transpose,
    avx512::transpose_store,
    avx512::copy_rows,
    avx512::overlap_add,
    avx512::kStoresPast ? avx512::stream : nullptr,
    avx512::fence_past,
    avx512::row_split,
    avx512::kWinogradInput,
    sizeof(avx512::kWinogradInput) / sizeof(WinogradInputKernel),
    avx512::kWinogradOutput,
    sizeof(avx512::kWinogradOutput) / sizeof(WinogradOutputKernel),
    avx512::kWinogradRows,
    sizeof(avx512::kWinogradRows) / sizeof(WinogradRowsKernel),
    avx512::rows_copy,
    avx512::combine,
    avx512::kFinish,
};

}  // namespace convtranspose
