#include "algorithms/winograd_tiles.h"

#include <algorithm>

#include "problem/checked.h"

namespace convtranspose {
namespace {

constexpr std::int64_t kFloatsPerLine = 16;
constexpr std::int64_t kFloatsPerSetPeriod = 256;  // rows a multiple of this apart would share few cache sets

}  // namespace

WinogradTiles::WinogradTiles(const Problem& problem, const std::array<int, kSpatialDims>& tile,
                             const std::array<int, kSpatialDims>& input_points, const std::array<int, kSpatialDims>& taps,
                             std::int64_t most)
    : points(input_points),
      out_(problem.call.out),
      stride_(problem.layer.stride),
      pad_(problem.call.pad_begin),
      grids_(problem.layer.dilation),
      batch_(problem.call.batch * grids_[0] * grids_[1] * grids_[2]),
      tile_(tile),
      taps_(taps) {
  for (int d = 0; d < kSpatialDims; ++d) {
    in_[d] = ceil_div(problem.call.in[d], grids_[d]);
    tiles_[d] = ceil_div(in_[d], tile_[d]);
  }
  extent_ = tiles_;
  // Tiles of a block in the dimensions from one on, halos included.
  const auto tiles_from = [this](int first) {
    std::int64_t product = 1;
    for (int d = first; d < kSpatialDims; ++d) {
      product *= extent_[d] + (taps_[d] > 1 && extent_[d] < tiles_[d] && d != carry ? 1 : 0);
    }
    return product;
  };
  // The outermost dimension first: that leaves rows whole as long as possible. The first one that is cut between tiles that
  // overlap is the one to carry along: were there a halo before it, what is carried would have to come in behind that.
  for (int d = 0; d < kSpatialDims; ++d) {
    if (tiles_from(0) <= most) break;
    if (carry < 0 && d < kSpatialDims - 1 && tiles_[d] > 1 && taps_[d] > 1) carry = d;
    while (tiles_from(0) > most && extent_[d] > 1) {
      const double share = static_cast<double>(most) / static_cast<double>(tiles_from(0));
      const auto shrunk = static_cast<std::int64_t>(static_cast<double>(extent_[d]) * share);
      extent_[d] = std::max<std::int64_t>(1, std::min(extent_[d] - 1, shrunk));
    }
  }
  for (int d = 0; d < kSpatialDims; ++d) {
    blocks_[d] = ceil_div(tiles_[d], extent_[d]);
    extent_[d] = ceil_div(tiles_[d], blocks_[d]);
    blocks_[d] = ceil_div(tiles_[d], extent_[d]);
  }
  if (carry >= 0) slab = tiles_from(carry + 1);
  const bool whole = blocks_[0] * blocks_[1] * blocks_[2] == 1;
  images = whole ? std::clamp<std::int64_t>(most / std::max<std::int64_t>(1, tiles_from(0)), 1, batch_) : 1;
  images = ceil_div(batch_, ceil_div(batch_, images));
  // All grids along the width in one block, if that can be: they make output rows together.
  if (whole && images < batch_ && images > grids_[2]) images = images / grids_[2] * grids_[2];
  blocks_n_ = ceil_div(batch_, images);

  // Blocks differ in each dimension by themselves: the first one, the next one (which has a halo), and the last one.
  most_ = most_outputs = images;
  for (int d = 0; d < kSpatialDims; ++d) {
    std::int64_t size = 0, outputs = 0;
    for (const std::int64_t at : {std::int64_t{0}, std::int64_t{1}, blocks_[d] - 1}) {
      if (at >= blocks_[d]) continue;
      Dims place{0, 0, 0};
      place[d] = at;
      const TileBox b = box(0, place[0], place[1], place[2]);
      size = std::max(size, b.size[d]);
      outputs = std::max(outputs, b.out_size[d]);
    }
    // All of these may lie in the padding, and the outputs in the blocks between.
    if (blocks_[d] > 3) outputs = std::max(outputs, std::min(out_[d], stride_[d] * tile_[d] * extent_[d]));
    most_ *= size;
    most_outputs *= outputs;
  }
  most_positions = most_ * tile_[0] * tile_[1] * tile_[2];
}

double WinogradTiles::mean_tiles() const {
  double mean = static_cast<double>(batch_) / static_cast<double>(blocks_n_);
  for (int d = 0; d < kSpatialDims; ++d) {
    const std::int64_t halos = taps_[d] > 1 && d != carry ? blocks_[d] - 1 : 0;
    mean *= static_cast<double>(tiles_[d] + halos) / static_cast<double>(blocks_[d]);
  }
  return mean;
}

void WinogradTiles::set_columns(std::int64_t panel_columns) {
  columns = panel_columns;
  row_floats = round_up(most_, columns);
  front_floats = round_up(slab, kFloatsPerLine);
  product_floats = front_floats + round_up(row_floats, kFloatsPerLine);
  if (product_floats % kFloatsPerSetPeriod == 0) product_floats += kFloatsPerLine;
}

TileBox WinogradTiles::block(std::int64_t index) const {
  Dims at{0, 0, 0};
  if (carry >= 0) at[carry] = take_digit(&index, blocks_[carry]);
  for (int d = kSpatialDims - 1; d >= 0; --d) {
    if (d != carry) at[d] = take_digit(&index, blocks_[d]);
  }
  return box(index, at[0], at[1], at[2]);
}

TileBox WinogradTiles::box(std::int64_t n, std::int64_t d, std::int64_t h, std::int64_t w) const {
  TileBox b;
  b.carry_in = b.carry_out = false;
  b.first_image = n * images;
  b.images = std::min(images, batch_ - b.first_image);
  const std::int64_t at[kSpatialDims] = {d, h, w};
  for (int e = 0; e < kSpatialDims; ++e) {
    const std::int64_t begin = at[e] * extent_[e];
    const std::int64_t end = std::min(begin + extent_[e], tiles_[e]);
    const bool follows = begin > 0 && taps_[e] > 1;
    b.halo[e] = follows && e != carry;
    if (e == carry) {
      b.carry_in = follows;
      b.carry_out = end < tiles_[e] && taps_[e] > 1;
    }
    b.end[e] = end == tiles_[e];
    b.first[e] = begin - (b.halo[e] ? 1 : 0);
    b.size[e] = end - b.first[e];
    const std::int64_t out_begin = std::clamp<std::int64_t>(stride_[e] * tile_[e] * begin - pad_[e], 0, out_[e]);
    const std::int64_t out_end =
        b.end[e] ? out_[e] : std::clamp<std::int64_t>(stride_[e] * tile_[e] * end - pad_[e], 0, out_[e]);
    b.out_first[e] = dilated() ? 0 : out_begin;
    b.out_size[e] = dilated() ? out_[e] : out_end - out_begin;
  }
  return b;
}

std::int64_t WinogradTiles::point_of(const std::array<int, kSpatialDims>& of_class, std::int64_t index) const {
  std::int64_t at[kSpatialDims];
  for (int d = kSpatialDims - 1; d >= 0; --d) {
    const std::int64_t i = index % of_class[d];
    index /= of_class[d];
    at[d] = i == of_class[d] - 1 ? points[d] - 1 : i;
  }
  return (at[0] * points[1] + at[1]) * points[2] + at[2];
}

}  // namespace convtranspose
