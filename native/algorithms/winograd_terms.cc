#include "algorithms/winograd_terms.h"

#include <algorithm>
#include <cmath>
#include <limits>
#include <utility>

#include "algorithms/term_scale.h"
#include "problem/checked.h"

namespace convtranspose {
namespace {

// Blocks of channels that the unit sums before they are added to the rest: with more of them the RMS error would be that of
// the direct kernels.
constexpr std::int64_t kChunk = 8;
constexpr double kProducts = 6.0;       // of matrices of floats, as terms
constexpr double kResidentShare = 0.5;  // of the second-level cache: input that needs no fetching
constexpr std::int64_t kFloatsPerLine = 16;
constexpr int kMostAtOnce = 4;  // of rows and lines, between products

// Cycles, fitted to the native bench.
constexpr double kProduct = 17.0;      // of two matrices, while others are under way
constexpr double kCall = 120.0;        // of a kernel, for each pair of matrices: first loads, sums to memory
constexpr double kSplitMatrix = 60.0;  // of weights, beside products,
constexpr double kSplitAlone = 500.0;  // and before them, from memory
constexpr double kSplitVector = 6.0;   // of values of a channel

}  // namespace

int WinogradTerms::input_limit(double growth) { return kInputExponent - static_cast<int>(std::ceil(std::log2(growth))); }

std::int64_t WinogradTerms::input_bytes(std::int64_t points, std::int64_t channels, std::int64_t tiles) {
  return points * round_up(channels, std::int64_t{kTermBlock}) * round_up(tiles, columns(tiles)) * kMostTerms *
         static_cast<std::int64_t>(sizeof(std::uint16_t));
}

double WinogradTerms::multiply_cycles(std::int64_t rows, std::int64_t channels, std::int64_t tiles) {
  const auto matrices = static_cast<double>(rows / kTermSquare);
  const auto blocks = static_cast<double>(ceil_div(channels, std::int64_t{kTermBlock}));
  const auto of_tiles = static_cast<double>(round_up(tiles, columns(tiles)) / kTermSquare);
  const double calls = std::ceil(blocks / static_cast<double>(kChunk));
  const double split = tiles > kTermSquare ? kSplitMatrix : kSplitAlone;  // kernels of a single column do not split
  return matrices * (blocks * (split + of_tiles * kProducts * kProduct) + calls * of_tiles * kCall);
}

double WinogradTerms::split_cycles(std::int64_t tiles) {
  return static_cast<double>(round_up(tiles, columns(tiles)) / kTermSquare) * kSplitVector;
}

WinogradTerms::WinogradTerms(const PlanRequest& request, const WinogradTiles& tiles)
    : table_(request.kernels),
      blocks_(ceil_div(request.problem.in_channels_per_group(), std::int64_t{kTermBlock})),
      columns_(tiles.columns / kTermSquare),
      tile_groups_(tiles.row_floats / tiles.columns),
      product_floats_(tiles.product_floats),
      chunk_(std::min(kChunk, blocks_)),
      fetches_(static_cast<double>(input_bytes(tiles.point_count(), request.problem.in_channels_per_group(),
                                               tiles.row_floats)) > kResidentShare * static_cast<double>(request.caches.l2)),
      weight_scale_(weight_scale(request.weights)),
      sum_scale_(sum_scale(request.weights)) {}

std::int64_t WinogradTerms::scratch_floats() const {
  const std::int64_t bytes = 2 * most_weights() * static_cast<std::int64_t>(sizeof(std::uint16_t)) +
                             most_rows() * blocks_ * static_cast<std::int64_t>(sizeof(TermSplitJob));
  return round_up(bytes / static_cast<std::int64_t>(sizeof(float)), kFloatsPerLine);
}

bool WinogradTerms::split(const float* values, std::int64_t stride, std::int64_t first, std::int64_t channels,
                          std::uint16_t* dst) const {
  TermPlanesArgs call;
  call.src = values;
  call.src_stride = stride;
  call.positions = tile_groups_ * columns_ * kTermSquare;
  call.channels = channels;
  call.terms = kMostTerms;
  call.dst = dst + first / kTermBlock * kMostTerms * columns_ * kTermElements;
  call.first_matrix = 0;
  call.columns = static_cast<int>(columns_);
  call.group_stride = group_stride();
  call.scale = kInputScale;
  call.limit = kInputScale;
  return table_->terms->split_planes(&call);
}

int WinogradTerms::rows_at_once(std::int64_t left) const {
  return left >= most_rows() ? static_cast<int>(most_rows()) : left >= 2 ? 2 : 1;
}

int WinogradTerms::columns_at_once(int rows, std::int64_t left) const {
  return static_cast<int>(columns_ == 1 ? 1 : rows == 1 && left >= 4 ? 4 : 2);
}

WinogradTerms::Multiplier::Multiplier(const WinogradTerms& terms, const Step& first, float* scratch)
    : terms_(terms),
      here_(reinterpret_cast<std::uint16_t*>(scratch)),
      there_(here_ + terms.most_weights()),
      jobs_(reinterpret_cast<TermSplitJob*>(there_ + terms.most_weights())) {
  TermSplitAhead ahead = split_ahead(first.weights, terms_.rows_at_once(first.rows / kTermSquare));
  terms_.table_->terms->finish_ahead(&ahead);
  std::swap(here_, there_);
}

// So many rows of matrices, to `there_`.
TermSplitAhead WinogradTerms::Multiplier::split_ahead(const float* weights, std::int64_t rows) {
  const std::int64_t matrices = rows * terms_.blocks_;
  for (std::int64_t i = 0; i < matrices; ++i) {
    jobs_[i] = {weights + i * kTermElements, there_ + i * kMostTerms * kTermElements, kTermSquare};
  }
  TermSplitAhead ahead;
  ahead.now = matrices > 0 ? jobs_[0] : TermSplitJob{nullptr, nullptr, 0};
  ahead.next = jobs_ + (matrices > 0 ? 1 : 0);
  ahead.end = jobs_ + matrices;
  ahead.src_stride = 0;
  ahead.source = TermSource::kRows;
  ahead.term_stride = kTermElements;
  ahead.terms = kMostTerms;
  ahead.scale = terms_.weight_scale_;
  ahead.limit = std::numeric_limits<float>::infinity();
  ahead.fine = true;
  return ahead;
}

void WinogradTerms::Multiplier::multiply(const Step& step, const Step* next, std::span<const std::uint16_t> later,
                                         KernelSet* used) {
  constexpr std::ptrdiff_t kNoShift = 0;
  constexpr std::ptrdiff_t kBlock = kMostTerms * kTermElements;  // of one row of matrices
  const WinogradTerms& t = terms_;
  const std::int64_t matrices = step.rows / kTermSquare, of_tiles = t.tile_groups_ * t.columns_;
  TermArgs call{};
  call.src_term_stride = kTermElements;
  call.src_channel_stride = kBlock;
  call.tap_offset = &kNoShift;
  call.taps = 1;
  call.tile_stride = t.product_floats_;
  call.scale = t.sum_scale_;
  call.weights_stride = t.group_stride();
  for (std::int64_t m = 0; m < matrices;) {
    const int rows = t.rows_at_once(matrices - m);
    const std::int64_t left = matrices - m - rows;
    const float* const weights = left > 0          ? step.weights + (m + rows) * t.blocks_ * kTermElements
                                 : next == nullptr ? nullptr
                                                   : next->weights;
    const std::int64_t following = left > 0 ? left : next == nullptr ? 0 : next->rows / kTermSquare;
    TermSplitAhead ahead = split_ahead(weights, following > 0 ? t.rows_at_once(following) : 0);
    // Pauses between products, while these rows are multiplied.
    const std::int64_t pauses = std::max<std::int64_t>(1, of_tiles * rows / 4 * t.blocks_ * (rows == 2 ? 6 : 4));
    ahead.at_once =
        static_cast<int>(std::clamp<std::int64_t>(ceil_div((ahead.end - jobs_) * kTermSquare, pauses), 1, kMostAtOnce));
    const auto lines = static_cast<std::int64_t>(later.size()) / kTermBlock;
    ahead.lines = static_cast<int>(std::min<std::int64_t>(ceil_div(lines * rows, pauses * matrices), kMostAtOnce));
    ahead.fetch = later.data() + lines * m / matrices * kTermBlock;
    call.ahead = &ahead;
    for (std::int64_t c = 0; c < t.blocks_; c += t.chunk_) {
      call.channel_blocks = std::min(t.chunk_, t.blocks_ - c);
      call.accumulate = c > 0;
      for (int r = 0; r < rows; ++r) call.src[r] = here_ + (r * t.blocks_ + c) * kBlock;
      for (std::int64_t at = 0; at < of_tiles;) {
        const int columns = t.columns_at_once(rows, of_tiles - at);
        call.weights = step.input + at / t.columns_ * t.group_stride() + c * kMostTerms * t.columns_ * kTermElements;
        for (int r = 0; r < rows; ++r)
          call.tile[r] = step.values + (m + r) * kTermSquare * t.product_floats_ + at * kTermSquare;
        const int kernel = term_kernel_row(kMostTerms, rows, columns);
        t.table_->terms->multiply[kernel].fn(&call);
        used->set(static_cast<std::size_t>(term_number(*t.table_, kernel)));
        at += columns;
      }
    }
    t.table_->terms->finish_ahead(&ahead);
    std::swap(here_, there_);
    m += rows;
  }
}

KernelSet WinogradTerms::kernels(std::int64_t rows) const {
  KernelSet set;
  for (std::int64_t left = rows / kTermSquare; left > 0;) {
    const int at_once = rows_at_once(left);
    for (std::int64_t columns = tile_groups_ * columns_; columns > 0;) {
      const int count = columns_at_once(at_once, columns);
      set.set(static_cast<std::size_t>(term_number(*table_, term_kernel_row(kMostTerms, at_once, count))));
      columns -= count;
      if (columns > 8) columns = 4 + columns % 4;
    }
    left -= at_once;
    if (left > 8) left = 4 + left % 4;
  }
  return set;
}

}  // namespace convtranspose
