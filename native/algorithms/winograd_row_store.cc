#include "algorithms/winograd_row_store.h"

#include <algorithm>
#include <limits>

#include "pack/winograd_weights.h"
#include "problem/checked.h"

namespace convtranspose {
namespace {

constexpr std::int64_t kFloatsPerLine = 16;

}  // namespace

WinogradRowStore::WinogradRowStore(const Problem& problem, const KernelTable& table, const WinogradTiles& tiles,
                                   const std::array<int, kSpatialDims>& tile, std::int64_t together)
    : problem_(problem), finisher_(problem, table), table_(&table), tiles_(&tiles), tile_(tile), together_(together) {
  const LayerSpec& layer = problem_.layer;
  for (int d = 0; d < kSpatialDims; ++d) {
    most_taps_[d] = WinogradWeights::most_taps(layer, d);
    extra_[d] = layer.kernel[d] - layer.stride[d] * (most_taps_[d] - 1);
    tail_[d] = std::max<std::int64_t>(0, problem_.call.out[d] + problem_.call.pad_begin[d] - covered(d));
    if (tiles.dilated()) tail_[d] = layer.stride[d] * (most_taps_[d] - 1);  // as far as they are outputs
  }
}

std::int64_t WinogradRowStore::whole_floats() const {
  if (!tiles_->dilated()) return 0;
  const std::int64_t step = problem_.layer.stride[2] * problem_.layer.dilation[2];
  return round_up(step * (tiles_->block(0).size[2] * tile_[2] + kOver + 2), kFloatsPerLine);
}

std::int64_t WinogradRowStore::tails_floats() const {
  return round_up(together_ * tiles_->most_tiles() * tail_[2], kFloatsPerLine) + kFloatsPerLine;
}

// Whether outputs of a residue stand at [begin, end) of the uncropped output.
bool WinogradRowStore::has_outputs(int d, std::int64_t residue, std::int64_t begin, std::int64_t end) const {
  begin = std::max(begin, problem_.call.pad_begin[d]);
  end = std::min(end, problem_.call.pad_begin[d] + problem_.call.out[d]);
  return begin + floor_mod(residue - begin, problem_.layer.stride[d]) < end;
}
bool WinogradRowStore::in_tiles(int d, std::int64_t residue) const { return has_outputs(d, residue, 0, covered(d)); }
bool WinogradRowStore::in_tail(int d, std::int64_t residue) const {
  return has_outputs(d, residue, covered(d), std::numeric_limits<std::int64_t>::max());
}

WinogradRowStore::Range WinogradRowStore::range(const WinogradPass& pass, int d, std::int64_t j, std::int64_t residue,
                                                std::int64_t grid) const {
  const LayerSpec& layer = problem_.layer;
  const TileBox& box = *pass.box;
  const std::int64_t dilation = layer.dilation[d];
  const std::int64_t step = layer.stride[d] * dilation * tile_[d];
  const std::int64_t origin = step * box.first[d] + layer.stride[d] * (dilation * j + grid) + dilation * residue -
                              problem_.call.pad_begin[d] - box.out_first[d];
  const std::int64_t wanted = j < tile_[d] ? (box.halo[d] ? 1 : 0) : box.size[d] - 1;
  return Range{std::max(wanted, ceil_div(-origin, step)), std::min(box.size[d], ceil_div(box.out_size[d] - origin, step)),
               origin, step};
}

std::int64_t WinogradRowStore::row_origin(const TileBox& box) const {
  const LayerSpec& layer = problem_.layer;
  const std::int64_t of_tile = layer.stride[2] * tile_[2];
  return of_tile * layer.dilation[2] * box.first[2] - problem_.call.pad_begin[2] - box.out_first[2] +
         (box.halo[2] ? of_tile : 0);
}

bool WinogradRowStore::joins(const TileBox& box) const {
  return row_tail(box) <= std::max<std::int64_t>(0, -row_origin(box));
}

// Calls visit for each run of rows of tiles.
template <typename Visit>
void WinogradRowStore::for_each_run(const Placing& placing, const Visit& visit) const {
  const WinogradPass& pass = *placing.pass;
  const TileBox& box = *pass.box;
  const bool dilated = tiles_->dilated();
  for (std::int64_t c = placing.first; c < placing.end; ++c) {
    for (std::int64_t i = 0; i < box.images; ++i) {
      WinogradTiles::Source source{pass.first_n + i, {0, 0, 0}};
      Range of_grid[2];
      if (dilated) {
        source = tiles_->source(box.first_image + i);
        of_grid[0] = range(pass, 0, placing.jd, pass.rd, source.grid[0]);
        of_grid[1] = range(pass, 1, placing.jh, pass.rh, source.grid[1]);
      }
      const Range& depth = dilated ? of_grid[0] : placing.depth;
      const Range& height = dilated ? of_grid[1] : placing.height;
      if (height.first >= height.end) continue;
      const std::int64_t rows = height.end - height.first, slab = box.size[1] * box.size[2];
      const std::int64_t depths = depth.end - depth.first;
      float* const image = pass.dst + c * pass.stride_channel + (source.n - pass.first_n) * pass.stride_image;
      Run run{c,
              c * tiles_->product_floats + (i * box.size[0] + depth.first) * slab + height.first * box.size[2],
              image + (depth.origin + depth.step * depth.first) * pass.stride_d +
                  (height.origin + height.step * height.first) * pass.stride_h,
              rows,
              height.step * pass.stride_h,
              depths * rows,
              source.grid[2],
              depths,
              slab,
              depth.step * pass.stride_d};
      if (dilated) {
        run.blocks = 1;
        for (std::int64_t d = 0; d < depths; ++d, run.tile += slab, run.dst += run.dst_block) visit(run);
      } else if (depths != 1) {
        visit(run);
      } else {
        run.blocks = box.images;
        run.tile_block = box.size[0] * slab;
        run.dst_block = pass.stride_image;
        visit(run);
        break;
      }
    }
  }
}

bool WinogradRowStore::wanted(const WinogradPass& pass, std::int64_t jd, std::int64_t jh) const {
  Placing placing{};
  placing.pass = &pass;
  placing.jd = jd;
  placing.jh = jh;
  placing.end = 1;
  if (tiles_->dilated()) {
    bool any = false;
    for_each_run(placing, [&](const Run&) { any = true; });
    return any;
  }
  const Range depth = range(pass, 0, jd, pass.rd, 0), height = range(pass, 1, jh, pass.rh, 0);
  return depth.first < depth.end && height.first < height.end;
}

// What runs over the last tile of each row, in the order of the runs; returns how much that is.
std::int64_t WinogradRowStore::gather_tails(const Placing& placing, const Over& over, float* tails) const {
  const WinogradPass& pass = *placing.pass;
  const std::int64_t width = pass.box->size[2], phases = problem_.layer.stride[2], tail = row_tail(*pass.box);
  float* gathered = tails;
  for_each_run(placing, [&](const Run& run) {
    for (std::int64_t e = 0; e < tail; ++e) {
      const std::int64_t rw = e % phases, j = e / phases;
      const bool reached = over.at[rw] != nullptr && j < taps(2, rw) - 1;
      const float* from = reached ? over.at[rw] + j * over.stride[rw] + run.tile + width - 1 : nullptr;
      float* to = gathered + e;
      for (std::int64_t block = 0; block < run.blocks; ++block) {
        for (std::int64_t r = 0; r < run.rows; ++r, to += tail) *to = reached ? from[r * width] : 0.0f;
        if (reached) from += run.tile_block;
      }
    }
    gathered += run.blocks * run.rows * tail;
  });
  return gathered - tails;
}

void WinogradRowStore::place(const WinogradPass& pass, std::int64_t jd, std::int64_t jh, std::int64_t first,
                             std::int64_t end, float* rows, const Over* over, float* scratch) const {
  float* const finished = scratch + tails_floats();
  Placing placing{&pass,
                  jd,
                  jh,
                  first,
                  end,
                  range(pass, 0, jd, pass.rd, 0),
                  range(pass, 1, jh, pass.rh, 0),
                  rows,
                  finished,
                  0,
                  finished + tails_floats()};
  if (row_tail(*pass.box) > 0 && over != nullptr) {
    placing.channel_tails = gather_tails(placing, *over, scratch) / (end - first);
    for (std::int64_t c = 0; c < end - first; ++c) {
      const RowStoreArgs tails{scratch + c * placing.channel_tails,
                               0,
                               1,
                               placing.channel_tails,
                               finished + c * placing.channel_tails,
                               pass.bias_of(first + c),
                               &finisher_.epilogue(*pass.args)};
      table_->row_store(&tails);
      finish(pass, first + c, tails.dst, tails.count);
    }
  }
  if (scatters_pixels()) {
    place_pixels(placing);
  } else if (tiles_->dilated()) {
    place_grids(placing);
  } else {
    copy_rows(placing, over != nullptr && joins(*pass.box));
  }
}

// patch: the tails are yet to be put in place.
void WinogradRowStore::copy_rows(const Placing& placing, bool patch) const {
  const WinogradPass& pass = *placing.pass;
  const TileBox& box = *pass.box;
  const std::int64_t phases = problem_.layer.stride[2] * tile_[2];
  const std::int64_t halo = box.halo[2] ? 1 : 0;
  const std::int64_t origin = row_origin(box), tail = row_tail(box);
  const std::int64_t skip = std::max<std::int64_t>(0, -origin);
  const std::int64_t end = std::min((box.size[2] - halo) * phases, box.out_size[2] - origin);
  const std::int64_t row_floats = box.size[2] * phases;
  const bool joined = joins(box);
  const bool residual = pass.args->residual != nullptr && problem_.call.format == MemoryFormat::kContiguous;
  float* tails = placing.tails;
  for_each_run(placing, [&](const Run& run) {
    float* const first = placing.rows + (run.tile + halo) * phases;
    const std::ptrdiff_t src_block = run.tile_block * phases;
    const RowsCopyArgs call{first + skip, row_floats,        std::max<std::int64_t>(0, end - skip) + (joined ? tail : 0),
                            tails,        joined ? 0 : tail, run.dst + origin + skip,
                            run.stride,   run.rows,          pass.stream,
                            run.blocks,   src_block,         run.dst_block};
    const std::ptrdiff_t index = call.dst - pass.args->dst;
    for (std::int64_t block = 0; block < run.blocks && (patch || residual); ++block) {
      for (std::int64_t r = 0; r < run.rows; ++r) {
        float* const row = first + block * src_block + r * row_floats;
        float* const of_tail = tails + (block * run.rows + r) * tail;
        for (std::int64_t e = 0; patch && e < tail; ++e) row[end + e] = of_tail[e];
        if (!residual) continue;
        const auto finish_part = [&](float* data, std::ptrdiff_t at, std::int64_t count) {
          finisher_.row(*pass.args, pass.channel + run.channel, data, index + block * run.dst_block + r * run.stride + at,
                        count);
        };
        finish_part(row + skip, 0, call.count);
        finish_part(of_tail, call.count, call.tail_count);
      }
    }
    table_->rows_copy(&call);
    tails += run.blocks * run.rows * tail;
  });
}

// The row of a run, whose tail is `tail`, to be placed by itself.
WinogradRowStore::GridRow WinogradRowStore::grid_row(const Placing& placing, const Run& run, std::int64_t row,
                                                     const float* tail) const {
  const TileBox& box = *placing.pass->box;
  const std::int64_t phases = problem_.layer.stride[2] * tile_[2];
  const std::int64_t halo = box.halo[2] ? 1 : 0;
  GridRow result;
  result.values = placing.rows + (run.tile + row * box.size[2] + halo) * phases;
  result.next = box.size[0] * box.size[1] * box.size[2] * phases;
  result.tail = tail;
  result.tail_next = run.of_image * row_tail(box);
  result.first = (box.first[2] + halo) * tile_[2];
  result.count = (box.size[2] - halo) * tile_[2];
  result.tail_count = row_tail(box) / problem_.layer.stride[2];
  return result;
}

void WinogradRowStore::place_pixels(const Placing& placing) const {
  const WinogradPass& pass = *placing.pass;
  const float* tail = placing.tails;
  for_each_run(placing, [&](const Run& run) {
    if (run.channel > placing.first) return;  // all channels of the pass together
    for (std::int64_t r = 0; r < run.rows; ++r, tail += row_tail(*pass.box)) {
      GridRow row = grid_row(placing, run, r, tail);
      row.next = tiles_->product_floats * problem_.layer.stride[2] * tile_[2];  // the same row of the next channel
      row.tail_next = placing.channel_tails;
      scatter_pixels(pass, row, run.grid, run.dst + r * run.stride);
    }
  });
}

void WinogradRowStore::place_grids(const Placing& placing) const {
  const TileBox& box = *placing.pass->box;
  // With all grids along the width in the block, and no output of a row in another one, whole rows are put together.
  const std::int64_t grids = problem_.layer.dilation[2];
  const bool whole_rows = problem_.layer.stride[2] == 1 || (box.first[2] == 0 && box.end[2]);
  const bool together = whole_rows && box.first_image % grids == 0 && box.images % grids == 0;
  const float* tail = placing.tails;
  for_each_run(placing, [&](const Run& run) {
    for (std::int64_t r = 0; r < run.rows; ++r, tail += row_tail(box)) {
      const GridRow row = grid_row(placing, run, r, tail);
      float* const dst = run.dst + r * run.stride;
      if (!together) {
        scatter_grid(row, run.grid, dst);
      } else if (run.grid == 0) {
        store_grids(placing, row, dst);
      }
    }
  });
}

// A row of one grid to where its outputs stand in an output row.
void WinogradRowStore::scatter_grid(const GridRow& row, std::int64_t grid, float* dst) const {
  const std::int64_t stride = problem_.layer.stride[2], dilation = problem_.layer.dilation[2];
  const std::int64_t step = stride * dilation;
  const auto scatter = [&](const float* from, std::int64_t first, std::int64_t count) {
    for (std::int64_t rw = 0; rw < stride; ++rw) {
      const std::int64_t origin = step * first + stride * grid + dilation * rw - problem_.call.pad_begin[2];
      const std::int64_t begin = std::max<std::int64_t>(0, ceil_div(-origin, step));
      const std::int64_t end = std::min(count, ceil_div(problem_.call.out[2] - origin, step));
      for (std::int64_t q = begin; q < end; ++q) dst[origin + step * q] = from[q * stride + rw];
    }
  };
  scatter(row.values, row.first, row.count);
  scatter(row.tail, row.first + row.count, row.tail_count);
}

// A row of one grid of all channels of the pass, `next` and `tail_next` apart, to the pixels where its outputs stand in an
// output row. There is one phase along the width.
void WinogradRowStore::scatter_pixels(const WinogradPass& pass, const GridRow& row, std::int64_t grid, float* dst) const {
  const std::int64_t step = problem_.layer.dilation[2], pixel = problem_.layer.out_channels;
  const auto scatter = [&](const float* from, std::ptrdiff_t from_channel, std::int64_t first, std::int64_t count) {
    const std::int64_t origin = step * first + grid - problem_.call.pad_begin[2];
    const std::int64_t begin = std::max<std::int64_t>(0, ceil_div(-origin, step));
    const std::int64_t end = std::min(count, ceil_div(problem_.call.out[2] - origin, step));
    if (begin >= end) return;
    const TransposeArgs call{from + begin, from_channel, dst + (origin + step * begin) * pixel, step * pixel, pass.channels,
                             end - begin,  pass.stream};
    table_->transpose(&call);
  };
  scatter(row.values, row.next, row.first, row.count);
  scatter(row.tail, row.tail_next, row.first + row.count, row.tail_count);
}

// The rows of all grids along the width, as one output row.
void WinogradRowStore::store_grids(const Placing& placing, const GridRow& row, float* dst) const {
  constexpr Epilogue kNothing{-std::numeric_limits<float>::infinity(), std::numeric_limits<float>::infinity()};
  const std::int64_t stride = problem_.layer.stride[2], dilation = problem_.layer.dilation[2];
  const std::int64_t step = stride * dilation;
  float* const whole = placing.whole;  // the outputs from step*first of the uncropped row on
  if (stride == 1) {
    const RowStoreArgs weave{row.values, row.next, dilation, row.count * dilation, whole, 0.0f, &kNothing};
    table_->row_store(&weave);
  }
  for (std::int64_t r = 0; r < dilation; ++r) {
    for (std::int64_t rw = 0; rw < stride; ++rw) {
      const float* const values = row.values + r * row.next + rw;
      const float* const tail = row.tail + r * row.tail_next + rw;
      float* const to = whole + stride * r + dilation * rw;
      for (std::int64_t q = 0; q < row.count && stride > 1; ++q) to[step * q] = values[stride * q];
      for (std::int64_t q = 0; q < row.tail_count; ++q) to[step * (row.count + q)] = tail[stride * q];
    }
  }
  const std::int64_t shift = problem_.call.pad_begin[2] - step * row.first;  // of the first output in `whole`
  const std::int64_t begin = std::max<std::int64_t>(0, shift);
  // With more than one phase the row is whole, and what no grid's product reaches is beyond the outputs.
  const std::int64_t end =
      std::min(shift + problem_.call.out[2], stride > 1 ? whole_floats() : step * (row.count + row.tail_count));
  const RowsCopyArgs call{
      whole + begin, 0, std::max<std::int64_t>(0, end - begin), nullptr, 0, dst + begin - shift, 0, 1, placing.pass->stream};
  table_->rows_copy(&call);
}

}  // namespace convtranspose
