#include "algorithms/depthwise_groups.h"

#include <algorithm>
#include <cstring>
#include <vector>

#include "algorithms/cost_model.h"
#include "algorithms/finisher.h"
#include "algorithms/limits.h"
#include "algorithms/streaming.h"
#include "pack/pixel_weights.h"
#include "problem/checked.h"
#include "problem/phases.h"

namespace convtranspose {
namespace {

constexpr std::int64_t kPanel = 16;        // output channels that are computed together: a line of memory of each pixel
constexpr std::int64_t kLeastColumns = 8;  // not fewer than a kernel computes at once
constexpr double kTaskCycles = 100000.0;
constexpr double kCallOverhead = 40.0;  // cycles of a window kernel call
constexpr double kProduct = 0.65;       // of a product of vectors, with its share of a load
constexpr double kLoneProduct = 1.0;    // of one that loads a vector for itself alone
constexpr double kVectorStore = 4.0;    // of an output vector, with its epilogue
constexpr double kSpread = 2.0;         // of a vector, with its part of waiting for the input
constexpr double kShortVector = 0.7;    // of all these but a call, where a vector is less than a line of memory
// Second-level caches that an output fills before it passes by them: its lines are stored one by one, far apart, so that
// nothing fetches them ahead.
constexpr double kStreamLines = 1.0;
constexpr float kZeros[kPanel] = {};

// Outputs of one phase along the width or of two neighbouring ones, that a window kernel computes together: positions
// [begin, end) of each.
struct Windows {
  std::int64_t first;  // phase,
  int phases;          // and how many
  int taps[2];         // of a step
  WindowFn fn;
  std::int64_t begin, end;
};

// Whether two neighbouring phases go together: one or two taps of each to a step.
bool join(const Phase1d& a, const Phase1d& b) {
  if (a.taps.empty() || b.taps.empty()) return false;
  const std::int64_t shift = b.taps[0].offset - a.taps[0].offset;
  if (shift != 0 && shift != 1) return false;
  const std::size_t more = shift == 0 ? a.taps.size() : b.taps.size(), less = shift == 0 ? b.taps.size() : a.taps.size();
  return more == less ? more == 1 || more % 2 == 0 : more == 2 && less == 1;
}

// All phases of a row. `neighbours`: taps of a phase read neighbouring pixels.
std::vector<Windows> list_windows(const KernelTable& table, const PhaseSet1d& set, bool neighbours) {
  std::vector<Windows> list;
  const auto alone = [&](std::int64_t f, std::int64_t begin) {
    const Phase1d& phase = set.phases[static_cast<std::size_t>(f)];
    int taps = 1;
    if (neighbours && !phase.taps.empty()) taps = phase.taps.size() % 3 == 0 ? 3 : phase.taps.size() % 2 == 0 ? 2 : 1;
    if (begin < phase.size) list.push_back({f, 1, {taps, 0}, table.windows[0].fn[0][taps - 1], begin, phase.size});
  };
  for (std::int64_t f = 0; f < set.count(); ++f) {
    const Phase1d* const phase = &set.phases[static_cast<std::size_t>(f)];
    if (!neighbours || f + 1 == set.count() || !join(phase[0], phase[1])) {
      alone(f, 0);
      continue;
    }
    const auto taps = [&](int i) { return static_cast<int>(std::min<std::size_t>(2, phase[i].taps.size())); };
    const std::int64_t shift = phase[1].taps[0].offset - phase[0].taps[0].offset;
    list.push_back({f, 2, {taps(0), taps(1)}, table.windows[1].fn[shift][taps(0) + taps(1) - 2], 0, phase[1].size});
    alone(f, phase[1].size);
    ++f;
  }
  return list;
}

// A block: one position along the depth x some rows x some columns of a panel of output channels of one image. Row by row,
// what a row of outputs reads is spread, in place of what no further one does.
struct Geometry {
  std::int64_t rows = 1;
  std::int64_t columns = 1;
  Dims box{1, 1, 1};                        // input positions that a row reads
  std::int64_t stride_w = 0, stride_h = 0;  // floats from one of these to the next, from a row to the next
  std::int64_t spread_rows() const { return box[0] * box[1]; }
  std::int64_t floats() const { return spread_rows() * stride_h; }
};

Geometry geometry_of(const Problem& problem, const PhaseSet& phases, std::int64_t rows, std::int64_t columns) {
  Geometry g;
  g.rows = rows;
  g.columns = columns;
  g.box = {1 + phases.dim[0].halo(), 1 + phases.dim[1].halo(), columns + phases.dim[2].halo()};
  g.stride_w = problem.in_channels_per_group() * kPanel;
  g.stride_h = g.box[2] * g.stride_w;
  return g;
}

// The spread rows, and where they are.
std::int64_t workspace_bytes(const Geometry& g) {
  return g.floats() * static_cast<std::int64_t>(sizeof(float)) + g.spread_rows() * static_cast<std::int64_t>(sizeof(float*));
}

Geometry make_geometry(const PlanRequest& request, const PhaseSet& phases, std::int64_t panel_floats) {
  const Problem& problem = request.problem;
  const std::int64_t width = phases.dim[2].max_size(), height = phases.dim[1].max_size();
  const auto cut = [&](std::int64_t rows, std::int64_t columns) { return geometry_of(problem, phases, rows, columns); };
  const auto bytes = [](std::int64_t floats) { return floats * static_cast<std::int64_t>(sizeof(float)); };
  // What a row of outputs reads stays in the first cache, beside the weights,
  const Geometry one = cut(1, 1);
  const std::int64_t room = static_cast<std::int64_t>(request.caches.l1d) * 3 / 4 - bytes(panel_floats);
  const std::int64_t fit = room / bytes(one.spread_rows() * one.stride_w) - phases.dim[2].halo();
  const std::int64_t most = std::max(kLeastColumns, fit / kLeastColumns * kLeastColumns);
  std::int64_t columns =
      fit >= width ? width : std::min(width, round_up(ceil_div(width, ceil_div(width, most)), kLeastColumns));
  while (columns > 1 && workspace_bytes(cut(1, columns)) > request.workspace_limit) columns = ceil_div(columns, 2);
  // and the inputs of all panels in the second.
  const std::int64_t row_bytes = bytes(problem.call.in[2] * problem.layer.in_channels);
  std::int64_t rows = std::clamp<std::int64_t>(static_cast<std::int64_t>(request.caches.l2) / 2 / row_bytes, 1, height);
  // Enough blocks for many threads.
  const std::int64_t others = problem.call.batch * phases.dim[0].max_size() * ceil_div(width, columns) *
                              ceil_div(problem.layer.out_channels, kPanel);
  rows = std::min(rows, ceil_div(height, ceil_div(kWantedTasks, others)));
  return cut(ceil_div(height, ceil_div(height, rows)), columns);
}

// Where a vector is a whole line: in parts, at different times, they would pass by the caches slowly.
Streaming when_streamed(const PlanRequest& request) {
  if (request.kernels->lanes != kPanel || request.problem.layer.out_channels % kPanel != 0) return {};
  const auto larger = [&](double caches) { return streams(request.problem, *request.kernels, request.caches, caches); };
  return {larger(kStreamLines), larger(kStreamFresh)};
}

class DepthwiseGroupsExecution final : public Execution {
 public:
  DepthwiseGroupsExecution(const PlanRequest& request, PixelWeights form, PhaseSet all_phases, const Geometry& geometry)
      : problem_(request.problem),
        finisher_(request.problem, *request.kernels),
        table_(request.kernels),
        form_(std::move(form)),
        phases_(std::move(all_phases)),
        windows_(list_windows(*table_, phases_.dim[2], problem_.layer.dilation[2] == 1)),
        geometry_(geometry),
        streaming_(when_streamed(request)) {
    list_steps();
    blocks_h_ = ceil_div(phases_.dim[1].max_size(), geometry_.rows);
    blocks_w_ = ceil_div(phases_.dim[2].max_size(), geometry_.columns);
    blocks_ = problem_.call.batch * phases_.dim[0].max_size() * blocks_h_ * blocks_w_ * form_.panels();
    const double all = cycles();
    const auto worth = static_cast<std::int64_t>(kTaskCycles * static_cast<double>(blocks_) / all);
    task_blocks_ = std::clamp<std::int64_t>(worth, 1, std::max<std::int64_t>(1, blocks_ / kWantedTasks));
    for (const Windows& windows : windows_) kernels.set(number(windows));
    estimated_seconds = all / cost::kClock;
    phases = phases_.count();
    blocking = {{"rows", geometry_.rows}, {"columns", geometry_.columns}, {"streamed", streaming_.always ? 1 : 0}};
  }

  const PackedForm* packed_form() const override { return &form_; }
  std::int64_t tasks(int) const override { return ceil_div(blocks_, task_blocks_); }
  std::size_t workspace_bytes() const override {
    return static_cast<std::size_t>(convtranspose::workspace_bytes(geometry_));
  }

  void run_task(const RunArgs& args, int, std::int64_t task, Workspace workspace) const noexcept override {
    Scratch scratch;
    scratch.spread = reinterpret_cast<float*>(workspace.data);
    scratch.rows = reinterpret_cast<float**>(scratch.spread + geometry_.floats());
    const std::int64_t end = std::min((task + 1) * task_blocks_, blocks_);
    for (std::int64_t index = task * task_blocks_; index < end; ++index) {
      const Block block = block_at(index);
      const float* const src = first_input(args, block);
      const std::ptrdiff_t ahead = index + 1 < blocks_ ? first_input(args, block_at(index + 1)) - src : 0;
      run_block(args, block, src, ahead, scratch);
    }
    for (const Windows& windows : windows_) workspace.used->set(number(windows));
    if (streams_now(args)) table_->stream_fence();
  }

 private:
  struct Block {
    std::int64_t image, d, h, w, rows, columns, panel;
  };
  struct Scratch {
    float* spread;
    float** rows;  // [depth][height], those that a row of outputs reads
  };

  std::size_t number(const Windows& windows) const {
    return static_cast<std::size_t>(windows_number(*table_, windows.phases - 1));
  }

  // The steps of all windows, of every phase along the depth and the height: by channels, then by kernel positions.
  void list_steps() {
    for (const Phase1d& d : phases_.dim[0].phases) {
      for (const Phase1d& h : phases_.dim[1].phases) {
        for (const Windows& windows : windows_) {
          for (std::int64_t c = 0; c < problem_.in_channels_per_group(); ++c) list_taps(d, h, windows, c * kPanel);
          step_ends_.push_back(steps_.size());
        }
      }
    }
  }

  void list_taps(const Phase1d& d, const Phase1d& h, const Windows& windows, std::int64_t channel) {
    const Dims& kernel = problem_.layer.kernel;
    const Phase1d* const w = &phases_.dim[2].phases[static_cast<std::size_t>(windows.first)];
    for (const Tap1d& td : d.taps) {
      for (const Tap1d& th : h.taps) {
        const auto weights = [&](int phase, std::size_t step) {
          const std::size_t t = step * static_cast<std::size_t>(windows.taps[phase]);
          const std::int64_t point = (td.index * kernel[1] + th.index) * kernel[2] + w[phase].taps[t].index;
          return channel + point * form_.point_elements();
        };
        const auto first_taps = static_cast<std::size_t>(windows.taps[0]);
        for (std::size_t i = 0; i * first_taps < w[0].taps.size(); ++i) {
          const std::int64_t column = w[0].taps[i * first_taps].offset - phases_.dim[2].min_offset;
          steps_.push_back(
              {(td.offset - phases_.dim[0].min_offset) * geometry_.box[1] + th.offset - phases_.dim[1].min_offset,
               channel + column * geometry_.stride_w,
               {weights(0, i), windows.phases > 1 ? weights(1, i) : 0}});
        }
      }
    }
  }

  // All panels of some pixels come one after the other, while these are in the second cache.
  Block block_at(std::int64_t index) const {
    Block block;
    block.panel = index % form_.panels();
    index /= form_.panels();
    block.w = index % blocks_w_ * geometry_.columns;
    index /= blocks_w_;
    block.h = index % blocks_h_ * geometry_.rows;
    index /= blocks_h_;
    block.d = index % phases_.dim[0].max_size();
    block.image = index / phases_.dim[0].max_size();
    block.rows = std::min(geometry_.rows, phases_.dim[1].max_size() - block.h);
    block.columns = std::min(geometry_.columns, phases_.dim[2].max_size() - block.w);
    return block;
  }

  std::int64_t first_group(const Block& block) const { return block.panel * kPanel / problem_.out_channels_per_group(); }

  // Where the channels of a block's panel stand at the first position of its box, which may lie outside the input.
  const float* first_input(const RunArgs& args, const Block& block) const {
    const Dims& in = problem_.call.in;
    const std::int64_t position =
        ((block.image * in[0] + block.d + phases_.dim[0].min_offset) * in[1] + block.h + phases_.dim[1].min_offset) * in[2] +
        block.w + phases_.dim[2].min_offset;
    return args.src + position * problem_.layer.in_channels + first_group(block) * problem_.in_channels_per_group();
  }

  void run_block(const RunArgs& args, const Block& block, const float* src, std::ptrdiff_t ahead,
                 const Scratch& scratch) const {
    const Dims& out = problem_.call.out;
    const std::int64_t phases_h = phases_.dim[1].count();
    const std::int64_t halo = phases_.dim[1].halo();
    const std::int64_t row_floats = out[2] * problem_.layer.out_channels;
    WindowArgs call = window_args(args, block, scratch.rows);
    for (std::int64_t row = 0; row < geometry_.spread_rows(); ++row) {
      scratch.rows[row] = scratch.spread + row * geometry_.stride_h;
    }
    SpreadArgs spread = spread_args(block, ahead);
    for (std::int64_t h = 0; h < halo; ++h) spread_row(block, src, h, scratch.rows + h, &spread);
    for (std::int64_t r = 0; r < block.rows; ++r) {
      if (r > 0) {
        for (std::int64_t d = 0; d < geometry_.box[0]; ++d) {
          float** const rows = scratch.rows + d * geometry_.box[1];
          std::rotate(rows, rows + 1, rows + geometry_.box[1]);
        }
      }
      spread_row(block, src, r + halo, scratch.rows + halo, &spread);
      for (std::int64_t fd = 0; fd < phases_.dim[0].count(); ++fd) {
        const std::int64_t od = block.d * problem_.layer.stride[0] + fd;
        if (od >= out[0]) break;
        for (std::int64_t fh = 0; fh < phases_h; ++fh) {
          const std::int64_t oh = (block.h + r) * problem_.layer.stride[1] + fh;
          if (oh >= out[1]) break;
          run_row(args, block, fd * phases_h + fh,
                  args.dst + ((block.image * out[0] + od) * out[1] + oh) * row_floats + block.panel * kPanel, &call);
        }
      }
    }
  }

  // What all calls for a block have in common.
  WindowArgs window_args(const RunArgs& args, const Block& block, const float* const* rows) const {
    const std::int64_t all_channels = problem_.layer.out_channels;
    const std::int64_t stride = problem_.layer.stride[2];
    WindowArgs call;
    call.rows = rows;
    call.src_stride = geometry_.stride_w;
    call.weights = args.weights + block.panel * form_.panel_elements();
    call.tap_stride = stride * form_.point_elements();
    call.channels = std::min(kPanel, all_channels - block.panel * kPanel);
    call.dst_stride = stride * all_channels;
    call.dst_phase = all_channels;
    call.bias = args.bias == nullptr ? kZeros : args.bias + block.panel * kPanel;
    call.epilogue = &finisher_.epilogue(args);
    call.stream = streams_now(args);
    return call;
  }

  bool streams_now(const RunArgs& args) const {
    return streaming_.now(args.fresh) && is_line(args.dst) && !finisher_.follows(args);
  }

  // What all calls for a block have in common.
  SpreadArgs spread_args(const Block& block, std::ptrdiff_t ahead) const {
    const std::int64_t outputs = problem_.out_channels_per_group();
    SpreadArgs call;
    call.src_stride = problem_.layer.in_channels;
    call.inputs = problem_.in_channels_per_group();
    call.outputs = outputs;
    call.groups = std::min(std::max<std::int64_t>(1, kPanel / outputs), problem_.layer.groups - first_group(block));
    call.ahead = ahead;
    return call;
  }

  // Row h of a block's box, at position d along the depth to rows[d * box[1]].
  void spread_row(const Block& block, const float* src, std::int64_t h, float* const* rows, SpreadArgs* call) const {
    const Dims& in = problem_.call.in;
    const std::int64_t column = block.w + phases_.dim[2].min_offset;
    const std::int64_t columns = block.columns + phases_.dim[2].halo();
    const std::int64_t left = std::clamp<std::int64_t>(-column, 0, columns);
    const std::int64_t right = std::clamp<std::int64_t>(in[2] - column, left, columns);
    const std::int64_t ih = block.h + phases_.dim[1].min_offset + h;
    for (std::int64_t d = 0; d < geometry_.box[0]; ++d) {
      const std::int64_t id = block.d + phases_.dim[0].min_offset + d;
      float* const row = rows[d * geometry_.box[1]];
      const bool inside = id >= 0 && id < in[0] && ih >= 0 && ih < in[1];
      const std::int64_t first = inside ? left : columns, last = inside ? right : columns;
      zero(row, first);
      zero(row + last * geometry_.stride_w, columns - last);
      if (first == last) continue;
      call->src = src + ((d * in[1] + h) * in[2] + first) * call->src_stride;
      call->pixels = last - first;
      call->dst = row + first * geometry_.stride_w;
      table_->spread(call);
    }
  }

  void zero(float* dst, std::int64_t positions) const {
    if (positions > 0) std::memset(dst, 0, static_cast<std::size_t>(positions * geometry_.stride_w) * sizeof(float));
  }

  // The outputs of a block in the row that begins at dst.
  void run_row(const RunArgs& args, const Block& block, std::int64_t phases_dh, float* dst, WindowArgs* call) const {
    std::size_t list = static_cast<std::size_t>(phases_dh) * windows_.size();
    for (const Windows& windows : windows_) {
      const std::size_t first_step = list == 0 ? 0 : step_ends_[list - 1];
      call->steps = steps_.data() + first_step;
      call->step_count = static_cast<std::int64_t>(step_ends_[list++] - first_step);
      const std::int64_t begin = std::max(windows.begin, block.w), end = std::min(windows.end, block.w + block.columns);
      if (begin >= end) continue;
      call->src = (begin - block.w) * geometry_.stride_w;
      call->pixels = end - begin;
      call->dst = dst + begin * call->dst_stride + windows.first * call->dst_phase;
      windows.fn(call);
      for (std::int64_t f = 0; f < windows.phases; ++f) {
        float* const finished = call->dst + f * call->dst_phase;
        finisher_.pixels(args, block.panel * kPanel, finished, call->dst_stride, finished - args.dst, call->pixels,
                         call->channels);
      }
    }
  }

  // Of a whole run.
  double cycles() const {
    const double vectors = static_cast<double>(kPanel / table_->lanes) * (table_->lanes < kPanel ? kShortVector : 1.0);
    const double rows = static_cast<double>(geometry_.rows), columns = static_cast<double>(geometry_.columns);
    const double spread_rows = static_cast<double>(geometry_.box[0] * (geometry_.rows + geometry_.box[1] - 1));
    double block = spread_rows * static_cast<double>(geometry_.stride_h / kPanel) * vectors * kSpread;
    std::size_t begin = 0, list = 0;
    for (const std::size_t end : step_ends_) {
      const Windows& windows = windows_[list++ % windows_.size()];
      const double taps = windows.taps[0] + windows.taps[1];
      const double products = static_cast<double>(end - begin) * taps;
      const double positions = std::min(columns, static_cast<double>(windows.end - windows.begin));
      block +=
          rows * (kCallOverhead +
                  positions * vectors * (windows.phases * kVectorStore + products * (taps > 1 ? kProduct : kLoneProduct)));
      begin = end;
    }
    return static_cast<double>(blocks_) * block;
  }

  Problem problem_;
  Finisher finisher_;
  const KernelTable* table_;
  PixelWeights form_;
  PhaseSet phases_;
  std::vector<Windows> windows_;  // of a row
  Geometry geometry_;
  Streaming streaming_;
  std::vector<WindowStep> steps_;
  std::vector<std::size_t> step_ends_;  // [phase along the depth][phase along the height][windows]
  std::int64_t blocks_h_, blocks_w_, blocks_;
  std::int64_t task_blocks_;
};

}  // namespace

bool spreads(const LayerSpec& layer) {
  const std::int64_t outputs = layer.out_channels / layer.groups;
  return kPanel % outputs == 0 || outputs % kPanel == 0;
}

std::unique_ptr<Execution> plan_depthwise_groups(const PlanRequest& request, Decline* decline) {
  PixelWeights form(request.problem.layer, kPanel);
  PhaseSet phases = make_phases(request.problem);
  const Geometry geometry = make_geometry(request, phases, form.panel_elements());
  auto execution = std::make_unique<DepthwiseGroupsExecution>(request, std::move(form), std::move(phases), geometry);
  if (lacks_workspace(request, execution->workspace_bytes(), "one position of a line of channels", decline)) return nullptr;
  return execution;
}

}  // namespace convtranspose
