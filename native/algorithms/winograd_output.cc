#include "algorithms/winograd_output.h"

#include <algorithm>
#include <cstring>

#include "algorithms/row_stride.h"
#include "pack/winograd_points.h"
#include "problem/checked.h"

namespace convtranspose {
namespace {

constexpr std::int64_t kFloatsPerLine = 16;
constexpr std::int64_t kFloatsTogether = 512;  // tiles of channels that are transformed at a time, about
constexpr int kOver = WinogradRowStore::kOver;
constexpr int kMasks = kSpatialDims + 1;  // of the dimensions, and one that keeps everything

void copy(float* to, const float* from, std::int64_t count) {
  std::memcpy(to, from, static_cast<std::size_t>(count) * sizeof(float));
}

void clear(float* to, std::int64_t count) { std::memset(to, 0, static_cast<std::size_t>(count) * sizeof(float)); }

}  // namespace

struct WinogradOutput::Pass : WinogradPass {
  Buffers buffers;
  KernelSet* used;
  std::int64_t first;  // channel of the block
  float* carry;        // of the first channel
};

std::int64_t WinogradOutput::channels_together(const Problem& problem, const WinogradWeights& form,
                                               const WinogradTiles& tiles) {
  std::int64_t most_channels = 1;
  for (const ChannelBlock& block : form.blocks()) most_channels = std::max(most_channels, block.channels);
  // Channels last, the pixels of a grid are stored by themselves, a line of channels at a time.
  if (tiles.dilated() && problem.call.format == MemoryFormat::kChannelsLast) return std::min(kFloatsPerLine, most_channels);
  return std::clamp<std::int64_t>(kFloatsTogether / tiles.product_floats, 1, most_channels);
}

WinogradOutput::WinogradOutput(const Problem& problem, const KernelTable& table, const WinogradWeights& form,
                               const WinogradTiles& tiles, const CacheInfo& caches)
    : problem_(problem),
      table_(&table),
      form_(&form),
      tiles_(&tiles),
      tile_(form.tile().size),
      together_(channels_together(problem, form, tiles)),
      rows_(problem, table, tiles, form.tile().size, together_),
      joint_(joint_winograd_kernels(problem.layer, table, form.tile().size)) {
  if (stores_lines()) {
    streaming_ = {streams(problem, table, caches, kStreamDense), streams(problem, table, caches, kStreamFresh)};
  }
  const LayerSpec& layer = problem_.layer;
  for (int d = 0; d < kSpatialDims; ++d) {
    for (int taps = 0; taps <= kMaxWinogradTaps; ++taps) {
      kernel_[d][taps] = -1;
      for (int i = 0; i < table.winograd_output_count; ++i) {
        const WinogradOutputKernel& kernel = table.winograd_output[i];
        if (tile_[d] > 1 && kernel.tile == tile_[d] && kernel.taps == taps) kernel_[d][taps] = i;
      }
    }
  }
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
  const auto add = [&](int d, std::int64_t residue) {
    const int row = kernel_[d][taps(d, residue)];
    if (row >= 0) set.set(static_cast<std::size_t>(winograd_output_number(*table_, row)));
  };
  const Dims& residues = problem_.layer.stride;
  for (std::int64_t r = 0; r < residues[0]; ++r) add(0, r);
  bool along_width = false;
  for (std::int64_t r = 0; r < residues[1]; ++r) {
    if (joint_kernel(r) == nullptr) {
      add(1, r);
      along_width = along_width || rows_.in_tiles(1, r) || rows_.in_tail(1, r);
      continue;
    }
    if (rows_.in_tiles(1, r))
      set.set(static_cast<std::size_t>(winograd_rows_number(*table_, joint_[static_cast<std::size_t>(taps(1, r))])));
    // What runs over the last tile along the height.
    along_width = along_width || (taps(1, r) > 1 && rows_.in_tail(1, r));
  }
  for (std::int64_t r = 0; r < residues[2] && along_width; ++r) add(2, r);
  return set;
}

std::int64_t WinogradOutput::stride() const { return together_ * tiles_->product_floats + kFloatsPerLine; }

// [channel][residue][position or point of the other dimensions][coefficient][tile of the slab]
std::int64_t WinogradOutput::carry_floats() const {
  if (tiles_->carry < 0) return 0;
  return problem_.out_channels_per_group() * carry_stride();
}

std::int64_t WinogradOutput::carry_slots() const {
  const std::int64_t others = tiles_->carry == 0 ? winograd_points(tile_[1], rows_.most_taps(1)) : tile_[0] + kOver;
  return others * winograd_points(tile_[2], rows_.most_taps(2));
}

std::int64_t WinogradOutput::carry_stride() const {
  const Dims& s = problem_.layer.stride;
  return s[0] * s[1] * s[2] * carry_slots() * carry_slot();
}

std::int64_t WinogradOutput::carry_slot() const { return (rows_.most_taps(tiles_->carry) - 1) * tiles_->slab; }

// The joint kernels compute one more tile than there are, and so a vector more than whole ones hold.
std::int64_t WinogradOutput::beyond() const {
  return *std::max_element(joint_.begin(), joint_.end()) >= 0 ? kFloatsPerLine : 0;
}

std::int64_t WinogradOutput::reach() const {
  const TileBox b = tiles_->block(0);
  return round_up(tiles_->most_tiles() / b.images + kFloatsPerLine, kFloatsPerLine);
}

std::int64_t WinogradOutput::staged_floats() const {
  if (problem_.call.format != MemoryFormat::kChannelsLast || rows_.scatters_pixels()) return 0;
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

bool WinogradOutput::transforms_height() const {
  bool any = false;
  for (std::int64_t r = 0; r < problem_.layer.stride[1]; ++r) any = any || joint_kernel(r) == nullptr;
  return any && tile_[1] > 1;
}

std::int64_t WinogradOutput::floats() const {
  const std::int64_t phases = problem_.layer.stride[2];
  std::int64_t arrays = 0;
  const auto points = [this](int d) { return winograd_points(tile_[d], rows_.most_taps(d)); };
  if (tile_[0] > 1) arrays += phases * (tile_[0] + kOver) * points(1) * points(2);
  if (transforms_height()) arrays += phases * (tile_[1] + kOver) * points(2);
  arrays += phases * kOver;         // over
  arrays += 2 * phases * tile_[2];  // row, interleaved
  arrays += kMasks;
  return arrays * stride() + rows_.floats() + staged_floats();
}

// One row of each mask for all channels that are transformed together; nothing runs over into what is between them.
void WinogradOutput::fill_masks(const TileBox& box, std::uint32_t* masks) const {
  std::fill(masks, masks + kSpatialDims * stride(), 0u);
  std::fill(masks + kSpatialDims * stride(), masks + kMasks * stride(), ~0u);
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

// Of `rows` rows of what runs over, over_stride apart, for all channels of the pass: what the block before handed on goes
// in front of the first tile, as far as `shift` tiles, or what this block hands on is copied to `carry`.
void WinogradOutput::take_carried(const Pass& pass, float* over, std::ptrdiff_t over_stride, int rows, std::int64_t shift,
                                  const float* carry) const {
  if (carry == nullptr || !pass.box->carry_in) return;
  for (std::int64_t c = 0; c < pass.channels; ++c) {
    float* const tile = over + c * tiles_->product_floats;
    for (int j = 0; j < rows; ++j) copy(tile + j * over_stride - shift, carry + c * carry_stride() + j * shift, shift);
  }
}
void WinogradOutput::hand_on(const Pass& pass, const float* over, std::ptrdiff_t over_stride, int rows, std::int64_t shift,
                             float* carry) const {
  if (carry == nullptr || !pass.box->carry_out) return;
  for (std::int64_t c = 0; c < pass.channels; ++c) {
    const float* const end = over + c * tiles_->product_floats + pass.tiles;
    for (int j = 0; j < rows; ++j) copy(carry + c * carry_stride() + j * shift, end + j * over_stride - shift, shift);
  }
}

// Along dimension d, for the tiles from `begin` on of all channels of the pass. carry: nullptr, or what runs over from the
// block before (in) and from this one (out) at the pass's first channel.
void WinogradOutput::transform(const Pass& pass, int d, int taps, const float* src, std::ptrdiff_t src_stride, float* dst,
                               std::ptrdiff_t dst_stride, float* over, std::ptrdiff_t over_stride, std::int64_t begin,
                               std::int64_t shift, float* carry) const {
  const int row = kernel_[d][taps];
  if (taps == 2) over = const_cast<float*>(src) + (winograd_points(tile_[d], 2) - 1) * src_stride;
  take_carried(pass, over, over_stride, taps - 1, shift, carry);
  // With three taps the kernel writes `over` itself: it must not write over what was carried in, in front of each channel.
  const bool apart = carry != nullptr && taps > 2;
  for_each_span(pass, begin, apart, [&](std::int64_t first, std::int64_t end) {
    const WinogradOutputArgs call{src + first, src_stride,   dst + first,
                                  dst_stride,  over + first, over_stride,
                                  end - first, shift,        pass.buffers.mask[d] + first};
    table_->winograd_output[row].fn(&call);
  });
  pass.used->set(static_cast<std::size_t>(winograd_output_number(*table_, row)));
  hand_on(pass, over, over_stride, taps - 1, shift, carry);
}

void WinogradOutput::store(const RunArgs& args, std::int64_t group, const TileBox& box, const ChannelBlock& block,
                           float* products, float* carry, float* scratch, KernelSet* used) const {
  const LayerSpec& layer = problem_.layer;
  const std::int64_t phases_w = layer.stride[2];
  const std::int64_t s = stride();
  const auto most_points = [this](int d) { return std::int64_t{winograd_points(tile_[d], rows_.most_taps(d))}; };
  const bool last = problem_.call.format == MemoryFormat::kChannelsLast;
  const bool staged = last && !rows_.scatters_pixels();

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
  b.ones = masks + kSpatialDims * s;
  float* next = scratch + kMasks * s;
  const auto take = [&next](std::int64_t floats) {
    float* const at = next;
    next += floats;
    return at;
  };
  b.depth = take(tile_[0] > 1 ? phases_w * (tile_[0] + kOver) * most_points(1) * most_points(2) * s : 0);
  b.height = take(transforms_height() ? phases_w * (tile_[1] + kOver) * most_points(2) * s : 0);
  b.over = take(phases_w * kOver * s);
  b.row = take(phases_w * tile_[2] * s);
  b.interleaved = take(phases_w * tile_[2] * s);
  b.placed = take(rows_.floats());
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
    if (rows_.scatters_pixels()) {
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
  const std::int64_t depth_rows = tile_[0] + (box.end[0] && rows_.tail(0) > 0 ? rows_.most_taps(0) - 1 : 0);
  const std::int64_t height_rows = tile_[1] + (box.end[1] && rows_.tail(1) > 0 ? rows_.most_taps(1) - 1 : 0);

  // Products of each phase along the width, and what the depth transform makes of them: [jd][ph][pw][tile].
  const auto product_view = [&](std::int64_t rw) {
    const Place& place = place_[static_cast<std::size_t>((pass.rd * layer.stride[1] + pass.rh) * phases_w + rw)];
    const PhaseClass& cls = form_->classes()[place.cls];
    const std::ptrdiff_t point = cls.phases() * channels * tiles_->product_floats;
    return View{products + class_begin[place.cls] + (place.phase * channels + pass.first) * tiles_->product_floats,
                point * cls.points[1] * cls.points[2], point * cls.points[2], point};
  };
  const auto points_w = [&](std::int64_t rw) { return std::int64_t{winograd_points(tile_[2], taps(2, rw))}; };
  const std::int64_t most_w = winograd_points(tile_[2], rows_.most_taps(2));
  const std::int64_t depth_step = points_h * most_w * s;  // from one jd to the next
  const auto depth_buffer = [&](std::int64_t rw) {
    return b.depth + rw * (tile_[0] + kOver) * winograd_points(tile_[1], rows_.most_taps(1)) * most_w * s;
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
  // read field by field where they are: what has just been stored by halves cannot be copied whole before all stores are
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
    // (Null for all phases along the width, or for none.)
    const bool joint = joint_kernel(pass.rh) != nullptr && depth_views[0].data != nullptr;
    for (std::int64_t rw = 0; rw < phases_w && tile_[1] > 1; ++rw) {
      const View& from = depth_views[rw];
      if (from.data == nullptr) continue;
      for (std::int64_t pw = 0; pw < points_w(rw); ++pw) {
        const float* const values = from.data + pw * from.stride_w;
        float* const carry = carried(1, rw, jd, pw);
        if (joint) {
          float* const over = const_cast<float*>(values) + (points_h - 1) * from.stride_h;
          take_carried(pass, over, 0, taps_h - 1, box.size[2], carry);
          hand_on(pass, over, 0, taps_h - 1, box.size[2], carry);
          continue;
        }
        float* const to = height_buffer(rw) + pw * s;
        transform(pass, 1, taps_h, values, from.stride_h, to, height_step, to + tile_[1] * height_step, height_step, begin_d,
                  box.size[2], carry);
      }
    }
    for (std::int64_t jh = 0; jh < height_rows; ++jh) {
      const std::int64_t begin_h = jh < tile_[1] ? 0 : (box.size[1] - 1) * box.size[2] / kFloatsPerLine * kFloatsPerLine;
      const std::int64_t begin = std::max(begin_d, begin_h);
      if (joint && jh < tile_[1]) {
        store_joint_rows(pass, jd, jh, begin, depth_views);
        continue;
      }
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
  if (!rows_.wanted(pass, jd, jh)) return;
  const Buffers& b = pass.buffers;
  const std::int64_t s = stride();
  const std::int64_t phases_w = problem_.layer.stride[2];
  const std::int64_t phases = phases_w * tile_[2];
  WinogradRowStore::Over over;
  for (std::int64_t rw = 0; rw < phases_w; ++rw) {
    const View& view = views[rw];
    float* const to = b.row + rw * s;
    const int taps_w = taps(2, rw);
    over.at[rw] = nullptr;
    over.stride[rw] = s;
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
        over.at[rw] = taps_w == 2 ? view.data + (winograd_points(tile_[2], 2) - 1) * view.stride_w : run_over;
        if (taps_w == 2) over.stride[rw] = 0;
      }
    }
  }
  for (std::int64_t c = 0; c < pass.channels; ++c) {
    const std::int64_t first = c * tiles_->product_floats + begin;
    const RowStoreArgs whole{b.row + first,
                             s,
                             phases,
                             (pass.tiles - begin) * phases,
                             b.interleaved + first * phases,
                             pass.bias_of(c),
                             &rows_.finisher().epilogue(*pass.args)};
    table_->row_store(&whole);
    rows_.finish(pass, c, whole.dst, whole.count);
  }
  rows_.place(pass, jd, jh, 0, pass.channels, b.interleaved, &over, b.placed);
}

// The same from the products, or what the depth transform makes of them, by the joint kernel: a channel at a time, which so
// stays in the first-level cache. (Its last tail stands where the first outputs of the next channel may have to be.)
void WinogradOutput::store_joint_rows(const Pass& pass, std::int64_t jd, std::int64_t jh, std::int64_t begin,
                                      const View* views) const {
  if (!rows_.wanted(pass, jd, jh)) return;
  const Buffers& b = pass.buffers;
  const std::int64_t phases = kJointPhases * tile_[2];
  const std::int64_t tail = rows_.row_tail(*pass.box);
  const bool joined = rows_.joins(*pass.box);
  const WinogradRowsKernel& kernel = *joint_kernel(pass.rh);
  WinogradRowStore::Over over;
  WinogradRowsArgs call;
  call.coefficient = static_cast<int>(jh);
  // Joined, the tail of the last row stands where one more tile would.
  call.count = pass.tiles - begin + (joined && tail > 0 ? 1 : 0);
  call.shift = pass.box->size[2];
  call.epilogue = &rows_.finisher().epilogue(*pass.args);
  for (int f = 0; f < kJointPhases; ++f) {
    call.height_stride[f] = views[f].stride_h;
    call.width_stride[f] = views[f].stride_w;
    over.at[f] = taps(2, f) > 1 ? b.over + f * stride() : nullptr;
    over.stride[f] = 0;
  }
  for (std::int64_t c = 0; c < pass.channels; ++c) {
    const std::int64_t first = c * tiles_->product_floats + begin;
    for (int f = 0; f < kJointPhases; ++f) {
      // Joined, the first outputs of a row are what runs over from the row before instead of their own. (There are at most
      // kJointPhases of these, since no phase has more than two taps.)
      const bool replaced = joined && f < tail;
      call.src[f] = views[f].data + first;
      call.own[f] = (replaced ? b.mask[2] : b.ones) + first;
      call.left[f] = (replaced ? b.ones : b.mask[2]) + first;
      call.over[f] = joined ? nullptr : b.over + f * stride() + first;
    }
    call.mask_height = b.mask[1] + first;
    call.dst = b.interleaved + first * phases;
    call.bias = pass.bias_of(c);
    kernel.fn(&call);
    rows_.finish(pass, c, call.dst, call.count * phases);
    rows_.place(pass, jd, jh, c, c + 1, b.interleaved, joined ? nullptr : &over, b.placed);
  }
  pass.used->set(
      static_cast<std::size_t>(winograd_rows_number(*table_, joint_[static_cast<std::size_t>(taps(1, pass.rh))])));
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
        rows_.finisher().pixels(args, group * problem_.out_channels_per_group() + block.first, transpose.dst, channels,
                                transpose.dst - args.dst, transpose.columns, block.channels);
      }
    }
  }
}

}  // namespace convtranspose
