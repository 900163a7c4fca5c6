#include "algorithms/winograd_output.h"

#include <algorithm>
#include <cstring>

#include "pack/winograd_points.h"
#include "problem/checked.h"

namespace convtranspose {
namespace {

constexpr std::int64_t kFloatsPerLine = 16;

void copy(float* to, const float* from, std::int64_t count) {
  std::memcpy(to, from, static_cast<std::size_t>(count) * sizeof(float));
}

// Short rows, without a call.
void copy_row(float* to, const float* from, std::int64_t count) {
  constexpr std::int64_t kPiece = 8;
  std::int64_t i = 0;
  for (; i + kPiece <= count; i += kPiece) std::memcpy(to + i, from + i, kPiece * sizeof(float));
  for (; i < count; ++i) to[i] = from[i];
}

void clear(float* to, std::int64_t count) { std::memset(to, 0, static_cast<std::size_t>(count) * sizeof(float)); }

}  // namespace

struct WinogradOutput::Pass {
  const TileBox* box;
  Buffers buffers;
  KernelSet* used;
  std::int64_t rd, rh;
  const RunArgs* args;
  std::int64_t channel;
  float bias;
  // Rows are finished where they stand in the result: a residual is there to be added. Otherwise all rows of coefficients
  // are finished at once; or, with a residual in channels-last order, pixels are.
  bool in_place;
  float* dst;  // of output (out_first_d, out_first_h, out_first_w) of the block's first image
  std::int64_t stride_image, stride_d, stride_h;  // of dst
};

WinogradOutput::WinogradOutput(const Problem& problem, const KernelTable& table, const WinogradWeights& form,
                               const WinogradTiles& tiles)
    : problem_(problem), finisher_(problem, table), table_(&table), form_(&form), tiles_(&tiles), tile_(form.tile().size) {
  const LayerSpec& layer = problem_.layer;
  for (int d = 0; d < kSpatialDims; ++d) {
    most_taps_[d] = WinogradWeights::most_taps(layer, d);
    extra_[d] = layer.kernel[d] - layer.stride[d] * (most_taps_[d] - 1);
    tail_[d] = std::max<std::int64_t>(0, problem_.call.out[d] + problem_.call.pad_begin[d] -
                                             layer.stride[d] * tile_[d] * ceil_div(problem_.call.in[d], tile_[d]));
    for (int taps = 0; taps <= kMaxWinogradTaps; ++taps) {
      kernel_[d][taps] = -1;
      for (int i = 0; i < table.winograd_output_count; ++i) {
        const WinogradOutputKernel& kernel = table.winograd_output[i];
        if (tile_[d] > 1 && kernel.tile == tile_[d] && kernel.taps == taps) kernel_[d][taps] = i;
      }
    }
  }
  for (std::int64_t r = 0; r < layer.stride[0] * layer.stride[1] * layer.stride[2]; ++r) {
    const std::array<std::int64_t, kSpatialDims> residue{r / layer.stride[2] / layer.stride[1],
                                                         r / layer.stride[2] % layer.stride[1], r % layer.stride[2]};
    for (std::size_t c = 0; c < form.classes().size(); ++c) {
      const auto& residues = form.classes()[c].residues;
      const auto found = std::find(residues.begin(), residues.end(), residue);
      if (found != residues.end()) place_.push_back({c, found - residues.begin()});
    }
  }
}

KernelSet WinogradOutput::kernels() const {
  KernelSet set;
  for (int d = 0; d < kSpatialDims; ++d) {
    for (std::int64_t r = 0; r < problem_.layer.stride[d]; ++r) {
      const int row = kernel_[d][taps(d, r)];
      if (row >= 0) set.set(static_cast<std::size_t>(winograd_output_number(*table_, row)));
    }
  }
  return set;
}

std::int64_t WinogradOutput::stride() const { return tiles_->row_floats + kFloatsPerLine; }

std::int64_t WinogradOutput::reach() const {
  const TileBox b = tiles_->block(0);
  return round_up(tiles_->most_tiles() / b.images + kFloatsPerLine, kFloatsPerLine);
}

std::int64_t WinogradOutput::staged_floats() const {
  if (problem_.call.format != MemoryFormat::kChannelsLast) return 0;
  std::int64_t most = 0;
  for (const ChannelBlock& block : form_->blocks()) most = std::max(most, block.channels);
  return most * tiles_->most_outputs;
}

std::int64_t WinogradOutput::floats() const {
  const std::int64_t phases = problem_.layer.stride[2];
  std::int64_t arrays = 0;
  const auto points = [this](int d) { return winograd_points(tile_[d], most_taps_[d]); };
  constexpr int kOver = kMaxWinogradTaps - 1;
  if (tile_[0] > 1) arrays += phases * (tile_[0] + kOver) * points(1) * points(2);
  if (tile_[1] > 1) arrays += phases * (tile_[1] + kOver) * points(2);
  arrays += phases * kOver;         // over
  arrays += 2 * phases * tile_[2];  // row, interleaved
  arrays += kSpatialDims;           // masks
  const std::int64_t tails = 2 * round_up(tiles_->most_tiles() * tail_[2], kFloatsPerLine) + 2 * kFloatsPerLine;
  return arrays * stride() + tails + staged_floats();
}

void WinogradOutput::fill_masks(const TileBox& box, std::uint32_t* masks) const {
  std::int64_t at = 0;
  for (std::int64_t i = 0; i < box.images; ++i) {
    for (std::int64_t d = 0; d < box.size[0]; ++d) {
      for (std::int64_t h = 0; h < box.size[1]; ++h) {
        for (std::int64_t w = 0; w < box.size[2]; ++w, ++at) {
          masks[at] = d > 0 ? ~0u : 0u;
          masks[stride() + at] = h > 0 ? ~0u : 0u;
          masks[2 * stride() + at] = w > 0 ? ~0u : 0u;
        }
      }
    }
  }
  for (int d = 0; d < kSpatialDims; ++d) {
    std::fill(masks + d * stride() + at, masks + (d + 1) * stride(), 0u);
  }
}

// Along dimension d, for the tiles [begin, end); begin is a multiple of a vector.
void WinogradOutput::transform(int d, int taps, const float* src, std::ptrdiff_t src_stride, float* dst,
                               std::ptrdiff_t dst_stride, float* over, std::ptrdiff_t over_stride, std::int64_t begin,
                               std::int64_t end, std::int64_t shift, const std::uint32_t* mask, KernelSet* used) const {
  const int row = kernel_[d][taps];
  const WinogradOutputArgs call{src + begin, src_stride,  dst + begin, dst_stride,  over + begin,
                                over_stride, end - begin, shift,       mask + begin};
  table_->winograd_output[row].fn(&call);
  used->set(static_cast<std::size_t>(winograd_output_number(*table_, row)));
}

void WinogradOutput::store(const RunArgs& args, std::int64_t group, const TileBox& box, const ChannelBlock& block,
                           const float* products, float* scratch, KernelSet* used) const {
  const LayerSpec& layer = problem_.layer;
  const std::int64_t phases_w = layer.stride[2];
  const std::int64_t row = tiles_->row_floats;
  const std::int64_t s = stride();
  const std::int64_t tiles = box.tiles();
  constexpr int kOver = kMaxWinogradTaps - 1;
  const auto most_points = [this](int d) { return std::int64_t{winograd_points(tile_[d], most_taps_[d])}; };
  const bool last = problem_.call.format == MemoryFormat::kChannelsLast;

  Pass pass;
  pass.args = &args;
  pass.in_place = !last && args.residual != nullptr;
  pass.box = &box;
  pass.used = used;
  Buffers& b = pass.buffers;
  std::uint32_t* const masks = reinterpret_cast<std::uint32_t*>(scratch);
  fill_masks(box, masks);
  for (int d = 0; d < kSpatialDims; ++d) b.mask[d] = masks + d * s;
  float* next = scratch + kSpatialDims * s;
  const auto take = [&next](std::int64_t floats) {
    float* const at = next;
    next += floats;
    return at;
  };
  b.depth = take(tile_[0] > 1 ? phases_w * (tile_[0] + kOver) * most_points(1) * most_points(2) * s : 0);
  b.height = take(tile_[1] > 1 ? phases_w * (tile_[1] + kOver) * most_points(2) * s : 0);
  b.over = take(phases_w * kOver * s);
  b.row = take(phases_w * tile_[2] * s);
  b.interleaved = take(phases_w * tile_[2] * s);
  b.tails = take(2 * round_up(tiles_->most_tiles() * tail_[2], kFloatsPerLine) + 2 * kFloatsPerLine);
  b.staged = next;

  // Floats from the products of one class to the next.
  std::int64_t class_begin[kMaxWinogradTaps * kMaxWinogradTaps * kMaxWinogradTaps];
  std::int64_t at = 0;
  for (std::size_t c = 0; c < form_->classes().size(); ++c) {
    class_begin[c] = at;
    at += form_->classes()[c].point_count() * form_->classes()[c].phases() * block.channels * row;
  }

  const Dims& out = problem_.call.out;
  const std::int64_t out_box = box.out_size[0] * box.out_size[1] * box.out_size[2];
  for (std::int64_t i = 0; i < block.channels; ++i) {
    const std::int64_t channel = group * problem_.out_channels_per_group() + block.first + i;
    pass.channel = channel;
    pass.bias = args.bias == nullptr ? 0.0f : args.bias[channel];
    if (last) {
      pass.stride_h = box.out_size[2];
      pass.stride_d = box.out_size[1] * pass.stride_h;
      pass.stride_image = out_box;
      pass.dst = b.staged + i * box.images * out_box;
    } else {
      pass.stride_h = out[2];
      pass.stride_d = out[1] * out[2];
      pass.stride_image = layer.out_channels * out[0] * pass.stride_d;
      pass.dst = args.dst + (box.first_image * layer.out_channels + channel) * out[0] * pass.stride_d +
                 box.out_first[0] * pass.stride_d + box.out_first[1] * pass.stride_h + box.out_first[2];
    }
    for (std::int64_t rd = 0; rd < layer.stride[0]; ++rd) {
      for (std::int64_t rh = 0; rh < layer.stride[1]; ++rh) {
        pass.rd = rd;
        pass.rh = rh;
        store_phase_row(pass, products, class_begin, block.channels, i, tiles);
      }
    }
  }
  if (last) transpose_staged(args, group, box, block, b.staged);
}

// All outputs of one channel whose residues along depth and height are the pass's.
void WinogradOutput::store_phase_row(const Pass& pass, const float* products, const std::int64_t* class_begin,
                                     std::int64_t channels, std::int64_t channel, std::int64_t tiles) const {
  const LayerSpec& layer = problem_.layer;
  const TileBox& box = *pass.box;
  const Buffers& b = pass.buffers;
  const std::int64_t s = stride();
  const std::int64_t phases_w = layer.stride[2];
  const int taps_d = taps(0, pass.rd);
  const int taps_h = taps(1, pass.rh);
  const std::int64_t points_h = winograd_points(tile_[1], taps_h);
  constexpr int kOver = kMaxWinogradTaps - 1;
  const std::int64_t slab = box.size[1] * box.size[2];
  const std::int64_t depth_rows = tile_[0] + (box.end[0] && tail_[0] > 0 ? most_taps_[0] - 1 : 0);
  const std::int64_t height_rows = tile_[1] + (box.end[1] && tail_[1] > 0 ? most_taps_[1] - 1 : 0);

  // Products of each phase along the width, and what the depth transform makes of them: [jd][ph][pw][tile].
  const auto product_view = [&](std::int64_t rw) {
    const Place& place = place_[static_cast<std::size_t>((pass.rd * layer.stride[1] + pass.rh) * phases_w + rw)];
    const PhaseClass& cls = form_->classes()[place.cls];
    const std::ptrdiff_t point = cls.phases() * channels * tiles_->row_floats;
    return View{products + class_begin[place.cls] + (place.phase * channels + channel) * tiles_->row_floats,
                point * cls.points[1] * cls.points[2], point * cls.points[2], point};
  };
  const auto points_w = [&](std::int64_t rw) { return std::int64_t{winograd_points(tile_[2], taps(2, rw))}; };
  const std::int64_t most_w = winograd_points(tile_[2], most_taps_[2]);
  const std::int64_t depth_step = points_h * most_w * s;  // from one jd to the next
  const auto depth_buffer = [&](std::int64_t rw) {
    return b.depth + rw * (tile_[0] + kOver) * winograd_points(tile_[1], most_taps_[1]) * most_w * s;
  };
  if (tile_[0] > 1) {
    for (std::int64_t rw = 0; rw < phases_w; ++rw) {
      const View from = product_view(rw);
      for (std::int64_t ph = 0; ph < points_h; ++ph) {
        for (std::int64_t pw = 0; pw < points_w(rw); ++pw) {
          float* const to = depth_buffer(rw) + (ph * most_w + pw) * s;
          transform(0, taps_d, from.data + ph * from.stride_h + pw * from.stride_w, from.stride_d, to, depth_step,
                    to + tile_[0] * depth_step, depth_step, 0, tiles, slab, b.mask[0], pass.used);
        }
      }
    }
  }
  // The view of one coefficient along the depth.
  const auto depth_view = [&](std::int64_t rw, std::int64_t jd) {
    const View from = product_view(rw);
    if (tile_[0] == 1) return from;
    if (jd >= tile_[0] + taps_d - 1) return View{nullptr, 0, 0, 0};
    if (jd >= tile_[0] && taps_d == 2) {
      return View{from.data + (winograd_points(tile_[0], taps_d) - 1) * from.stride_d, 0, from.stride_h, from.stride_w};
    }
    return View{depth_buffer(rw) + jd * depth_step, 0, most_w * s, s};
  };

  for (std::int64_t jd = 0; jd < depth_rows; ++jd) {
    const std::int64_t begin_d = jd < tile_[0] ? 0 : (box.size[0] - 1) * slab / kFloatsPerLine * kFloatsPerLine;
    const std::int64_t height_step = most_w * s;
    const auto height_buffer = [&](std::int64_t rw) { return b.height + rw * (tile_[1] + kOver) * height_step; };
    if (tile_[1] > 1) {
      for (std::int64_t rw = 0; rw < phases_w; ++rw) {
        const View from = depth_view(rw, jd);
        if (from.data == nullptr) continue;
        for (std::int64_t pw = 0; pw < points_w(rw); ++pw) {
          float* const to = height_buffer(rw) + pw * s;
          transform(1, taps_h, from.data + pw * from.stride_w, from.stride_h, to, height_step, to + tile_[1] * height_step,
                    height_step, begin_d, tiles, box.size[2], b.mask[1], pass.used);
        }
      }
    }
    for (std::int64_t jh = 0; jh < height_rows; ++jh) {
      const std::int64_t begin_h = jh < tile_[1] ? 0 : (box.size[1] - 1) * box.size[2] / kFloatsPerLine * kFloatsPerLine;
      const std::int64_t begin = std::max(begin_d, begin_h);
      const auto height_view = [&](std::int64_t rw) {
        const View from = depth_view(rw, jd);
        if (tile_[1] == 1 || from.data == nullptr) return from;
        if (jh >= tile_[1] + taps_h - 1) return View{nullptr, 0, 0, 0};
        if (jh >= tile_[1] && taps_h == 2) {
          return View{from.data + (points_h - 1) * from.stride_h, 0, 0, from.stride_w};
        }
        return View{height_buffer(rw) + jh * height_step, 0, 0, s};
      };
      store_rows(pass, jd, jh, begin, tiles, height_view);
    }
  }
}

// The rows of coefficients (jd, jh) of all tiles from `begin` on: along the width, then to memory.
template <typename ViewOf>
void WinogradOutput::store_rows(const Pass& pass, std::int64_t jd, std::int64_t jh, std::int64_t begin, std::int64_t tiles,
                                ViewOf view_of) const {
  const LayerSpec& layer = problem_.layer;
  const TileBox& box = *pass.box;
  const Buffers& b = pass.buffers;
  const std::int64_t s = stride();
  const std::int64_t phases_w = layer.stride[2];
  const std::int64_t phases = phases_w * tile_[2];
  constexpr int kOver = kMaxWinogradTaps - 1;
  const std::int64_t tail = box.end[2] ? tail_[2] : 0;

  // Where this row of coefficients goes, for each row of tiles.
  const std::int64_t first_d = jd < tile_[0] ? (box.halo[0] ? 1 : 0) : box.size[0] - 1;
  const std::int64_t first_h = jh < tile_[1] ? (box.halo[1] ? 1 : 0) : box.size[1] - 1;
  const auto output = [&](int d, std::int64_t tile, std::int64_t j, std::int64_t residue) {
    return layer.stride[d] * ((box.first[d] + tile) * tile_[d] + j) + residue - problem_.call.pad_begin[d] -
           box.out_first[d];
  };
  const auto any_row = [&] {
    const std::int64_t od = output(0, first_d, jd, pass.rd), oh = output(1, first_h, jh, pass.rh);
    const std::int64_t last_d = output(0, box.size[0] - 1, jd, pass.rd), last_h = output(1, box.size[1] - 1, jh, pass.rh);
    return last_d >= 0 && last_h >= 0 && od < box.out_size[0] && oh < box.out_size[1];
  };
  if (first_d >= box.size[0] || first_h >= box.size[1] || !any_row()) return;

  const std::int64_t halo_w = box.halo[2] ? 1 : 0;
  const std::int64_t ow = output(2, halo_w, 0, 0);
  const std::int64_t skip = std::max<std::int64_t>(0, -ow);
  const std::int64_t end = std::min((box.size[2] - halo_w) * phases, box.out_size[2] - ow);
  // Calls visit(first tile of the row, dst of its first output) for each row of tiles that has one.
  const std::int64_t step_d = layer.stride[0] * tile_[0], step_h = layer.stride[1] * tile_[1];
  const std::int64_t od_first = output(0, first_d, jd, pass.rd), oh_first = output(1, first_h, jh, pass.rh);
  const auto for_each_row = [&](auto visit) {
    for (std::int64_t i = 0; i < box.images; ++i) {
      std::int64_t od = od_first;
      for (std::int64_t d = first_d; d < box.size[0]; ++d, od += step_d) {
        if (od < 0 || od >= box.out_size[0]) continue;
        std::int64_t tile = ((i * box.size[0] + d) * box.size[1] + first_h) * box.size[2];
        std::int64_t oh = oh_first;
        float* dst = pass.dst + i * pass.stride_image + od * pass.stride_d + oh * pass.stride_h;
        for (std::int64_t h = first_h; h < box.size[1]; ++h, oh += step_h) {
          if (oh >= 0 && oh < box.out_size[1]) visit(tile, dst);
          tile += box.size[2];
          dst += step_h * pass.stride_h;
        }
      }
    }
  };
  const float* over[kMaxPhasesAlongWidth];
  std::int64_t over_stride[kMaxPhasesAlongWidth];
  for (std::int64_t rw = 0; rw < phases_w; ++rw) {
    const View view = view_of(rw);
    float* const to = b.row + rw * s;
    const int taps_w = taps(2, rw);
    over[rw] = nullptr;
    over_stride[rw] = s;
    if (view.data == nullptr) {
      for (int j = 0; j < tile_[2]; ++j) clear(to + j * phases_w * s + begin, tiles - begin);
    } else if (tile_[2] == 1) {
      copy(to + begin, view.data + begin, tiles - begin);
    } else {
      float* const run_over = b.over + rw * kOver * s;
      transform(2, taps_w, view.data, view.stride_w, to, phases_w * s, run_over, s, begin, tiles, 1, b.mask[2], pass.used);
      if (taps_w > 1) over[rw] = taps_w == 2 ? view.data + (winograd_points(tile_[2], 2) - 1) * view.stride_w : run_over;
    }
  }
  const RowStoreArgs whole{b.row + begin,
                           s,
                           phases,
                           (tiles - begin) * phases,
                           b.interleaved + begin * phases,
                           pass.bias,
                           &finisher_.epilogue(*pass.args)};
  table_->row_store(&whole);
  const auto finish_at_once = [&](const RowStoreArgs& stored) {
    if (pass.args->residual == nullptr) finisher_.row(*pass.args, pass.channel, stored.dst, 0, stored.count);
  };
  finish_at_once(whole);

  const auto finish = [&](float* outputs, std::int64_t count) {
    finisher_.row(*pass.args, pass.channel, outputs, outputs - pass.args->dst, count);
  };
  if (end > skip) {
    for_each_row([&](std::int64_t tile, float* dst) {
      copy_row(dst + ow + skip, b.interleaved + (tile + halo_w) * phases + skip, end - skip);
      if (pass.in_place) finish(dst + ow + skip, end - skip);
    });
  }
  if (tail == 0) return;
  // What runs over the last tile of each row, gathered, finished together and put behind the rows.
  float* gathered = b.tails;
  for_each_row([&](std::int64_t tile, float*) {
    std::int64_t e = 0;
    for (int j = 0; e < tail; ++j) {
      for (std::int64_t rw = 0; rw < phases_w && e < tail; ++rw, ++e) {
        const bool reached = over[rw] != nullptr && j < taps(2, rw) - 1;
        *gathered++ = reached ? over[rw][j * over_stride[rw] + tile + box.size[2] - 1] : 0.0f;
      }
    }
  });
  float* const finished = b.tails + round_up(tiles_->most_tiles() * tail_[2], kFloatsPerLine) + kFloatsPerLine;
  const RowStoreArgs tails{b.tails, 0, 1, gathered - b.tails, finished, pass.bias, &finisher_.epilogue(*pass.args)};
  table_->row_store(&tails);
  finish_at_once(tails);
  const float* from = finished;
  const std::int64_t begin_tail = box.out_size[2] - tail;
  for_each_row([&](std::int64_t, float* dst) {
    copy_row(dst + begin_tail, from, tail);
    if (pass.in_place) finish(dst + begin_tail, tail);
    from += tail;
  });
}

void WinogradOutput::transpose_staged(const RunArgs& args, std::int64_t group, const TileBox& box, const ChannelBlock& block,
                                      const float* staged) const {
  const Dims& out = problem_.call.out;
  const std::int64_t channels = problem_.layer.out_channels;
  const std::int64_t plane = box.out_size[0] * box.out_size[1] * box.out_size[2];
  float* const dst = args.dst + group * problem_.out_channels_per_group() + block.first;
  for (std::int64_t i = 0; i < box.images; ++i) {
    for (std::int64_t d = 0; d < box.out_size[0]; ++d) {
      for (std::int64_t h = 0; h < box.out_size[1]; ++h) {
        const std::int64_t position =
            (((box.first_image + i) * out[0] + box.out_first[0] + d) * out[1] + box.out_first[1] + h) * out[2] +
            box.out_first[2];
        const TransposeArgs transpose{staged + i * plane + (d * box.out_size[1] + h) * box.out_size[2],
                                      box.images * plane,
                                      dst + position * channels,
                                      channels,
                                      block.channels,
                                      box.out_size[2]};
        table_->transpose(&transpose);
        if (args.residual == nullptr) continue;
        finisher_.pixels(args, group * problem_.out_channels_per_group() + block.first, transpose.dst, channels,
                         transpose.dst - args.dst, transpose.columns, block.channels);
      }
    }
  }
}

}  // namespace convtranspose
