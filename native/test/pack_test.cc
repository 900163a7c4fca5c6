// Packed weights and packed input against their formulas.
#include <doctest/doctest.h>

#include <algorithm>
#include <atomic>
#include <cmath>
#include <cstring>
#include <numeric>
#include <thread>
#include <vector>

#include "bfloat16.h"
#include "kernels/registry.h"
#include "pack/input.h"
#include "pack/join.h"
#include "pack/overlap_weights.h"
#include "pack/pixel_weights.h"
#include "pack/position_weights.h"
#include "pack/residue_weights.h"
#include "pack/row_weights.h"
#include "pack/strip_weights.h"
#include "pack/term_weights.h"
#include "pack/weights.h"
#include "problem/checked.h"
#include "problem/phases.h"

namespace convtranspose {
namespace {

LayerSpec layer_of(std::int64_t groups, std::int64_t in, std::int64_t out, Dims kernel, Dims stride, Dims dilation) {
  LayerSpec layer;
  layer.rank = 3;
  layer.groups = groups;
  layer.in_channels = groups * in;
  layer.out_channels = groups * out;
  layer.kernel = kernel;
  layer.stride = stride;
  layer.dilation = dilation;
  return layer;
}

std::vector<float> numbered(std::int64_t count) {
  std::vector<float> values(static_cast<std::size_t>(count));
  for (std::size_t i = 0; i < values.size(); ++i) values[i] = static_cast<float>(i + 1);
  return values;
}

TEST_CASE("panels are even, aligned to the granule and complete") {
  for (std::int64_t channels = 1; channels <= 200; ++channels) {
    for (const std::int64_t granule : {1, 4, 16}) {
      std::int64_t rows = 0, begin = 0;
      for (const Panel& panel : split_panels(channels, 3 * granule, granule)) {
        REQUIRE(panel.first == rows);
        REQUIRE(panel.begin == begin);
        REQUIRE(panel.width % granule == 0);
        REQUIRE(panel.width <= 3 * granule);
        REQUIRE(panel.rows >= 1);
        REQUIRE(panel.rows <= panel.width);
        rows += panel.rows;
        begin += panel.width;
      }
      REQUIRE(rows == channels);
      REQUIRE(begin < channels + granule);
    }
  }
}

// Runs the tasks of packing on two threads, the last ones first, over memory full of NaNs.
std::vector<float> pack_by_tasks(const PackedForm& form, const std::vector<float>& raw) {
  std::vector<float> packed(static_cast<std::size_t>(form.elements()), std::nanf(""));
  std::atomic<std::int64_t> next{form.tasks()};
  const auto work = [&] {
    for (std::int64_t task; (task = next.fetch_sub(1) - 1) >= 0;) form.pack_task(raw.data(), task, packed.data());
  };
  std::thread other(work);
  work();
  other.join();
  return packed;
}

// Bit patterns count: a NaN would be a float that no task has written.
bool same_bits(const std::vector<float>& a, const std::vector<float>& b) {
  return a.size() == b.size() && (a.empty() || std::memcmp(a.data(), b.data(), a.size() * sizeof(float)) == 0);
}

TEST_CASE("panel weights stand where offset() says, padding is zero, every weight occurs once") {
  struct Case {
    LayerSpec layer;
    std::int64_t widest, granule, least_tasks;
  };
  for (const Case& each : {Case{layer_of(2, 5, 7, {2, 3, 4}, {1, 2, 3}, {1, 1, 2}), 4, 4, 1},
                           Case{layer_of(2, 90, 50, {1, 4, 4}, {1, 2, 2}, {1, 1, 1}), 16, 16, 4},
                           Case{layer_of(1, 3, 500, {1, 13, 13}, {1, 2, 3}, {1, 1, 1}), 16, 16, 6}}) {
    const LayerSpec& layer = each.layer;
    const std::int64_t points = layer.kernel[0] * layer.kernel[1] * layer.kernel[2];
    const std::int64_t channels = layer.in_channels / layer.groups;
    const std::int64_t outputs = layer.out_channels / layer.groups;
    const std::vector<float> raw = numbered(layer.in_channels * outputs * points);
    const WeightLayout layout(layer, split_panels(outputs, each.widest, each.granule), 3);
    CHECK(layout.tasks() >= each.least_tasks);
    const std::vector<float> packed = pack_by_tasks(layout, raw);
    std::size_t checked = 0, wrong = 0;
    for (std::int64_t g = 0; g < layer.groups; ++g) {
      for (std::int64_t rd = 0; rd < layer.stride[0]; ++rd) {
        for (std::int64_t rh = 0; rh < layer.stride[1]; ++rh) {
          for (std::int64_t rw = 0; rw < layer.stride[2]; ++rw) {
            const auto td =
                taps_by_residue(layer.kernel[0], layer.stride[0], layer.dilation[0])[static_cast<std::size_t>(rd)];
            const auto th =
                taps_by_residue(layer.kernel[1], layer.stride[1], layer.dilation[1])[static_cast<std::size_t>(rh)];
            const auto tw =
                taps_by_residue(layer.kernel[2], layer.stride[2], layer.dilation[2])[static_cast<std::size_t>(rw)];
            REQUIRE(layout.taps(rd, rh, rw) == static_cast<std::int64_t>(td.size() * th.size() * tw.size()));
            for (const Panel& panel : layout.panels()) {
              std::size_t at = static_cast<std::size_t>(layout.offset(g, rd, rh, panel, rw));
              for (std::int64_t c = 0; c < channels; ++c) {
                for (const auto kd : td) {
                  for (const auto kh : th) {
                    for (const auto kw : tw) {
                      for (std::int64_t i = 0; i < panel.width; ++i, ++at, ++checked) {
                        const std::int64_t from = ((g * channels + c) * outputs + panel.first + i) * points +
                                                  (kd * layer.kernel[1] + kh) * layer.kernel[2] + kw;
                        wrong += packed[at] != (i < panel.rows ? raw[static_cast<std::size_t>(from)] : 0.0f);
                      }
                    }
                  }
                }
              }
            }
          }
        }
      }
    }
    CHECK(wrong == 0);
    CHECK(checked == packed.size());
  }
}

TEST_CASE("strips: tasks write all floats, whatever their order") {
  const LayerSpec layer = layer_of(2, 3000, 3, {1, 5, 5}, {1, 2, 2}, {1, 1, 1});
  const StripWeights form(layer, 6, false);
  REQUIRE(form.tasks() >= 4);
  const std::vector<float> raw = numbered(2 * 3000 * 3 * 25);
  std::vector<float> packed(static_cast<std::size_t>(form.elements()));
  pack_all(form, raw.data(), packed.data());
  CHECK(same_bits(pack_by_tasks(form, raw), packed));
  // [group][strip][channel][tap][row]
  std::size_t at = 0, wrong = 0;
  for (std::int64_t g = 0; g < 2; ++g) {
    for (const Strip& strip : form.strips()) {
      for (std::int64_t c = 0; c < 3000; ++c) {
        for (const std::int64_t position : strip.weight_positions) {
          wrong += packed[at++] != raw[static_cast<std::size_t>((g * 3000 + c) * 75 + position)];
        }
      }
    }
  }
  CHECK(wrong == 0);
  CHECK(at == packed.size());
}

TEST_CASE("strips cover every tap of every row exactly once") {
  for (const Dims& kernel : {Dims{1, 3, 3}, Dims{1, 9, 9}, Dims{1, 2, 5}, Dims{2, 3, 2}}) {
    for (const std::int64_t stride : {2, 3}) {
      for (const std::int64_t dilation : {1, 2, 3}) {
        const LayerSpec layer = layer_of(1, 2, 2, kernel, {1, stride, stride}, {1, dilation, dilation});
        const StripWeights form(layer, 6, false);
        REQUIRE(form.rows() == stride * stride * 2);
        const std::int64_t points = kernel[0] * kernel[1] * kernel[2];
        std::vector<int> uses(static_cast<std::size_t>(2 * points));
        std::vector<bool> written(static_cast<std::size_t>(form.rows()));
        for (const Strip& strip : form.strips()) {
          REQUIRE(strip.rows <= 6);
          std::size_t at = 0;
          for (const auto& tap : strip.taps) {
            for (std::int64_t row = strip.first_row; row < strip.first_row + strip.rows; ++row, ++at) {
              const std::int64_t position = strip.weight_positions[at];
              ++uses[static_cast<std::size_t>(position)];
              const std::int64_t phase = row / 2, k = position % points;
              REQUIRE(position / points == row % 2);
              const Dims residue{0, phase / stride, phase % stride};
              const Dims index{k / (kernel[1] * kernel[2]), k / kernel[2] % kernel[1], k % kernel[2]};
              for (int d = 0; d < kSpatialDims; ++d) {
                REQUIRE(index[d] * layer.dilation[d] == residue[d] - tap[d] * layer.stride[d]);
              }
            }
          }
          for (std::int64_t row = strip.first_row; row < strip.first_row + strip.rows; ++row) {
            REQUIRE(written[static_cast<std::size_t>(row)] == strip.accumulate);
            written[static_cast<std::size_t>(row)] = true;
          }
        }
        for (const int count : uses) REQUIRE(count == 1);
        for (const std::int64_t row : form.empty_rows()) REQUIRE(!written[static_cast<std::size_t>(row)]);
        std::vector<float> raw = numbered(2 * 2 * points);
        std::vector<float> packed(static_cast<std::size_t>(form.elements()));
        pack_all(form, raw.data(), packed.data());
        double sum = 0, expected = 0;
        for (const float value : packed) sum += value;
        for (const float value : raw) expected += value;
        CHECK(sum == expected);
      }
    }
  }
}

TEST_CASE("mixed strips cover every tap of every row exactly once, by segments") {
  for (const Dims& kernel : {Dims{1, 3, 3}, Dims{1, 9, 5}, Dims{3, 3, 7}}) {
    for (const std::int64_t outputs : {1, 3}) {
      const LayerSpec layer = layer_of(1, 2, outputs, kernel, {1, 2, 2}, {1, 1, 1});
      const StripWeights form(layer, 6, true);
      REQUIRE(form.strips().size() == 1);
      const Strip& strip = form.strips().front();
      CHECK(strip.mixed);
      CHECK(!strip.accumulate);
      CHECK(strip.first_row == 0);
      CHECK(strip.rows == 4 * outputs);
      CHECK(form.empty_rows().empty());
      const std::int64_t points = kernel[0] * kernel[1] * kernel[2];
      std::vector<int> uses(static_cast<std::size_t>(outputs * points));
      std::int64_t left = static_cast<std::int64_t>(strip.taps.size());
      for (const std::int64_t taps : strip.subset_taps) left -= taps;
      const std::int64_t segment_taps[] = {left, strip.subset_taps[0], strip.subset_taps[1], strip.subset_taps[2]};
      const std::vector<std::int64_t> phases[] = {{0, 1, 2, 3}, {0, 2}, {0, 1}, {0}};
      std::size_t tap = 0, at = 0;
      for (int segment = 0; segment < 4; ++segment) {
        for (std::int64_t t = 0; t < segment_taps[segment]; ++t, ++tap) {
          for (const std::int64_t phase : phases[segment]) {
            for (std::int64_t co = 0; co < outputs; ++co, ++at) {
              const std::int64_t position = strip.weight_positions[at];
              ++uses[static_cast<std::size_t>(position)];
              const std::int64_t k = position % points;
              REQUIRE(position / points == co);
              const Dims residue{0, phase / 2, phase % 2};
              const Dims index{k / (kernel[1] * kernel[2]), k / kernel[2] % kernel[1], k % kernel[2]};
              for (int d = 0; d < kSpatialDims; ++d) {
                REQUIRE(index[d] == residue[d] - strip.taps[tap][d] * layer.stride[d]);
              }
            }
          }
        }
      }
      CHECK(tap == strip.taps.size());
      CHECK(at == strip.weight_positions.size());
      for (const int count : uses) REQUIRE(count == 1);
    }
  }
  // Where sizes or dilation make other segments, strips are as without mixed kernels.
  for (const LayerSpec& layer :
       {layer_of(1, 2, 1, {1, 3, 4}, {1, 2, 2}, {1, 1, 1}), layer_of(1, 2, 1, {1, 3, 3}, {1, 2, 2}, {1, 3, 3}),
        layer_of(1, 2, 1, {1, 3, 3}, {1, 3, 3}, {1, 1, 1})}) {
    const StripWeights form(layer, 6, true);
    for (const Strip& strip : form.strips()) CHECK(!strip.mixed);
  }
}

TEST_CASE("residue weights: every weight once, in columns of channel and residue") {
  for (const std::int64_t stride : {4, 8, 40}) {  // panels of several channels, and of some residues of one
    const LayerSpec layer = layer_of(2, 700, 5, {1, 3, 2 * stride}, {1, 2, stride}, {1, 1, 1});
    const ResidueWeights form(layer, MemoryFormat::kContiguous, 32, 16);
    const std::int64_t points = 3 * 2 * stride;
    const std::vector<float> raw = numbered(2 * 700 * 5 * points);
    std::vector<float> packed(static_cast<std::size_t>(form.elements()));
    pack_all(form, raw.data(), packed.data());
    CHECK(same_bits(pack_by_tasks(form, raw), packed));
    std::size_t wrong = 0, weights = 0, padding = 0;
    for (std::int64_t g = 0; g < 2; ++g) {
      for (std::int64_t rh = 0; rh < 2; ++rh) {
        const std::int64_t taps_h = rh == 0 ? 2 : 1;
        REQUIRE(form.taps(0, rh) == taps_h * 2);
        for (const ResiduePanel& panel : form.panels()) {
          REQUIRE(panel.width % 16 == 0);
          REQUIRE(panel.width <= 32);
          const float* at = packed.data() + form.offset(g, 0, rh, panel);
          for (std::int64_t c = 0; c < 700; ++c) {
            for (std::int64_t th = 0; th < taps_h; ++th) {
              for (std::int64_t tw = 0; tw < 2; ++tw) {
                for (std::int64_t j = 0; j < panel.width; ++j, ++at) {
                  if (j >= panel.columns()) {
                    wrong += *at != 0.0f;
                    ++padding;
                    continue;
                  }
                  const std::int64_t co = panel.first_channel + j / panel.residues;
                  const std::int64_t kw = panel.first_residue + j % panel.residues + stride * tw;
                  const std::int64_t position = (rh + 2 * th) * 2 * stride + kw;
                  wrong += *at != raw[static_cast<std::size_t>(((g * 700 + c) * 5 + co) * points + position)];
                  ++weights;
                }
              }
            }
          }
        }
      }
    }
    CHECK(wrong == 0);
    CHECK(weights == raw.size());
    CHECK(weights + padding == packed.size());
  }
}

TEST_CASE("residue weights, channels last: columns of residue and channel") {
  for (const std::int64_t outputs : {3, 21}) {
    const std::int64_t stride = 4, channels = 300;
    const LayerSpec layer = layer_of(1, channels, outputs, {1, 3, 2 * stride}, {1, 2, stride}, {1, 1, 1});
    const ResidueWeights form(layer, MemoryFormat::kChannelsLast, 32, 16);
    CHECK(form.key() != ResidueWeights(layer, MemoryFormat::kContiguous, 32, 16).key());
    const std::int64_t points = 3 * 2 * stride;
    const std::vector<float> raw = numbered(channels * outputs * points);
    std::vector<float> packed(static_cast<std::size_t>(form.elements()));
    pack_all(form, raw.data(), packed.data());
    CHECK(same_bits(pack_by_tasks(form, raw), packed));
    std::size_t wrong = 0, weights = 0;
    std::int64_t columns = 0;
    for (const ResiduePanel& panel : form.panels()) {
      REQUIRE(panel.channels == 1);
      REQUIRE(panel.first_residue == columns);
      columns += panel.residues;
      for (std::int64_t rh = 0; rh < 2; ++rh) {
        const float* at = packed.data() + form.offset(0, 0, rh, panel);
        for (std::int64_t c = 0; c < channels; ++c) {
          for (std::int64_t tap = 0; tap < form.taps(0, rh); ++tap) {
            const std::int64_t kh = rh + 2 * (tap / 2), first_kw = stride * (tap % 2);
            for (std::int64_t j = 0; j < panel.width; ++j, ++at) {
              if (j >= panel.residues) {
                wrong += *at != 0.0f;
                continue;
              }
              const std::int64_t column = panel.first_residue + j;
              const std::int64_t position = kh * 2 * stride + first_kw + column / outputs;
              wrong += *at != raw[static_cast<std::size_t>((c * outputs + column % outputs) * points + position)];
              ++weights;
            }
          }
        }
      }
    }
    CHECK(wrong == 0);
    CHECK(columns == stride * outputs);
    CHECK(weights == raw.size());
  }
}

// TermKernels::split_weights by its definition.
void split_weights_by_definition(const TermWeightsArgs* args) {
  const int width = args->columns * kTermSquare;
  for (int c = 0; c < kTermBlock; ++c) {
    for (int j = 0; j < width; ++j) {
      for (int k = 0; k < args->terms; ++k) {
        const int matrix = k * args->columns + j / kTermSquare;
        args->dst[matrix * kTermElements + (c / 2 * kTermSquare + j % kTermSquare) * 2 + c % 2] =
            term_of(args->src[c * width + j] * args->scale, k);
      }
    }
  }
}

// All terms of a form, each of which exactly one task writes.
std::vector<std::uint16_t> packed_once(const PackedForm& form, const std::vector<float>& raw) {
  const std::size_t count = static_cast<std::size_t>(form.elements()) * 2;
  std::vector<std::uint16_t> packed(count), once(count);
  std::vector<int> writes(count);
  FloatArray memory(form.elements());
  for (std::int64_t task = 0; task < form.tasks(); ++task) {
    std::memset(memory.data(), 0xff, count * 2);  // no term of a finite number
    form.pack_task(raw.data(), task, memory.data());
    std::memcpy(once.data(), memory.data(), count * 2);
    for (std::size_t i = 0; i < count; ++i) {
      if (once[i] == 0xffff) continue;
      packed[i] = once[i];
      ++writes[i];
    }
  }
  CHECK(std::all_of(writes.begin(), writes.end(), [](int n) { return n == 1; }));
  return packed;
}

struct TermWeightsCase {
  LayerSpec layer;
  TermColumns columns;
};

// Holds all terms against the raw weights that they are of: every column of every panel, tap by tap.
void check_term_weights(const TermWeightsCase& each, int terms, const TermKernels& kernels, TermStorage storage) {
  constexpr float kScale = 0x1p5f;
  const LayerSpec& layer = each.layer;
  const bool residues = each.columns != TermColumns::kChannels, of_pixels = each.columns == TermColumns::kPixelResidues;
  const LayerSpec columns = layer_of_columns(layer, each.columns);
  const std::int64_t points = layer.kernel[0] * layer.kernel[1] * layer.kernel[2];
  const std::int64_t channels = layer.in_channels / layer.groups;
  const std::int64_t outputs = layer.out_channels / layer.groups;
  const std::int64_t count_of_columns = columns.out_channels / columns.groups;
  std::vector<float> raw = numbered(layer.in_channels * outputs * points);
  for (float& value : raw) value = (value + 0x1p20f) * (static_cast<int>(value) % 3 == 0 ? -1.0f : 1.0f);  // three terms
  const TermWeights form(layer, each.columns, terms, kScale, kernels, storage);
  CHECK(form.terms() == terms);
  CHECK(form.floats() == (storage == TermStorage::kFloats));
  REQUIRE(form.channel_blocks() == (channels + kTermBlock - 1) / kTermBlock);
  CHECK(form.key() != TermWeights(layer, each.columns, terms % kMostTerms + 1, kScale, kernels).key());

  const std::vector<std::uint16_t> packed = packed_once(form, raw);
  const std::size_t count = packed.size();

  std::int64_t first = 0;
  for (const Panel& panel : form.panels()) {
    REQUIRE(panel.first == first);
    REQUIRE(panel.width % kTermSquare == 0);
    REQUIRE(panel.width <= TermWeights::widest_panel(storage));
    REQUIRE(panel.rows <= panel.width);
    if (residues && !of_pixels) REQUIRE(panel.rows % layer.stride[2] == 0);
    first += panel.rows;
  }
  CHECK(first == count_of_columns);

  std::vector<std::vector<std::int64_t>> taps[kSpatialDims];
  for (int d = 0; d < kSpatialDims; ++d)
    taps[d] = taps_by_residue(columns.kernel[d], columns.stride[d], columns.dilation[d]);
  // The raw weight of channel c, column q and tap k of the layer of columns.
  const auto raw_weight = [&](std::int64_t group, std::int64_t c, std::int64_t q, Dims k) {
    std::int64_t output = q;
    if (residues) {
      const Dims& s = layer.stride;
      output = of_pixels ? q % outputs : q / s[2] % outputs;
      const std::int64_t rw = of_pixels ? q / outputs % s[2] : q % s[2];
      const Dims residue{q / s[2] / outputs / s[1], q / s[2] / outputs % s[1], rw};
      for (int d = 0; d < kSpatialDims; ++d) k[d] = k[d] * s[d] + residue[d];
    }
    const std::int64_t at = ((group * channels + c) * outputs + output) * points;
    return raw[static_cast<std::size_t>(at + (k[0] * layer.kernel[1] + k[1]) * layer.kernel[2] + k[2])];
  };
  std::size_t checked = 0, wrong = 0;
  const auto check_tap = [&](const Panel& panel, std::int64_t block, std::int64_t start, auto weight) {
    for (std::int64_t c = 0; c < kTermBlock; ++c) {
      for (std::int64_t j = 0; j < panel.width; ++j) {
        const bool present = block * kTermBlock + c < channels && j < panel.rows;
        const float value = present ? weight(block * kTermBlock + c, panel.first + j) * kScale : 0.0f;
        if (form.floats()) {
          const std::int64_t at = start + (c / 2 * kTermSquare + j) * 2 + c % 2;
          float got;
          std::memcpy(&got, packed.data() + 2 * at, sizeof got);
          wrong += got != value;
          checked += 2;
          continue;
        }
        for (int k = 0; k < terms; ++k, ++checked) {
          const std::int64_t matrix = k * (panel.width / kTermSquare) + j / kTermSquare;
          const std::int64_t at = matrix * kTermElements + (c / 2 * kTermSquare + j % kTermSquare) * 2 + c % 2;
          wrong += packed[static_cast<std::size_t>(start + at)] != term_of(value, k);
        }
      }
    }
  };
  for (std::int64_t g = 0; g < layer.groups; ++g) {
    for (std::int64_t rd = 0; rd < columns.stride[0]; ++rd) {
      for (std::int64_t rh = 0; rh < columns.stride[1]; ++rh) {
        for (std::int64_t rw = 0; rw < columns.stride[2]; ++rw) {
          const auto& td = taps[0][static_cast<std::size_t>(rd)];
          const auto& th = taps[1][static_cast<std::size_t>(rh)];
          const auto& tw = taps[2][static_cast<std::size_t>(rw)];
          const auto all = static_cast<std::int64_t>(td.size() * th.size() * tw.size());
          REQUIRE(form.taps(rd, rh, rw) == all);
          for (const Panel& panel : form.panels()) {
            std::int64_t start = form.offset(g, rd, rh, panel, rw);
            for (std::int64_t block = 0; block < form.channel_blocks(); ++block) {
              for (std::int64_t t = 0; t < all; ++t, start += kTermBlock * panel.width * form.stored()) {
                const auto w = static_cast<std::int64_t>(tw.size()), h = static_cast<std::int64_t>(th.size());
                const Dims k{td[static_cast<std::size_t>(t / w / h)], th[static_cast<std::size_t>(t / w % h)],
                             tw[static_cast<std::size_t>(t % w)]};
                check_tap(panel, block, start, [&](std::int64_t c, std::int64_t q) { return raw_weight(g, c, q, k); });
              }
            }
          }
        }
      }
    }
  }
  CHECK(wrong == 0);
  CHECK(checked == count);
}

TEST_CASE("term weights: every weight's terms where offset() says, padding is zero, one task writes each") {
  TermKernels by_definition{};
  by_definition.split_weights = split_weights_by_definition;
  std::vector<const TermKernels*> kernels{&by_definition};
  for (const Isa isa : cpu_info().supported) {
    if (const KernelTable* table = kernel_table(isa); table->terms != nullptr) kernels.push_back(table->terms);
  }
  const TermColumns channels = TermColumns::kChannels, residues = TermColumns::kResidues;
  const TermColumns pixel_residues = TermColumns::kPixelResidues;
  const TermWeightsCase cases[] = {
      {layer_of(1, 32, 16, {1, 2, 2}, {1, 1, 1}, {1, 1, 1}), channels},
      {layer_of(2, 20, 24, {1, 4, 4}, {1, 2, 2}, {1, 1, 1}), channels},
      {layer_of(3, 33, 5, {2, 3, 4}, {1, 2, 3}, {1, 1, 2}), channels},
      {layer_of(1, 70, 49, {1, 3, 3}, {1, 2, 2}, {1, 3, 1}), channels},
      {layer_of(1, 65, 33, {1, 1, 2}, {1, 1, 5}, {1, 1, 1}), channels},  // residues without taps
      {layer_of(2, 20, 24, {1, 4, 4}, {1, 2, 2}, {1, 1, 1}), residues},
      {layer_of(1, 64, 3, {2, 3, 10}, {2, 3, 5}, {1, 1, 1}), residues},
      {layer_of(3, 33, 1, {1, 8, 16}, {1, 4, 8}, {1, 1, 1}), residues},
      {layer_of(1, 40, 7, {4, 2, 6}, {4, 2, 6}, {1, 1, 1}), residues},
      {layer_of(1, 33, 2, {1, 1, 62}, {1, 1, 31}, {1, 1, 1}), residues},
      {layer_of(1, 64, 3, {2, 3, 10}, {2, 3, 5}, {1, 1, 1}), pixel_residues},
      {layer_of(3, 33, 7, {1, 2, 80}, {1, 1, 40}, {1, 1, 1}), pixel_residues},
  };
  for (const TermWeightsCase& each : cases) {
    for (const TermKernels* const split : kernels) {
      for (int terms = 1; terms <= kMostTerms; ++terms) {
        INFO("outputs " << each.layer.out_channels << " terms " << terms);
        check_term_weights(each, terms, *split, TermStorage::kTerms);
      }
    }
    if (each.columns == residues && each.layer.stride[2] > TermWeights::widest_panel(TermStorage::kFloats)) continue;
    INFO("outputs " << each.layer.out_channels << " as floats");
    check_term_weights(each, kMostTerms, by_definition, TermStorage::kFloats);
  }
}

// TermKernels::split by its definition, of values that are finite.
bool split_by_definition(const TermSplitArgs* args) {
  for (std::int64_t i = 0; i < args->rows; ++i) {
    for (std::int64_t c = 0; c < kTermBlock; ++c) {
      const float value = c < args->channels ? args->src[i * args->src_stride + c] * args->scale : 0.0f;
      for (int k = 0; k < args->terms; ++k) args->dst[k * args->term_stride + i * args->dst_stride + c] = term_of(value, k);
    }
  }
  return true;
}

// Holds all terms against the raw weights that they are of: every row of every matrix, run by run.
void check_overlap_weights(const LayerSpec& layer, int terms, const TermKernels& kernels) {
  constexpr float kScale = 0x1p5f;
  const std::int64_t points = layer.kernel[0] * layer.kernel[1] * layer.kernel[2];
  const std::int64_t channels = layer.in_channels / layer.groups, outputs = layer.out_channels / layer.groups;
  std::vector<float> raw = numbered(layer.in_channels * outputs * points);
  for (float& value : raw) value = (value + 0x1p20f) * (static_cast<int>(value) % 3 == 0 ? -1.0f : 1.0f);  // three terms
  const OverlapWeights form(layer, terms, kScale, kernels);
  CHECK(form.terms() == terms);
  REQUIRE(form.channel_blocks() == (channels + kTermBlock - 1) / kTermBlock);
  REQUIRE(form.channel_rows() == points);
  REQUIRE(form.rows() == outputs * points);
  REQUIRE(form.matrices() == (outputs * points + kTermSquare - 1) / kTermSquare);
  CHECK(form.key() != OverlapWeights(layer, terms % kMostTerms + 1, kScale, kernels).key());
  CHECK(form.key() != TermWeights(layer, TermColumns::kChannels, terms, kScale, kernels).key());
  for (Dims LayerSpec::*const of_runs : {&LayerSpec::kernel, &LayerSpec::stride, &LayerSpec::dilation}) {
    LayerSpec other = layer;
    ++(other.*of_runs)[2];
    CHECK(form.key() != OverlapWeights(other, terms, kScale, kernels).key());
  }

  const std::vector<std::uint16_t> packed = packed_once(form, raw);
  const std::size_t count = packed.size();

  // Every position of the kernel is in one run, where its residue and its shift say; the last height comes first.
  std::vector<Dims> position;
  const OverlapRun* before = nullptr;
  for (const OverlapRun& run : form.runs()) {
    REQUIRE(run.first == static_cast<std::int64_t>(position.size()));
    REQUIRE(!run.shift.empty());
    if (before != nullptr) {
      const bool later = run.kd != before->kd   ? run.kd > before->kd
                         : run.kh != before->kh ? run.kh < before->kh
                                                : run.residue > before->residue;
      CHECK(later);
    }
    before = &run;
    for (std::size_t t = 0; t < run.shift.size(); ++t) {
      if (t > 0) REQUIRE(run.shift[t] > run.shift[t - 1]);
      const std::int64_t reach = run.residue + run.shift[t] * layer.stride[2];
      REQUIRE(reach % layer.dilation[2] == 0);
      CHECK(&form.run_of(static_cast<std::int64_t>(position.size())) == &run);
      position.push_back({run.kd, run.kh, reach / layer.dilation[2]});
    }
    REQUIRE(run.residue < layer.stride[2]);
  }
  REQUIRE(static_cast<std::int64_t>(position.size()) == points);
  std::vector<int> met(static_cast<std::size_t>(points));
  for (const Dims& k : position) {
    for (int d = 0; d < kSpatialDims; ++d) REQUIRE(k[d] < layer.kernel[d]);
    ++met[static_cast<std::size_t>((k[0] * layer.kernel[1] + k[1]) * layer.kernel[2] + k[2])];
  }
  CHECK(std::all_of(met.begin(), met.end(), [](int n) { return n == 1; }));

  std::size_t checked = 0, wrong = 0;
  for (std::int64_t g = 0; g < layer.groups; ++g) {
    for (std::int64_t row = 0; row < form.matrices() * kTermSquare; ++row) {
      for (std::int64_t c = 0; c < form.channel_blocks() * kTermBlock; ++c) {
        float value = 0.0f;
        if (row < form.rows() && c < channels) {
          const Dims& k = position[static_cast<std::size_t>(row % points)];
          const std::int64_t at = ((g * channels + c) * outputs + row / points) * points;
          value = raw[static_cast<std::size_t>(at + (k[0] * layer.kernel[1] + k[1]) * layer.kernel[2] + k[2])] * kScale;
        }
        for (int k = 0; k < terms; ++k, ++checked) {
          const std::int64_t at = form.offset(g, row / kTermSquare) + (c / kTermBlock * terms + k) * kTermElements +
                                  row % kTermSquare * kTermBlock + c % kTermBlock;
          wrong += packed[static_cast<std::size_t>(at)] != term_of(value, k);
        }
      }
    }
  }
  CHECK(wrong == 0);
  CHECK(checked == count);
}

TEST_CASE("overlap weights: every weight's terms in the row of its position, padding is zero, one task writes each") {
  TermKernels by_definition{};
  by_definition.split = split_by_definition;
  std::vector<const TermKernels*> kernels{&by_definition};
  for (const Isa isa : cpu_info().supported) {
    if (const KernelTable* table = kernel_table(isa); table->terms != nullptr) kernels.push_back(table->terms);
  }
  for (const LayerSpec& layer :
       {layer_of(1, 32, 16, {1, 2, 2}, {1, 1, 1}, {1, 1, 1}), layer_of(2, 20, 3, {1, 4, 4}, {1, 2, 2}, {1, 1, 1}),
        layer_of(3, 33, 5, {2, 3, 4}, {2, 2, 3}, {1, 1, 2}), layer_of(1, 70, 7, {1, 3, 3}, {1, 2, 2}, {1, 3, 1}),
        layer_of(1, 65, 33, {1, 1, 2}, {1, 1, 5}, {1, 1, 1}),  // residues without taps
        layer_of(1, 40, 2, {3, 1, 5}, {9, 1, 4}, {4, 1, 2}), layer_of(1, 1, 1, {1, 1, 1}, {1, 1, 1}, {1, 1, 1}),
        layer_of(2, 31, 2, {1, 5, 7}, {1, 3, 6}, {1, 2, 3}), layer_of(1, 64, 1, {1, 9, 9}, {1, 2, 2}, {1, 1, 1})}) {
    for (const TermKernels* const split : kernels) {
      for (int terms = 1; terms <= kMostTerms; ++terms) {
        INFO("outputs " << layer.out_channels << " kernel width " << layer.kernel[2] << " terms " << terms);
        check_overlap_weights(layer, terms, *split);
      }
    }
  }
}

TEST_CASE("position weights: every weight once, in columns of position and channel, padding is zero") {
  for (const auto& [in_channels, out_channels, kh, kw] :
       std::vector<std::array<std::int64_t, 4>>{{5, 3, 4, 4}, {1, 1, 1, 2}, {7, 4, 5, 5}, {3000, 2, 3, 4}, {64, 3, 9, 9}}) {
    for (const std::int64_t lanes : {4, 8, 16}) {
      LayerSpec layer;
      layer.in_channels = in_channels;
      layer.out_channels = out_channels;
      layer.kernel = {1, kh, kw};
      const PositionWeights form(layer, 3 * lanes, lanes);
      std::vector<float> raw(static_cast<std::size_t>(in_channels * out_channels * kh * kw));
      for (std::size_t i = 0; i < raw.size(); ++i) raw[i] = static_cast<float>(i + 1);
      FloatArray packed(form.elements());
      std::fill(packed.data(), packed.data() + packed.count(), std::nanf(""));
      pack_all(form, raw.data(), packed.data());
      INFO("kernel " << kh << " x " << kw << ", " << in_channels << " to " << out_channels << ", vectors of " << lanes);
      CHECK(form.columns() == kh * kw * out_channels);
      int wrong = 0;
      for (const Panel& panel : form.panels()) {
        for (std::int64_t c = 0; c < in_channels; ++c) {
          for (std::int64_t i = 0; i < panel.width; ++i) {
            const std::int64_t column = panel.first + i, co = column % out_channels, position = column / out_channels;
            const float expected =
                i < panel.rows ? raw[static_cast<std::size_t>((c * out_channels + co) * kh * kw + position)] : 0.0f;
            wrong += packed.data()[form.offset(panel) + c * panel.width + i] != expected;
          }
        }
      }
      CHECK(wrong == 0);
    }
  }
}

TEST_CASE("packed input: both orders, both memory formats, halos are zero") {
  for (const Isa isa : cpu_info().supported) {
    const TransposeFn transpose = kernel_table(isa)->transpose;
    for (const MemoryFormat format : {MemoryFormat::kContiguous, MemoryFormat::kChannelsLast}) {
      Problem p;
      p.layer.rank = 3;
      p.layer.groups = 2;
      p.layer.in_channels = 2 * 5;
      p.call.batch = 2;
      p.call.in = {3, 4, 19};
      p.call.format = format;
      const std::vector<float> src = numbered(p.src_elements());
      const auto value = [&](std::int64_t n, std::int64_t c, std::int64_t d, std::int64_t h, std::int64_t w) {
        if (d < 0 || h < 0 || w < 0 || d >= 3 || h >= 4 || w >= 19) return 0.0f;
        const std::int64_t at = format == MemoryFormat::kContiguous ? (((n * 10 + c) * 3 + d) * 4 + h) * 19 + w
                                                                    : (((n * 3 + d) * 4 + h) * 19 + w) * 10 + c;
        return src[static_cast<std::size_t>(at)];
      };
      for (const Dims& first : {Dims{-1, -2, -3}, Dims{0, 0, 0}, Dims{2, 3, 15}, Dims{-5, 1, 2}, Dims{0, 0, 40}}) {
        for (const std::int64_t width : {std::int64_t{9}, std::int64_t{31}}) {
          const InputBox box{first, {3, 4, width}};
          const InputView view = input_view(p, src.data(), 1, 1);
          std::vector<float> pixels(static_cast<std::size_t>(3 * 4 * width * 7), -1.0f);
          pack_pixels(view, box, 7, transpose, pixels.data());
          // [channel][depth][row][column], and [depth][row][channel][column] in whole lines.
          const std::int64_t row = width + 1, line = round_up(width, 16);
          const Dims layouts[] = {{4 * row, row, 12 * row}, {20 * line, 5 * line, line}};
          for (const auto& [stride_d, stride_h, stride_c] : layouts) {
            const std::int64_t floats = 60 * std::max(row, line);
            FloatArray planes(floats);
            std::fill(planes.data(), planes.data() + floats, -1.0f);
            pack_planes(view, box, stride_d, stride_h, stride_c, *kernel_table(isa), planes.data());
            int written = 0;
            for (std::int64_t c = 0; c < 5; ++c) {
              for (std::int64_t d = 0; d < 3; ++d) {
                for (std::int64_t h = 0; h < 4; ++h) {
                  for (std::int64_t w = 0; w < width; ++w) {
                    const float expected = value(1, 5 + c, first[0] + d, first[1] + h, first[2] + w);
                    REQUIRE(planes.data()[d * stride_d + h * stride_h + c * stride_c + w] == expected);
                    REQUIRE(pixels[static_cast<std::size_t>(((d * 4 + h) * width + w) * 7 + c)] == expected);
                  }
                }
              }
            }
            for (std::int64_t i = 0; i < floats; ++i) written += planes.data()[i] != -1.0f;
            CHECK(written == 60 * width);
          }
        }
      }
    }
  }
}

TEST_CASE("row programs take every weight of every output channel once, where its tap is") {
  for (const std::int64_t stride : {1, 2, 3}) {
    for (const std::int64_t dilation : {1, 2}) {
      for (const std::int64_t pad : {0, 1, 2}) {
        for (const bool join : {false, true}) {
          Problem p;
          p.layer = layer_of(3, 2, 7, {2, 3, 4}, {1, 2, stride}, {1, 1, dilation});
          p.call.in = {3, 4, 9};
          p.call.pad_begin = {0, 1, pad};
          p.call.out = {4, 8, 8 * stride + dilation * 3 + 1 - pad};
          const PhaseSet phases = make_phases(p);
          const RowWeights form(p, phases, join, {4, 2, 1});
          const auto& blocks = form.blocks();
          REQUIRE(blocks.size() == 3);
          for (std::size_t b = 0; b < 3; ++b) REQUIRE((blocks[b].outputs == 4 >> b && blocks[b].first == 8 - (8 >> b)));
          const std::vector<float> raw = numbered(p.weights_elements());
          std::vector<float> packed(static_cast<std::size_t>(form.elements()));
          pack_all(form, raw.data(), packed.data());
          CHECK(same_bits(pack_by_tasks(form, raw), packed));
          REQUIRE(form.channel_elements() == 2 * 24);
          const std::int64_t phases_w = phases.dim[2].count();
          std::vector<int> uses(raw.size());
          for (std::int64_t channel = 0; channel < p.layer.out_channels; ++channel) {
            const std::size_t b = channel % 7 < 4 ? 0 : channel % 7 < 6 ? 1 : 2;
            const std::int64_t block = channel / 7 * 7 + blocks[b].first;
            std::size_t index = 0;
            for (const Phase1d& phase_d : phases.dim[0].phases) {
              for (const Phase1d& phase_h : phases.dim[1].phases) {
                const RowProgram& program = form.programs()[index++];
                const auto check = [&](const RowTap& tap, std::int64_t f, std::int64_t factor) {
                  const std::int64_t at = (tap.weights + factor) * blocks[b].outputs + channel - block;
                  const float value = packed[static_cast<std::size_t>(block * form.channel_elements() + at)];
                  const std::int64_t flat = static_cast<std::int64_t>(value) - 1;  // raw[i] = i + 1
                  ++uses[static_cast<std::size_t>(flat)];
                  REQUIRE(flat / 24 % 7 == channel % 7);
                  REQUIRE(flat / 24 / 7 == channel / 7 * 2 + tap.channel);
                  const Dims k{flat / 12 % 2, flat / 4 % 3, flat % 4};
                  const Dims first{phase_d.first, phase_h.first, phases.dim[2].phases[static_cast<std::size_t>(f)].first};
                  for (int d = 0; d < kSpatialDims; ++d) {
                    REQUIRE(first[d] + p.call.pad_begin[d] - k[d] * p.layer.dilation[d] ==
                            tap.offsets[static_cast<std::size_t>(d)] * p.layer.stride[d]);
                  }
                };
                std::size_t t = 0;
                for (; t < static_cast<std::size_t>(program.joint); ++t) {
                  for (std::int64_t f = 0; f < phases_w; ++f) check(program.taps[t], f, f);
                }
                REQUIRE((join || t == 0));
                for (std::int64_t f = 0; f < phases_w; ++f) {
                  for (std::int64_t n = program.singles[static_cast<std::size_t>(f)]; n > 0; --n, ++t) {
                    check(program.taps[t], f, 0);
                  }
                }
                REQUIRE(t == program.taps.size());
              }
            }
          }
          for (const int count : uses) REQUIRE(count == 1);
        }
      }
    }
  }
}

TEST_CASE("pixel weights: panels of output channels, with the channels of their groups") {
  const LayerSpec layer = layer_of(20, 3, 5, {2, 3, 4}, {1, 2, 1}, {1, 1, 1});  // 3 to 5 channels
  const PixelWeights form(layer, 16);
  REQUIRE(form.elements() == 7 * 24 * 3 * 16);
  const std::vector<float> raw = numbered(60 * 5 * 24);
  const std::vector<float> packed = pack_by_tasks(form, raw);
  std::size_t wrong = 0;
  for (std::size_t c = 0; c < 7 * 16; ++c) {
    for (std::size_t k = 0; k < 24; ++k) {
      for (std::size_t i = 0; i < 3; ++i) {
        const float expected = c < 100 ? raw[((c / 5 * 3 + i) * 5 + c % 5) * 24 + k] : 0.0f;
        wrong += packed[((c / 16 * 24 + k) * 3 + i) * 16 + c % 16] != expected;
      }
    }
  }
  CHECK(wrong == 0);
}

TEST_CASE("pixel weights: channels next to each other") {
  const LayerSpec layer = layer_of(9000, 1, 1, {2, 3, 4}, {1, 2, 1}, {1, 1, 1});
  const PixelWeights form(layer, 9000);
  REQUIRE(form.tasks() >= 3);
  const std::vector<float> raw = numbered(9000 * 24);
  const std::vector<float> packed = pack_by_tasks(form, raw);
  std::size_t wrong = 0;
  for (std::size_t k = 0; k < 24; ++k) {
    for (std::size_t c = 0; c < 9000; ++c) wrong += packed[k * 9000 + c] != raw[c * 24 + k];
  }
  CHECK(wrong == 0);
}

TEST_CASE("joined rows: the end of the old ones, then the chunk") {
  const RowJoin join{5, 2, 20};  // long enough for both ways to copy
  std::vector<float> from(3 * 5), chunk(3 * 20);
  std::iota(from.begin(), from.end(), 1.0f);
  std::iota(chunk.begin(), chunk.end(), 100.0f);
  std::vector<float> to(3 * 22, -1.0f);
  join_rows(join, from.data(), chunk.data(), to.data(), 1, 2);
  for (int i = 0; i < 22; ++i) CHECK(to[static_cast<std::size_t>(i)] == -1.0f);  // not asked for
  join_rows(join, from.data(), chunk.data(), to.data(), 0, 1);
  for (std::size_t r = 0; r < 3; ++r) {
    for (std::size_t i = 0; i < 2; ++i) CHECK(to[r * 22 + i] == from[r * 5 + 3 + i]);
    for (std::size_t i = 0; i < 20; ++i) CHECK(to[r * 22 + 2 + i] == chunk[r * 20 + i]);
  }
}

}  // namespace
}  // namespace convtranspose
