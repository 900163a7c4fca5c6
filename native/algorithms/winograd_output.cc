#include "algorithms/winograd_output.h"

#include <algorithm>
#include <cstring>
#include <limits>

#include "algorithms/row_stride.h"
#include "pack/winograd_points.h"
#include "problem/checked.h"

namespace convtranspose {
namespace {

constexpr std::int64_t kFloatsPerLine = 16;
constexpr std::int64_t kFloatsTogether = 512;  // tiles of channels that are transformed at a time, about
constexpr int kOver = kMaxWinogradTaps - 1;    // coefficients that run over, at most

void copy(float* to, const float* from, std::int64_t count) {
  std::memcpy(to, from, static_cast<std::size_t>(count) * sizeof(float));
}

void clear(float* to, std::int64_t count) { std::memset(to, 0, static_cast<std::size_t>(count) * sizeof(float)); }

}  // namespace

struct WinogradOutput::Pass {
  const TileBox* box;
  Buffers buffers;
  KernelSet* used;
  const RunArgs* args;
  bool stream;  // rows pass by the caches
  std::int64_t rd, rh;
  std::int64_t channel;   // of the result: the first one
  std::int64_t first;     // channel of the block
  std::int64_t channels;  // from it on
  std::int64_t tiles;     // of a channel
  const float* bias;      // of the first channel, or nullptr
  float* dst;  // of output (out_first_d, out_first_h, out_first_w) of the block's first image and the first channel
  std::int64_t first_n;                                           // image that dst points at, as given
  std::int64_t stride_channel, stride_image, stride_d, stride_h;  // of dst
  float* carry;                                                   // of the first channel
};

WinogradOutput::WinogradOutput(const Problem& problem, const KernelTable& table, const WinogradWeights& form,
                               const WinogradTiles& tiles, const CacheInfo& caches)
    : problem_(problem), finisher_(problem, table), table_(&table), form_(&form), tiles_(&tiles), tile_(form.tile().size) {
  if (stores_lines()) {
    streaming_ = {streams(problem, table, caches, kStreamDense), streams(problem, table, caches, kStreamFresh)};
  }
  const LayerSpec& layer = problem_.layer;
  for (int d = 0; d < kSpatialDims; ++d) {
    most_taps_[d] = WinogradWeights::most_taps(layer, d);
    extra_[d] = layer.kernel[d] - layer.stride[d] * (most_taps_[d] - 1);
    tail_[d] = std::max<std::int64_t>(0, problem_.call.out[d] + problem_.call.pad_begin[d] -
                                             layer.stride[d] * tile_[d] * ceil_div(problem_.call.in[d], tile_[d]));
    if (tiles.dilated()) tail_[d] = layer.stride[d] * (most_taps_[d] - 1);  // as far as they are outputs
    for (int taps = 0; taps <= kMaxWinogradTaps; ++taps) {
      kernel_[d][taps] = -1;
      for (int i = 0; i < table.winograd_output_count; ++i) {
        const WinogradOutputKernel& kernel = table.winograd_output[i];
        if (tile_[d] > 1 && kernel.tile == tile_[d] && kernel.taps == taps) kernel_[d][taps] = i;
      }
    }
  }
  std::int64_t most_channels = 1;
  for (const ChannelBlock& block : form.blocks()) most_channels = std::max(most_channels, block.channels);
  together_ = std::clamp<std::int64_t>(kFloatsTogether / tiles.product_floats, 1, most_channels);
  // Channels last, the pixels of a grid are stored by themselves, a line of channels at a time.
  if (scatters_pixels()) together_ = std::min(kFloatsPerLine, most_channels);
  place_.resize(static_cast<std::size_t>(layer.stride[0] * layer.stride[1] * layer.stride[2]));
  for (std::size_t c = 0; c < form.classes().size(); ++c) {
    const auto& residues = form.classes()[c].residues;
    for (std::size_t i = 0; i < residues.size(); ++i) {
      const auto& [d, h, w] = residues[i];
      place_[static_cast<std::size_t>((d * layer.stride[1] + h) * layer.stride[2] + w)] = {c,
                                                                                           static_cast<std::ptrdiff_t>(i)};
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

std::int64_t WinogradOutput::stride() const { return together_ * tiles_->product_floats + kFloatsPerLine; }

// [channel][residue][position or point of the other dimensions][coefficient][tile of the slab]
std::int64_t WinogradOutput::carry_floats() const {
  if (tiles_->carry < 0) return 0;
  return problem_.out_channels_per_group() * carry_stride();
}

std::int64_t WinogradOutput::carry_slots() const {
  const std::int64_t others = tiles_->carry == 0 ? winograd_points(tile_[1], most_taps_[1]) : tile_[0] + kOver;
  return others * winograd_points(tile_[2], most_taps_[2]);
}

std::int64_t WinogradOutput::carry_stride() const {
  const Dims& s = problem_.layer.stride;
  return s[0] * s[1] * s[2] * carry_slots() * carry_slot();
}

std::int64_t WinogradOutput::carry_slot() const { return (most_taps_[tiles_->carry] - 1) * tiles_->slab; }

std::int64_t WinogradOutput::reach() const {
  const TileBox b = tiles_->block(0);
  return round_up(tiles_->most_tiles() / b.images + kFloatsPerLine, kFloatsPerLine);
}

bool WinogradOutput::scatters_pixels() const {
  return tiles_->dilated() && problem_.call.format == MemoryFormat::kChannelsLast;
}

std::int64_t WinogradOutput::staged_floats() const {
  if (problem_.call.format != MemoryFormat::kChannelsLast || scatters_pixels()) return 0;
  std::int64_t most = 0;
  for (const ChannelBlock& block : form_->blocks()) most = std::max(most, block.channels);
  return most * row_stride(tiles_->most_outputs);
}

// Channels last: a block of channels is a part of each pixel.
bool WinogradOutput::stores_lines() const {
  if (problem_.call.format == MemoryFormat::kContiguous) return true;
  const auto whole = [](const ChannelBlock& block) { return block.channels % kFloatsPerLine == 0; };
  return problem_.out_channels_per_group() % kFloatsPerLine == 0 &&
         std::all_of(form_->blocks().begin(), form_->blocks().end(), whole);
}

std::int64_t WinogradOutput::floats() const {
  const std::int64_t phases = problem_.layer.stride[2];
  std::int64_t arrays = 0;
  const auto points = [this](int d) { return winograd_points(tile_[d], most_taps_[d]); };
  if (tile_[0] > 1) arrays += phases * (tile_[0] + kOver) * points(1) * points(2);
  if (tile_[1] > 1) arrays += phases * (tile_[1] + kOver) * points(2);
  arrays += phases * kOver;         // over
  arrays += 2 * phases * tile_[2];  // row, interleaved
  arrays += kSpatialDims;           // masks
  return arrays * stride() + 2 * tails_floats() + whole_floats() + staged_floats();
}

std::int64_t WinogradOutput::whole_floats() const {
  if (!tiles_->dilated()) return 0;
  const std::int64_t step = problem_.layer.stride[2] * problem_.layer.dilation[2];
  return round_up(step * (tiles_->block(0).size[2] * tile_[2] + kOver + 2), kFloatsPerLine);
}

std::int64_t WinogradOutput::tails_floats() const {
  return round_up(together_ * tiles_->most_tiles() * tail_[2], kFloatsPerLine) + kFloatsPerLine;
}

// One row of each mask for all channels that are transformed together; nothing runs over into what is between them.
void WinogradOutput::fill_masks(const TileBox& box, std::uint32_t* masks) const {
  std::fill(masks, masks + kSpatialDims * stride(), 0u);
  for (std::int64_t c = 0; c < together_; ++c) {
    std::int64_t at = c * tiles_->product_floats;
    for (std::int64_t i = 0; i < box.images; ++i) {
      for (std::int64_t d = 0; d < box.size[0]; ++d) {
        for (std::int64_t h = 0; h < box.size[1]; ++h) {
          for (std::int64_t w = 0; w < box.size[2]; ++w, ++at) {
            masks[at] = d > 0 || (box.carry_in && tiles_->carry == 0) ? ~0u : 0u;
            masks[stride() + at] = h > 0 || (box.carry_in && tiles_->carry == 1) ? ~0u : 0u;
            masks[2 * stride() + at] = w > 0 ? ~0u : 0u;
          }
        }
      }
    }
  }
}

// Calls visit(begin, end) for the tiles from `begin` on of all channels of the pass: for each channel, or, unless `apart`,
// for all of them and what is between them at once. begin is a multiple of a vector.
template <typename Visit>
void WinogradOutput::for_each_span(const Pass& pass, std::int64_t begin, bool apart, const Visit& visit) const {
  if (begin == 0 && !apart) return visit(0, (pass.channels - 1) * tiles_->product_floats + pass.tiles);
  for (std::int64_t c = 0; c < pass.channels; ++c) {
    visit(c * tiles_->product_floats + begin, c * tiles_->product_floats + pass.tiles);
  }
}

// Along dimension d, for the tiles from `begin` on of all channels of the pass. carry: nullptr, or what runs over from the
// block before (in) and from this one (out) at the pass's first channel.
void WinogradOutput::transform(const Pass& pass, int d, int taps, const float* src, std::ptrdiff_t src_stride, float* dst,
                               std::ptrdiff_t dst_stride, float* over, std::ptrdiff_t over_stride, std::int64_t begin,
                               std::int64_t shift, float* carry) const {
  const int row = kernel_[d][taps];
  const auto for_each_carried = [&](const auto& visit) {  // place of the tile before the first one, its place in the carry
    for (std::int64_t c = 0; c < pass.channels; ++c) {
      for (int j = 0; j < taps - 1; ++j) {
        visit(over + j * over_stride + c * tiles_->product_floats, carry + c * carry_stride() + j * shift);
      }
    }
  };
  if (taps == 2) over = const_cast<float*>(src) + (winograd_points(tile_[d], 2) - 1) * src_stride;
  if (carry != nullptr && pass.box->carry_in) {
    for_each_carried([&](float* tile, const float* from) { copy(tile - shift, from, shift); });
  }
  // With three taps the kernel writes `over` itself: it must not write over what was carried in, in front of each channel.
  const bool apart = carry != nullptr && taps > 2;
  for_each_span(pass, begin, apart, [&](std::int64_t first, std::int64_t end) {
    const WinogradOutputArgs call{src + first, src_stride,   dst + first,
                                  dst_stride,  over + first, over_stride,
                                  end - first, shift,        pass.buffers.mask[d] + first};
    table_->winograd_output[row].fn(&call);
  });
  pass.used->set(static_cast<std::size_t>(winograd_output_number(*table_, row)));
  if (carry != nullptr && pass.box->carry_out) {
    for_each_carried([&](const float* tile, float* to) { copy(to, tile + pass.tiles - shift, shift); });
  }
}

void WinogradOutput::store(const RunArgs& args, std::int64_t group, const TileBox& box, const ChannelBlock& block,
                           float* products, float* carry, float* scratch, KernelSet* used) const {
  const LayerSpec& layer = problem_.layer;
  const std::int64_t phases_w = layer.stride[2];
  const std::int64_t s = stride();
  const auto most_points = [this](int d) { return std::int64_t{winograd_points(tile_[d], most_taps_[d])}; };
  const bool last = problem_.call.format == MemoryFormat::kChannelsLast;
  const bool staged = last && !scatters_pixels();

  Pass pass;
  pass.box = &box;
  pass.used = used;
  pass.args = &args;
  // A residual is added to what is stored.
  const bool stream = streaming_.now(args.fresh) && (!last || (is_line(args.dst) && args.residual == nullptr));
  pass.stream = stream && !staged;
  pass.tiles = box.tiles();
  pass.first_n = tiles_->source(box.first_image).n;
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
  b.tails = take(tails_floats());
  b.finished = take(tails_floats());
  b.whole = take(whole_floats());
  b.staged = next;

  // Floats from the products of one class to the next.
  std::int64_t class_begin[kMaxWinogradTaps * kMaxWinogradTaps * kMaxWinogradTaps];
  std::int64_t at = tiles_->front_floats;
  for (std::size_t c = 0; c < form_->classes().size(); ++c) {
    class_begin[c] = at;
    at += form_->classes()[c].point_count() * form_->classes()[c].phases() * block.channels * tiles_->product_floats;
  }

  const Dims& out = problem_.call.out;
  const std::int64_t out_box = box.out_size[0] * box.out_size[1] * box.out_size[2];
  for (std::int64_t i = 0; i < block.channels; i += together_) {
    pass.first = i;
    pass.channels = std::min(together_, block.channels - i);
    const std::int64_t channel = group * problem_.out_channels_per_group() + block.first + i;
    pass.channel = channel;
    pass.bias = args.bias == nullptr ? nullptr : args.bias + channel;
    pass.carry = carry + (block.first + i) * (tiles_->carry < 0 ? 0 : carry_stride());
    if (scatters_pixels()) {
      pass.stride_h = out[2] * layer.out_channels;
      pass.stride_d = out[1] * pass.stride_h;
      pass.stride_image = out[0] * pass.stride_d;
      pass.stride_channel = 1;
      pass.dst = args.dst + pass.first_n * pass.stride_image + channel;
    } else if (staged) {
      pass.stride_h = box.out_size[2];
      pass.stride_d = box.out_size[1] * pass.stride_h;
      pass.stride_image = out_box;
      pass.stride_channel = row_stride(box.images * out_box);
      pass.dst = b.staged + i * pass.stride_channel;
    } else {
      pass.stride_h = out[2];
      pass.stride_d = out[1] * out[2];
      pass.stride_channel = out[0] * pass.stride_d;
      pass.stride_image = layer.out_channels * pass.stride_channel;
      pass.dst = args.dst + (pass.first_n * layer.out_channels + channel) * pass.stride_channel +
                 box.out_first[0] * pass.stride_d + box.out_first[1] * pass.stride_h + box.out_first[2];
    }
    for (std::int64_t rd = 0; rd < layer.stride[0]; ++rd) {
      for (std::int64_t rh = 0; rh < layer.stride[1]; ++rh) {
        pass.rd = rd;
        pass.rh = rh;
        store_phase_row(pass, products, class_begin, block.channels);
      }
    }
  }
  if (staged) transpose_staged(args, group, box, block, b.staged, stream);
  if (stream) table_->stream_fence();
}

// All outputs of the pass's channels whose residues along depth and height are the pass's.
void WinogradOutput::store_phase_row(const Pass& pass, const float* products, const std::int64_t* class_begin,
                                     std::int64_t channels) const {
  const LayerSpec& layer = problem_.layer;
  const TileBox& box = *pass.box;
  const Buffers& b = pass.buffers;
  const std::int64_t s = stride();
  const std::int64_t phases_w = layer.stride[2];
  const int taps_d = taps(0, pass.rd);
  const int taps_h = taps(1, pass.rh);
  const std::int64_t points_h = winograd_points(tile_[1], taps_h);
  const std::int64_t slab = box.size[1] * box.size[2];
  const std::int64_t depth_rows = tile_[0] + (box.end[0] && tail_[0] > 0 ? most_taps_[0] - 1 : 0);
  const std::int64_t height_rows = tile_[1] + (box.end[1] && tail_[1] > 0 ? most_taps_[1] - 1 : 0);

  // Products of each phase along the width, and what the depth transform makes of them: [jd][ph][pw][tile].
  const auto product_view = [&](std::int64_t rw) {
    const Place& place = place_[static_cast<std::size_t>((pass.rd * layer.stride[1] + pass.rh) * phases_w + rw)];
    const PhaseClass& cls = form_->classes()[place.cls];
    const std::ptrdiff_t point = cls.phases() * channels * tiles_->product_floats;
    return View{products + class_begin[place.cls] + (place.phase * channels + pass.first) * tiles_->product_floats,
                point * cls.points[1] * cls.points[2], point * cls.points[2], point};
  };
  const auto points_w = [&](std::int64_t rw) { return std::int64_t{winograd_points(tile_[2], taps(2, rw))}; };
  const std::int64_t most_w = winograd_points(tile_[2], most_taps_[2]);
  const std::int64_t depth_step = points_h * most_w * s;  // from one jd to the next
  const auto depth_buffer = [&](std::int64_t rw) {
    return b.depth + rw * (tile_[0] + kOver) * winograd_points(tile_[1], most_taps_[1]) * most_w * s;
  };
  // Where a transform along dimension d finds what is carried: `other` is its place in the dimension before or after.
  const auto carried = [&](int d, std::int64_t rw, std::int64_t other, std::int64_t pw) -> float* {
    if (tiles_->carry != d) return nullptr;
    const std::int64_t residue = (pass.rd * layer.stride[1] + pass.rh) * phases_w + rw;
    return pass.carry + (residue * carry_slots() + other * most_w + pw) * carry_slot();
  };
  if (tile_[0] > 1) {
    for (std::int64_t rw = 0; rw < phases_w; ++rw) {
      const View from = product_view(rw);
      for (std::int64_t ph = 0; ph < points_h; ++ph) {
        for (std::int64_t pw = 0; pw < points_w(rw); ++pw) {
          float* const to = depth_buffer(rw) + (ph * most_w + pw) * s;
          transform(pass, 0, taps_d, from.data + ph * from.stride_h + pw * from.stride_w, from.stride_d, to, depth_step,
                    to + tile_[0] * depth_step, depth_step, 0, slab, carried(0, rw, ph, pw));
        }
      }
    }
  }
  // The views of one coefficient along the depth and of one along depth and height, of each phase along the width. (They are
  // read long after they are written: what has just been stored by halves cannot be loaded whole before all stores are
  // done.)
  View depth_views[kMaxPhasesAlongWidth], height_views[kMaxPhasesAlongWidth];
  const auto depth_view = [&](std::int64_t rw, std::int64_t jd) {
    if (tile_[0] == 1) return product_view(rw);
    if (jd >= tile_[0] + taps_d - 1) return View{nullptr, 0, 0, 0};
    if (jd >= tile_[0] && taps_d == 2) {
      const View from = product_view(rw);
      return View{from.data + (winograd_points(tile_[0], taps_d) - 1) * from.stride_d, 0, from.stride_h, from.stride_w};
    }
    return View{depth_buffer(rw) + jd * depth_step, 0, most_w * s, s};
  };

  for (std::int64_t jd = 0; jd < depth_rows; ++jd) {
    const std::int64_t begin_d = jd < tile_[0] ? 0 : (box.size[0] - 1) * slab / kFloatsPerLine * kFloatsPerLine;
    const std::int64_t height_step = most_w * s;
    const auto height_buffer = [&](std::int64_t rw) { return b.height + rw * (tile_[1] + kOver) * height_step; };
    for (std::int64_t rw = 0; rw < phases_w; ++rw) depth_views[rw] = depth_view(rw, jd);
    if (tile_[1] > 1) {
      for (std::int64_t rw = 0; rw < phases_w; ++rw) {
        const View& from = depth_views[rw];
        if (from.data == nullptr) continue;
        for (std::int64_t pw = 0; pw < points_w(rw); ++pw) {
          float* const to = height_buffer(rw) + pw * s;
          transform(pass, 1, taps_h, from.data + pw * from.stride_w, from.stride_h, to, height_step,
                    to + tile_[1] * height_step, height_step, begin_d, box.size[2], carried(1, rw, jd, pw));
        }
      }
    }
    for (std::int64_t jh = 0; jh < height_rows; ++jh) {
      const std::int64_t begin_h = jh < tile_[1] ? 0 : (box.size[1] - 1) * box.size[2] / kFloatsPerLine * kFloatsPerLine;
      const std::int64_t begin = std::max(begin_d, begin_h);
      for (std::int64_t rw = 0; rw < phases_w && tile_[1] > 1; ++rw) {
        const View& from = depth_views[rw];
        View& view = height_views[rw];
        view.data = nullptr;
        view.stride_w = s;
        if (from.data == nullptr || jh >= tile_[1] + taps_h - 1) continue;
        if (jh >= tile_[1] && taps_h == 2) {
          view.data = from.data + (points_h - 1) * from.stride_h;
          view.stride_w = from.stride_w;
        } else {
          view.data = height_buffer(rw) + jh * height_step;
        }
      }
      store_rows(pass, jd, jh, begin, tile_[1] > 1 ? height_views : depth_views);
    }
  }
}

// The rows of coefficients (jd, jh) of all tiles from `begin` on: along the width, then to memory.
void WinogradOutput::store_rows(const Pass& pass, std::int64_t jd, std::int64_t jh, std::int64_t begin,
                                const View* views) const {
  const LayerSpec& layer = problem_.layer;
  const TileBox& box = *pass.box;
  const Buffers& b = pass.buffers;
  const std::int64_t s = stride();
  const std::int64_t phases_w = layer.stride[2];
  const std::int64_t phases = phases_w * tile_[2];
  const std::int64_t tail = box.end[2] ? tail_[2] : 0;

  // The rows of tiles [first, end) along depth and height have outputs at o = origin + step*tile.
  struct Range {
    std::int64_t first, end, origin, step;
  };
  const auto range = [&](int d, std::int64_t j, std::int64_t residue, std::int64_t grid) {
    const std::int64_t dilation = layer.dilation[d];
    const std::int64_t step = layer.stride[d] * dilation * tile_[d];
    const std::int64_t origin = step * box.first[d] + layer.stride[d] * (dilation * j + grid) + dilation * residue -
                                problem_.call.pad_begin[d] - box.out_first[d];
    const std::int64_t wanted = j < tile_[d] ? (box.halo[d] ? 1 : 0) : box.size[d] - 1;
    return Range{std::max(wanted, ceil_div(-origin, step)), std::min(box.size[d], ceil_div(box.out_size[d] - origin, step)),
                 origin, step};
  };
  // Calls visit for each run of rows of tiles along the height: those of a slab of an image; without dilation, of all slabs
  // of an image, or of all images if each has a single one.
  struct Run {
    std::int64_t channel;  // of the pass
    std::int64_t tile;     // first
    float* dst;            // of its row
    std::int64_t rows;
    std::ptrdiff_t stride;     // of dst, from row to row
    std::int64_t of_image;     // rows of this image and channel
    std::int64_t grid;         // along the width
    std::int64_t blocks;       // slabs or images
    std::int64_t tile_block;   // tiles from one to the next,
    std::ptrdiff_t dst_block;  // and floats of dst
  };
  const bool dilated = tiles_->dilated();
  const Range first_depth = range(0, jd, pass.rd, 0), first_height = range(1, jh, pass.rh, 0);  // of the first grid
  const auto for_each_run = [&](const auto& visit) {
    for (std::int64_t c = 0; c < pass.channels; ++c) {
      for (std::int64_t i = 0; i < box.images; ++i) {
        WinogradTiles::Source source{pass.first_n + i, {0, 0, 0}};
        Range of_grid[2];
        if (dilated) {
          source = tiles_->source(box.first_image + i);
          of_grid[0] = range(0, jd, pass.rd, source.grid[0]);
          of_grid[1] = range(1, jh, pass.rh, source.grid[1]);
        }
        const Range& depth = dilated ? of_grid[0] : first_depth;
        const Range& height = dilated ? of_grid[1] : first_height;
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
  };
  bool any = false;
  if (dilated) {
    for_each_run([&](const Run&) { any = true; });
  } else {
    any = first_depth.first < first_depth.end && first_height.first < first_height.end;
  }
  if (!any) return;

  const std::int64_t halo_w = box.halo[2] ? 1 : 0;
  const std::int64_t ow = range(2, 0, 0, 0).origin + halo_w * phases;
  const std::int64_t skip = std::max<std::int64_t>(0, -ow);
  const std::int64_t end = std::min((box.size[2] - halo_w) * phases, box.out_size[2] - ow);
  const float* over[kMaxPhasesAlongWidth];
  std::int64_t over_stride[kMaxPhasesAlongWidth];
  for (std::int64_t rw = 0; rw < phases_w; ++rw) {
    const View& view = views[rw];
    float* const to = b.row + rw * s;
    const int taps_w = taps(2, rw);
    over[rw] = nullptr;
    over_stride[rw] = s;
    if (view.data == nullptr) {
      for_each_span(pass, begin, false, [&](std::int64_t first, std::int64_t last) {
        for (int j = 0; j < tile_[2]; ++j) clear(to + j * phases_w * s + first, last - first);
      });
    } else if (tile_[2] == 1) {
      for_each_span(pass, begin, false,
                    [&](std::int64_t first, std::int64_t last) { copy(to + first, view.data + first, last - first); });
    } else {
      float* const run_over = b.over + rw * kOver * s;
      transform(pass, 2, taps_w, view.data, view.stride_w, to, phases_w * s, run_over, s, begin, 1, nullptr);
      if (taps_w > 1) {
        over[rw] = taps_w == 2 ? view.data + (winograd_points(tile_[2], 2) - 1) * view.stride_w : run_over;
        if (taps_w == 2) over_stride[rw] = 0;
      }
    }
  }
  // Rows are finished before they are put where they belong: all together here, or, with a residual, which is in the order
  // of the result, one by one when they are copied (channels last: transposed).
  const auto finish_early = [&](std::int64_t c, const RowStoreArgs& stored) {
    if (pass.args->residual == nullptr) finisher_.row(*pass.args, pass.channel + c, stored.dst, 0, stored.count);
  };
  const auto bias = [&](std::int64_t c) { return pass.bias == nullptr ? 0.0f : pass.bias[c]; };
  for (std::int64_t c = 0; c < pass.channels; ++c) {
    const std::int64_t first = c * tiles_->product_floats + begin;
    const RowStoreArgs whole{b.row + first,
                             s,
                             phases,
                             (pass.tiles - begin) * phases,
                             b.interleaved + first * phases,
                             bias(c),
                             &finisher_.epilogue(*pass.args)};
    table_->row_store(&whole);
    finish_early(c, whole);
  }

  // What runs over the last tile of each row, gathered and finished.
  std::ptrdiff_t tails_of_channel = 0;
  if (tail > 0) {
    float* gathered = b.tails;
    for_each_run([&](const Run& run) {
      for (std::int64_t e = 0; e < tail; ++e) {
        const std::int64_t rw = e % phases_w, j = e / phases_w;
        const bool reached = over[rw] != nullptr && j < taps(2, rw) - 1;
        const float* from = reached ? over[rw] + j * over_stride[rw] + run.tile + box.size[2] - 1 : nullptr;
        float* to = gathered + e;
        for (std::int64_t block = 0; block < run.blocks; ++block) {
          for (std::int64_t r = 0; r < run.rows; ++r, to += tail) *to = reached ? from[r * box.size[2]] : 0.0f;
          if (reached) from += run.tile_block;
        }
      }
      gathered += run.blocks * run.rows * tail;
    });
    tails_of_channel = (gathered - b.tails) / pass.channels;
    for (std::int64_t c = 0; c < pass.channels; ++c) {
      const RowStoreArgs tails{
          b.tails + c * tails_of_channel, 0, 1, tails_of_channel, b.finished + c * tails_of_channel, bias(c),
          &finisher_.epilogue(*pass.args)};
      table_->row_store(&tails);
      finish_early(c, tails);
    }
  }

  float* finished = b.finished;
  const std::int64_t row_floats = box.size[2] * phases;
  if (scatters_pixels()) {
    for_each_run([&](const Run& run) {
      if (run.channel > 0) return;  // all channels of the pass together
      for (std::int64_t r = 0; r < run.rows; ++r, finished += tail) {
        const GridRow row{b.interleaved + run.tile * phases + r * row_floats + halo_w * phases,
                          tiles_->product_floats * phases,
                          finished,
                          tails_of_channel,
                          box.first[2] * tile_[2] + halo_w * tile_[2],
                          (box.size[2] - halo_w) * tile_[2],
                          tail};
        scatter_pixels(pass, row, run.grid, run.dst + r * run.stride);
      }
    });
    return;
  }
  if (dilated) {
    // With all grids along the width in the block, and no output of a row in another one, whole rows are put together.
    const std::int64_t grids = layer.dilation[2];
    const bool whole_rows = phases_w == 1 || (box.first[2] == 0 && box.end[2]);
    const bool together = whole_rows && box.first_image % grids == 0 && box.images % grids == 0;
    for_each_run([&](const Run& run) {
      const std::ptrdiff_t next = box.size[0] * box.size[1] * box.size[2] * phases;  // the same row of the next grid
      for (std::int64_t r = 0; r < run.rows; ++r, finished += tail) {
        const GridRow row{b.interleaved + run.tile * phases + r * row_floats + halo_w * phases,
                          next,
                          finished,
                          run.of_image * tail,
                          box.first[2] * tile_[2] + halo_w * tile_[2],
                          (box.size[2] - halo_w) * tile_[2],
                          tail / phases_w};
        float* const dst = run.dst + r * run.stride;
        if (!together) {
          scatter_grid(row, run.grid, dst);
        } else if (run.grid == 0) {
          store_grids(pass, row, dst);
        }
      }
    });
    return;
  }
  // Where the first outputs of a row are skipped, the tail of the row before takes their place: whole rows are copied at
  // once.
  const bool joined = tail <= skip;
  const bool residual = pass.args->residual != nullptr && problem_.call.format == MemoryFormat::kContiguous;
  for_each_run([&](const Run& run) {
    float* const first = b.interleaved + (run.tile + halo_w) * phases;
    const std::ptrdiff_t src_block = run.tile_block * phases;
    const RowsCopyArgs call{first + skip, row_floats,        std::max<std::int64_t>(0, end - skip) + (joined ? tail : 0),
                            finished,     joined ? 0 : tail, run.dst + ow + skip,
                            run.stride,   run.rows,          pass.stream,
                            run.blocks,   src_block,         run.dst_block};
    const std::ptrdiff_t index = call.dst - pass.args->dst;
    for (std::int64_t block = 0; block < run.blocks && (joined || residual); ++block) {
      for (std::int64_t r = 0; r < run.rows; ++r) {
        float* const row = first + block * src_block + r * row_floats;
        float* const of_tail = finished + (block * run.rows + r) * tail;
        for (std::int64_t e = 0; joined && e < tail; ++e) row[end + e] = of_tail[e];
        if (!residual) continue;
        const auto finish = [&](float* data, std::ptrdiff_t at, std::int64_t count) {
          finisher_.row(*pass.args, pass.channel + run.channel, data, index + block * run.dst_block + r * run.stride + at,
                        count);
        };
        finish(row + skip, 0, call.count);
        finish(of_tail, call.count, call.tail_count);
      }
    }
    table_->rows_copy(&call);
    finished += run.blocks * run.rows * tail;
  });
}

// A row of one grid to where its outputs stand in an output row.
void WinogradOutput::scatter_grid(const GridRow& row, std::int64_t grid, float* dst) const {
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
void WinogradOutput::scatter_pixels(const Pass& pass, const GridRow& row, std::int64_t grid, float* dst) const {
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
void WinogradOutput::store_grids(const Pass& pass, const GridRow& row, float* dst) const {
  constexpr Epilogue kNothing{-std::numeric_limits<float>::infinity(), std::numeric_limits<float>::infinity()};
  const std::int64_t stride = problem_.layer.stride[2], dilation = problem_.layer.dilation[2];
  const std::int64_t step = stride * dilation;
  float* const whole = pass.buffers.whole;  // the outputs from step*first of the uncropped row on
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
  const RowsCopyArgs call{whole + begin, 0, std::max<std::int64_t>(0, end - begin), nullptr, 0, dst + begin - shift, 0, 1,
                          pass.stream};
  table_->rows_copy(&call);
}

void WinogradOutput::transpose_staged(const RunArgs& args, std::int64_t group, const TileBox& box, const ChannelBlock& block,
                                      const float* staged, bool stream) const {
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
                                      row_stride(box.images * plane),
                                      dst + position * channels,
                                      channels,
                                      block.channels,
                                      box.out_size[2],
                                      stream};
        table_->transpose(&transpose);
        if (args.residual == nullptr) continue;
        finisher_.pixels(args, group * problem_.out_channels_per_group() + block.first, transpose.dst, channels,
                         transpose.dst - args.dst, transpose.columns, block.channels);
      }
    }
  }
}

}  // namespace convtranspose
