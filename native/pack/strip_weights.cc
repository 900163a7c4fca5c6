#include "pack/strip_weights.h"

#include <algorithm>
#include <map>

#include "problem/checked.h"
#include "problem/phases.h"

namespace convtranspose {
namespace {

// Position k of the tap of residue r at offset u, or -1.
std::int64_t tap_at(const LayerSpec& layer, int d, std::int64_t residue, std::int64_t offset) {
  const std::int64_t distance = residue - offset * layer.stride[d];
  if (distance < 0 || distance % layer.dilation[d] != 0) return -1;
  const std::int64_t k = distance / layer.dilation[d];
  return k < layer.kernel[d] ? k : -1;
}

Offsets1d group_offsets(const LayerSpec& layer, int d) {
  std::map<std::int64_t, std::vector<std::int64_t>> residues_at;  // offset -> residues that use it
  const auto taps = taps_by_residue(layer.kernel[d], layer.stride[d], layer.dilation[d]);
  for (std::int64_t r = 0; r < layer.stride[d]; ++r) {
    for (const std::int64_t k : taps[static_cast<std::size_t>(r)]) {
      residues_at[(r - k * layer.dilation[d]) / layer.stride[d]].push_back(r);
    }
  }
  std::map<std::vector<std::int64_t>, std::vector<std::int64_t>> offsets_of;
  for (const auto& [offset, residues] : residues_at) offsets_of[residues].push_back(offset);
  Offsets1d result;
  result.min_offset = residues_at.begin()->first;
  for (auto& [residues, offsets] : offsets_of) result.groups.push_back({residues, offsets});
  // Largest sets first: their strips are tall, and later ones add to rows that hold something already.
  std::stable_sort(result.groups.begin(), result.groups.end(),
                   [](const OffsetGroup& a, const OffsetGroup& b) { return a.residues.size() > b.residues.size(); });
  return result;
}

// Whether a dimension has two residues, the first of which has offsets of its own.
bool has_odd_taps(const Offsets1d& dim) {
  return dim.groups.size() == 2 && dim.groups[0].residues == std::vector<std::int64_t>{0, 1} &&
         dim.groups[1].residues == std::vector<std::int64_t>{0};
}

}  // namespace

StripWeights::StripWeights(const LayerSpec& layer, std::int64_t max_rows, bool mixed) : layer_(layer) {
  const std::int64_t outputs = layer.out_channels / layer.groups;
  rows_ = layer.stride[0] * layer.stride[1] * layer.stride[2] * outputs;
  for (int d = 0; d < kSpatialDims; ++d) dims_[d] = group_offsets(layer, d);
  std::vector<bool> written(static_cast<std::size_t>(rows_), false);
  const std::int64_t channels = layer.in_channels / layer.groups;
  mixed = mixed && layer.stride[0] == 1 && has_odd_taps(dims_[1]) && has_odd_taps(dims_[2]);
  if (mixed) {
    add_mixed();
    written.assign(written.size(), true);
  } else {
    for (const OffsetGroup& gd : dims_[0].groups) {
      for (const OffsetGroup& gh : dims_[1].groups) {
        for (const OffsetGroup& gw : dims_[2].groups) add_segment(gd, gh, gw, max_rows, &written);
      }
    }
  }
  std::int64_t offset = 0;
  for (Strip& strip : strips_) {
    strip.packed_offset = offset;
    offset += channels * static_cast<std::int64_t>(strip.weight_positions.size());
  }
  group_elements_ = offset;
  if (channels > 0) {
    task_channels_ = std::clamp<std::int64_t>(kPackTask / std::max<std::int64_t>(offset / channels, 1), 1, channels);
  }
  for (std::int64_t row = 0; row < rows_; ++row) {
    if (!written[static_cast<std::size_t>(row)]) empty_rows_.push_back(row);
  }
  key_ = "few rows" + std::to_string(rows_) + (mixed ? " mixed" : " max" + std::to_string(max_rows));
  for (int d = 0; d < kSpatialDims; ++d) {
    key_.append(d == 0 ? " k" : "x").append(std::to_string(layer.kernel[d]));
    key_.append("s").append(std::to_string(layer.stride[d])).append("d").append(std::to_string(layer.dilation[d]));
  }
}

std::vector<std::int64_t> StripWeights::rows_of(const OffsetGroup& gd, const OffsetGroup& gh, const OffsetGroup& gw) const {
  const std::int64_t outputs = layer_.out_channels / layer_.groups;
  std::vector<std::int64_t> rows;  // ascending
  for (const std::int64_t rd : gd.residues) {
    for (const std::int64_t rh : gh.residues) {
      for (const std::int64_t rw : gw.residues) {
        for (std::int64_t co = 0; co < outputs; ++co) {
          rows.push_back(((rd * layer_.stride[1] + rh) * layer_.stride[2] + rw) * outputs + co);
        }
      }
    }
  }
  return rows;
}

void StripWeights::add_segment(const OffsetGroup& gd, const OffsetGroup& gh, const OffsetGroup& gw, std::int64_t max_rows,
                               std::vector<bool>* written) {
  const std::vector<std::int64_t> rows = rows_of(gd, gh, gw);
  // Runs of neighbouring rows that either all hold something or all do not, cut evenly into strips that a kernel can do.
  for (std::size_t begin = 0; begin < rows.size();) {
    std::size_t end = begin + 1;
    const auto is_written = [&](std::size_t i) { return (*written)[static_cast<std::size_t>(rows[i])]; };
    while (end < rows.size() && rows[end] == rows[end - 1] + 1 && is_written(end) == is_written(begin)) ++end;
    const std::int64_t count = static_cast<std::int64_t>(end - begin);
    const std::int64_t parts = ceil_div(count, max_rows);
    for (std::int64_t part = 0; part < parts; ++part) {
      Strip strip;
      strip.first_row = rows[begin] + count * part / parts;
      strip.rows = rows[begin] + count * (part + 1) / parts - strip.first_row;
      strip.accumulate = is_written(begin);
      const auto first = rows.begin() + static_cast<std::ptrdiff_t>(begin) + strip.first_row - rows[begin];
      list_taps(gd, gh, gw, {first, first + strip.rows}, &strip);
      strips_.push_back(std::move(strip));
    }
    for (std::size_t i = begin; i < end; ++i) (*written)[static_cast<std::size_t>(rows[i])] = true;
    begin = end;
  }
}

void StripWeights::add_mixed() {
  Strip strip;
  strip.first_row = 0;
  strip.rows = rows_;
  strip.mixed = true;
  const OffsetGroup& gd = dims_[0].groups.front();
  std::size_t segment = 0;
  for (const OffsetGroup& gh : dims_[1].groups) {
    for (const OffsetGroup& gw : dims_[2].groups) {
      const std::size_t before = strip.taps.size();
      list_taps(gd, gh, gw, rows_of(gd, gh, gw), &strip);
      if (segment > 0) strip.subset_taps[segment - 1] = static_cast<std::int64_t>(strip.taps.size() - before);
      ++segment;
    }
  }
  strips_.push_back(std::move(strip));
}

void StripWeights::list_taps(const OffsetGroup& gd, const OffsetGroup& gh, const OffsetGroup& gw,
                             const std::vector<std::int64_t>& rows, Strip* strip) const {
  const std::int64_t outputs = layer_.out_channels / layer_.groups;
  const std::int64_t kernel_points = layer_.kernel[0] * layer_.kernel[1] * layer_.kernel[2];
  for (const std::int64_t ud : gd.offsets) {
    for (const std::int64_t uh : gh.offsets) {
      for (const std::int64_t uw : gw.offsets) {
        strip->taps.push_back({ud, uh, uw});
        for (const std::int64_t row : rows) {
          const std::int64_t phase = row / outputs;
          const std::int64_t kw = tap_at(layer_, 2, phase % layer_.stride[2], uw);
          const std::int64_t kh = tap_at(layer_, 1, phase / layer_.stride[2] % layer_.stride[1], uh);
          const std::int64_t kd = tap_at(layer_, 0, phase / layer_.stride[2] / layer_.stride[1], ud);
          strip->weight_positions.push_back(row % outputs * kernel_points + (kd * layer_.kernel[1] + kh) * layer_.kernel[2] +
                                            kw);
        }
      }
    }
  }
}

std::int64_t StripWeights::tasks() const {
  if (group_elements_ == 0) return 0;
  return layer_.groups * ceil_div(layer_.in_channels / layer_.groups, task_channels_);
}

void StripWeights::pack_task(const float* weights, std::int64_t task, float* packed) const noexcept {
  const std::int64_t channels = layer_.in_channels / layer_.groups;
  const std::int64_t step = layer_.out_channels / layer_.groups * layer_.kernel[0] * layer_.kernel[1] * layer_.kernel[2];
  const std::int64_t blocks = ceil_div(channels, task_channels_);
  const std::int64_t group = task / blocks;
  const std::int64_t first = task % blocks * task_channels_;
  const std::int64_t end = std::min(first + task_channels_, channels);
  for (const Strip& strip : strips_) {
    float* out = packed + group * group_elements_ + strip.packed_offset +
                 first * static_cast<std::int64_t>(strip.weight_positions.size());
    for (std::int64_t c = first; c < end; ++c) {
      const float* from = weights + (group * channels + c) * step;
      for (const std::int64_t position : strip.weight_positions) *out++ = from[position];
    }
  }
}

}  // namespace convtranspose
