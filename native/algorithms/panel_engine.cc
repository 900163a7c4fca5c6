#include "algorithms/panel_engine.h"

#include <algorithm>
#include <cstring>
#include <string>
#include <utility>

#include "algorithms/cost_model.h"
#include "problem/checked.h"

namespace convtranspose {
namespace {

constexpr std::int64_t kTransposePixels = 64;  // pixels transposed at a time for channels-last output
constexpr std::int64_t kTileSlack = 64;        // row stores read up to one vector beyond a phase
constexpr std::int64_t kFloatsPerLine = 16;
constexpr double kTransposedFloat = 0.45;    // cycles of an output of more than kMaxInterleaved phases
constexpr double kShortRow = 30.0;           // cycles of a row of outputs that is less than a vector
constexpr std::int64_t kStreamedRow = 1024;  // outputs of a row that go past the caches by way of scratch, at most

// When outputs pass by the caches. Where some of them have no product there is little to compute between the stores, and
// rows that do not begin on lines are worth their way through scratch.
Streaming row_streaming(const PlanRequest& request, const PhaseSet& phases) {
  const Problem& problem = request.problem;
  if (problem.call.format != MemoryFormat::kContiguous) return {};
  const bool gaps = has_gaps(phases);
  if (!gaps && problem.call.out[2] % kFloatsPerLine != 0) return {};
  return {streams(problem, *request.kernels, request.caches, gaps ? kStreamDense : kStreamSparse),
          streams(problem, *request.kernels, request.caches, kStreamFresh)};
}

}  // namespace

bool PanelEngine::joins_rows(const PlanRequest& request, const PhaseSet& phases) {
  const Streaming streaming = row_streaming(request, phases);
  return (streaming.always || streaming.fresh) && has_gaps(phases) && request.problem.call.out[2] % kFloatsPerLine != 0;
}

PanelEngine::PanelEngine(const PlanRequest& request, const PhaseSet& phases, TileKernels kernels, WeightLayout layout)
    : problem_(request.problem),
      finisher_(request.problem, *request.kernels),
      phases_(phases),
      table_(request.kernels),
      kernels_(std::move(kernels)),
      layout_(std::move(layout)),
      channels_(request.problem.in_channels_per_group()),
      streaming_(row_streaming(request, phases)),
      stream_weights_(cost::streamed_bytes(layout_.group_elements(), request.caches.l2) > 0) {}

void PanelEngine::set_source_strides(std::int64_t stride_d, std::int64_t stride_h, std::int64_t stride_c) {
  stride_c_ = stride_c;
  tap_offsets_ = TapOffsets(phases_, stride_d, stride_h, 1);
}

std::int64_t PanelEngine::tile_floats() const {
  const std::int64_t rows = layout_.widest_panel();
  return phases_.dim[2].count() * rows * pixel_stride_ + kTileSlack + std::max(kStreamedRow, rows * kTransposePixels);
}

PanelEngine::Unit PanelEngine::unit(std::int64_t index) const {
  const std::int64_t panels = static_cast<std::int64_t>(layout_.panels().size());
  const std::int64_t phases_h = phases_.dim[1].count();
  const std::int64_t phase_rows = phases_.dim[0].count() * phases_h;
  const bool by_phase = problem_.call.out[2] % kFloatsPerLine == 0;
  const std::int64_t panel = by_phase ? index % panels : index / phase_rows;
  const std::int64_t phase_row = by_phase ? index / panels : index % phase_rows;
  return {layout_.panels()[static_cast<std::size_t>(panel)], phase_row / phases_h, phase_row % phases_h};
}

void PanelEngine::compute(const float* weights, const float* block, std::int64_t group, const Unit& unit,
                          const PixelSegment* segments, std::int64_t segment_count, float* tile, Ahead* ahead,
                          KernelSet* used) const {
  const auto& [panel, phase_d, phase_h] = unit;
  const std::int64_t residue_d = phases_.dim[0].phases[phase_d].residue;
  const std::int64_t residue_h = phases_.dim[1].phases[phase_h].residue;
  for (std::int64_t fw = 0; fw < phases_.dim[2].count(); ++fw) {
    float* const phase_tile = tile + fw * panel.rows * pixel_stride_;
    const std::span<const std::ptrdiff_t> offsets = tap_offsets_.of(phase_d, phase_h, fw);
    if (offsets.empty()) {
      std::memset(phase_tile, 0, static_cast<std::size_t>(panel.rows * pixel_stride_) * sizeof(float));
      continue;
    }
    const std::int64_t tap_count = static_cast<std::int64_t>(offsets.size());
    const float* const panel_weights =
        weights + layout_.offset(group, residue_d, residue_h, panel, phases_.dim[2].phases[fw].residue);
    TileArgs args;
    args.tap_offset = offsets.data();
    args.row_offset = nullptr;
    args.src_channel_stride = stride_c_;
    args.taps = tap_count;
    args.tile_stride = pixel_stride_;
    for (std::int64_t c = 0; c < channels_; c += layout_.chunk()) {
      args.channels = std::min(layout_.chunk(), channels_ - c);
      args.weights = panel_weights + c * tap_count * panel.width;
      args.accumulate = c > 0;
      for (std::int64_t s = 0; s < segment_count; ++s) {
        const PixelSegment& segment = segments[s];
        const float* const src = block + segment.src + c * stride_c_;
        for (std::int64_t pixel = 0; pixel < segment.pixels;) {
          const TileKernel& kernel = kernels_.pick(panel.rows, segment.pixels - pixel);
          args.src = src + pixel;
          args.tile = phase_tile + segment.tile + pixel;
          args.prefetch = ahead->next(args.channels);
          kernel.fn(&args);
          used->set(kernels_.number(kernel));
          pixel += kernel.nr;
        }
      }
    }
  }
}

AheadRuns PanelEngine::weights_ahead(const float* weights, std::int64_t group, std::int64_t next) const {
  if (!stream_weights_ || next >= units()) return {};
  const auto [panel, phase_d, phase_h] = unit(next);
  // The phases along the width stand one behind the other.
  AheadRuns runs;
  runs.begin = weights + layout_.offset(group, phases_.dim[0].phases[phase_d].residue,
                                        phases_.dim[1].phases[phase_h].residue, panel, 0);
  for (std::int64_t fw = 0; fw < phases_.dim[2].count(); ++fw) {
    runs.floats += static_cast<std::int64_t>(tap_offsets_.of(phase_d, phase_h, fw).size()) * channels_ * panel.width;
  }
  return runs;
}

AheadRuns PanelEngine::outputs_ahead(const RunArgs& args, const Panel& panel, const OutputRun& first, std::int64_t rows,
                                     std::int64_t row_stride) const {
  if (streaming_.now(args.fresh) || problem_.call.format == MemoryFormat::kChannelsLast) return {};
  const std::int64_t stride_w = problem_.layer.stride[2];
  return {first_output(args, panel, first),
          std::min(first.pixels * stride_w, problem_.call.out[2] - first.j0 * stride_w),
          row_stride,
          rows,
          problem_.out_points(),
          panel.rows};
}

float* PanelEngine::first_output(const RunArgs& args, const Panel& panel, const OutputRun& run) const {
  const Dims& out = problem_.call.out;
  const std::int64_t channel = run.group * problem_.out_channels_per_group() + panel.first;
  return args.dst + (run.image * problem_.layer.out_channels + channel) * problem_.out_points() +
         (run.od * out[1] + run.oh) * out[2] + run.j0 * problem_.layer.stride[2];
}

void PanelEngine::store(const RunArgs& args, const Panel& panel, const OutputRun& run, float* tile,
                        LineStream* lines) const {
  if (problem_.call.format == MemoryFormat::kChannelsLast) {
    store_channels_last(args, panel, run, tile);
    return;
  }
  const Dims& out = problem_.call.out;
  const std::int64_t stride_w = problem_.layer.stride[2];
  const std::int64_t first_channel = run.group * problem_.out_channels_per_group() + panel.first;
  RowStoreArgs rows;
  rows.tile = tile + run.tile;
  rows.phase_stride = panel.rows * pixel_stride_;
  rows.phases = phases_.dim[2].count();
  rows.count = std::min(run.pixels * stride_w, out[2] - run.j0 * stride_w);
  rows.dst = first_output(args, panel, run);
  rows.bias = 0.0f;
  rows.epilogue = &finisher_.epilogue(args);
  if (args.bias != nullptr) {
    rows.biases = args.bias + first_channel;
    rows.bias_phase = 0;
    rows.bias_row = 1;
  }
  rows.rows = panel.rows;
  rows.tile_stride = pixel_stride_;
  rows.dst_stride = problem_.out_points();
  const bool stream = streaming_.now(args.fresh);
  const bool on_lines = is_line(rows.dst) && rows.dst_stride % kFloatsPerLine == 0 && !finisher_.follows(args);
  if (stream && !on_lines) {
    store_row_by_row(args, panel, first_channel, rows, tile, lines);
    return;
  }
  (stream ? table_->row_store_past : table_->row_store)(&rows);
  for (std::int64_t i = 0; i < panel.rows && finisher_.follows(args); ++i) {
    float* const dst = rows.dst + i * rows.dst_stride;
    finisher_.row(args, first_channel + i, dst, dst - args.dst, rows.count);
  }
}

void PanelEngine::store_row_by_row(const RunArgs& args, const Panel& panel, std::int64_t first_channel,
                                   const RowStoreArgs& rows, float* tile, LineStream* lines) const {
  RowStoreArgs row = rows;
  row.rows = 1;
  for (std::int64_t i = 0; i < rows.rows; ++i) {
    float* const dst = rows.dst + i * rows.dst_stride;
    const bool past = is_line(dst) && !finisher_.follows(args);
    const bool gathered = !past && row.count <= kStreamedRow && i < LineStream::kChannels;
    row.tile = rows.tile + i * rows.tile_stride;
    row.dst = gathered ? scratch(panel, tile) : dst;
    row.biases = rows.biases == nullptr ? nullptr : rows.biases + i;
    (past ? table_->row_store_past : table_->row_store)(&row);
    finisher_.row(args, first_channel + i, row.dst, dst - args.dst, row.count);
    if (gathered) lines->put(i, row.dst, row.count, dst);
  }
}

void PanelEngine::store_bias(const RunArgs& args, const Panel& panel, const OutputRun& run, std::int64_t rows, float* tile,
                             LineStream* lines) const {
  const std::int64_t stride_w = problem_.layer.stride[2];
  const std::int64_t first_channel = run.group * problem_.out_channels_per_group() + panel.first;
  const std::int64_t width = problem_.call.out[2];
  const std::int64_t count = std::min(run.pixels * stride_w, width - run.j0 * stride_w);
  const bool stream = streaming_.now(args.fresh) && count <= kStreamedRow;
  float* dst = first_output(args, panel, run);
  // Whole rows are one.
  const std::int64_t at_once = count == width ? std::clamp<std::int64_t>(kStreamedRow / width, 1, rows) : 1;
  for (std::int64_t i = 0; i < panel.rows; ++i, dst += problem_.out_points()) {
    const Epilogue& bounds = finisher_.epilogue(args);
    float value = 0.0f + (args.bias == nullptr ? 0.0f : args.bias[first_channel + i]);  // as a sum without products gives it
    if (value < bounds.lower) value = bounds.lower;
    if (value > bounds.upper) value = bounds.upper;
    const bool streamed = stream && i < LineStream::kChannels;
    for (std::int64_t r = 0; r < rows; r += at_once) {
      const std::int64_t floats = std::min(at_once, rows - r) * count;
      float* const to = dst + r * width;
      float* const row = streamed ? scratch(panel, tile) : to;
      std::fill(row, row + floats, value);
      finisher_.row(args, first_channel + i, row, to - args.dst, floats);
      if (streamed) lines->put(i, row, floats, to);
    }
  }
}

float* PanelEngine::scratch(const Panel& panel, float* tile) const {
  return tile + phases_.dim[2].count() * panel.rows * pixel_stride_ + kTileSlack;
}

void PanelEngine::store_channels_last(const RunArgs& args, const Panel& panel, const OutputRun& run, float* tile) const {
  const Dims& out = problem_.call.out;
  const std::int64_t stride_w = problem_.layer.stride[2];
  const std::int64_t first_channel = run.group * problem_.out_channels_per_group() + panel.first;
  const std::int64_t out_channels = problem_.layer.out_channels;
  float* const some_pixels = scratch(panel, tile);
  float zeros[64] = {};
  PixelStoreArgs store;
  store.tile = some_pixels;
  store.tile_stride = panel.rows;
  store.columns = panel.rows;
  store.dst_stride = stride_w * out_channels;
  store.bias = args.bias == nullptr ? zeros : args.bias + first_channel;
  store.epilogue = &finisher_.epilogue(args);
  float* const row = args.dst + ((run.image * out[0] + run.od) * out[1] + run.oh) * out[2] * out_channels + first_channel;
  for (std::int64_t fw = 0; fw < phases_.dim[2].count(); ++fw) {
    const std::int64_t pixels = std::min(run.pixels, phases_.dim[2].phases[fw].size - run.j0);
    for (std::int64_t j = 0; j < pixels; j += kTransposePixels) {
      store.rows = std::min(kTransposePixels, pixels - j);
      const TransposeArgs transpose{tile + fw * panel.rows * pixel_stride_ + run.tile + j,
                                    pixel_stride_,
                                    some_pixels,
                                    panel.rows,
                                    panel.rows,
                                    store.rows};
      table_->transpose(&transpose);
      store.dst = row + ((run.j0 + j) * stride_w + fw) * out_channels;
      table_->pixel_store(&store);
      finisher_.pixels(args, first_channel, store.dst, store.dst_stride, store.dst - args.dst, store.rows, store.columns);
    }
  }
}

KernelSet PanelEngine::kernels_for(std::int64_t pixels) const {
  KernelSet set;
  for (const Panel& panel : layout_.panels()) set |= kernels_.set_for(panel.rows, pixels);
  return set;
}

double PanelEngine::compute_cycles(std::int64_t pixels) const {
  const PhaseTotals totals = phase_totals(phases_);
  const double steps = static_cast<double>(channels_) * static_cast<double>(totals.taps);
  const std::int64_t calls = ceil_div(channels_, layout_.chunk()) * totals.reached;
  double cycles = 0.0;
  for (const Panel& panel : layout_.panels()) {
    cycles += kernels_.cycles(panel.rows, pixels, steps / static_cast<double>(std::max<std::int64_t>(calls, 1)));
  }
  return cycles * static_cast<double>(calls);
}

double PanelEngine::store_cycles(std::size_t cache_bytes) const {
  const double outputs = static_cast<double>(problem_.dst_elements());
  if (problem_.call.format == MemoryFormat::kContiguous) {
    const double rows = outputs / static_cast<double>(problem_.call.out[2]);
    return outputs * (cost::kStorePerFloat + (phases_.dim[2].count() > kMaxInterleaved ? kTransposedFloat : 0.0)) +
           (problem_.call.out[2] < kernels_.lanes() ? rows * kShortRow : 0.0);
  }
  // A pixel's channels are stored a panel of them after the other.
  const double pixels = static_cast<double>(problem_.call.batch) * static_cast<double>(problem_.layer.groups) *
                        static_cast<double>(problem_.out_points()) * static_cast<double>(layout_.panels().size());
  const bool beyond = outputs * sizeof(float) > static_cast<double>(cache_bytes);
  return outputs * (cost::kTransposePerFloat + cost::kStorePerFloat) +
         pixels * (beyond ? cost::kPixelStoreBeyond : cost::kPixelStore);
}

}  // namespace convtranspose
