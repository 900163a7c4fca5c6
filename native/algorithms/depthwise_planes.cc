#include "algorithms/depthwise_planes.h"

#include <algorithm>
#include <cmath>
#include <cstring>
#include <limits>

#include "algorithms/cost_model.h"
#include "algorithms/finisher.h"
#include "algorithms/limits.h"
#include "algorithms/streaming.h"
#include "pack/input.h"
#include "pack/row_weights.h"
#include "problem/checked.h"
#include "problem/phases.h"

namespace convtranspose {
namespace {

constexpr std::int64_t kFloatsPerLine = 16;
constexpr std::int64_t kFloatsPerPage = 1024;
constexpr std::int64_t kMaxColumns = 2048;
constexpr std::int64_t kMaxBlockBytes = 128 * 1024;  // of packed rows: a task is some ten microseconds
constexpr std::int64_t kChunkOutputs = 512;  // of a row, that go through scratch at a time: it stays in the first cache
constexpr std::int64_t kBlockChannels = 16;  // input channels of a block (channels last): a line of each pixel
constexpr double kTaskCycles = 100000.0;
constexpr double kRowOverhead = 20.0;             // cycles of a row
constexpr double kStepOverhead = 1.0;             // of a step of it
constexpr double kOutputVector = 1.5;             // of the epilogue
constexpr double kShortVector = 0.7;              // of a step, where a vector is less than a line of memory
constexpr cost::VectorLoad kRowPixels{2.0, 0.5};  // a few rows of each channel: they stay in the first cache
constexpr std::int64_t kMaxOutputs = 8;           // of a kernel
constexpr float kZeros[kMaxOutputs] = {};

const RowKernel& row_kernel(const KernelTable& table, std::int64_t phases, std::int64_t outputs) {
  const RowKernel* kernel = table.rows;
  while (kernel->phases != phases || kernel->outputs != outputs) ++kernel;
  return *kernel;
}

// Leaves sums as they are: for stores of what is already finished.
constexpr Epilogue kFinished{-std::numeric_limits<float>::infinity(), std::numeric_limits<float>::infinity()};

// A block: one position along the depth x some rows x some columns of some groups of one image.
struct Geometry {
  std::int64_t groups = 1;  // more than one only in channels-last order
  std::int64_t rows = 1;
  std::int64_t columns = 1;
  std::int64_t chunk = 1;  // columns per row kernel call
  Dims box{1, 1, 1};
  std::int64_t stride_h = 0, stride_d = 0, stride_c = 0;
  // Floats of the workspace, each a multiple of a line.
  std::int64_t block_floats = 0;  // packed rows
  std::int64_t tile_floats = 0;   // one row of phases, apart (only where no kernel interleaves so many)
  std::int64_t tile_stride = 0;   // of a phase in it
  std::int64_t row_floats = 0;    // finished outputs of one channel on their way to memory; 0: they are stored at once.
                                  // Before them is room for a line
  std::int64_t rows_kept = 0;     // such rows
};

struct Setting {
  const Problem& problem;
  const KernelTable& table;
  const CacheInfo& caches;
  const RowWeights& form;
  const std::vector<const RowKernel*>& kernels;  // of each block of output channels of a group
  const PhaseSet& phases;
  bool weave;           // the kernels do one phase at a time
  Streaming streaming;  // when outputs pass by the caches
  bool finishes;        // they are finished before

  bool channels_last() const { return problem.call.format == MemoryFormat::kChannelsLast; }
  // Columns of the widest kernel.
  std::int64_t columns() const {
    std::int64_t most = 0;
    for (const RowKernel* kernel : kernels) most = std::max<std::int64_t>(most, kernel->nr);
    return most;
  }
};

void derive(const Setting& s, Geometry* g) {
  const std::int64_t channels = g->groups * s.problem.in_channels_per_group();
  const std::int64_t phases_w = s.phases.dim[2].count();
  g->box = {1 + s.phases.dim[0].halo(), g->rows + s.phases.dim[1].halo(),
            round_up(g->columns + s.phases.dim[2].halo(), kFloatsPerLine)};
  g->stride_h = g->box[2] + (g->box[2] % kFloatsPerPage == 0 ? kFloatsPerLine : 0);
  g->stride_d = g->box[1] * g->stride_h;
  g->stride_c = g->box[0] * g->stride_d;
  g->block_floats = channels * g->stride_c + round_up(s.columns(), kFloatsPerLine);
  // Streamed rows go straight to memory if all of them begin at a line and nothing more is done to them.
  const bool straight = s.problem.call.out[2] % kFloatsPerLine == 0 && !s.finishes;
  const bool streams = s.streaming.always || s.streaming.fresh;
  const bool through_scratch = s.weave || (streams && !straight) || s.channels_last();
  const std::int64_t wanted = std::max<std::int64_t>(1, kChunkOutputs / phases_w);
  g->chunk = through_scratch ? std::min(g->columns, round_up(wanted, s.columns())) : g->columns;
  g->tile_stride = s.weave ? round_up(g->chunk + s.table.lanes, kFloatsPerLine) : 0;
  g->tile_floats = g->tile_stride * phases_w;
  // Around the outputs of a chunk: what is left of a line, and what stores may read.
  g->row_floats = through_scratch ? round_up(g->chunk * phases_w, kFloatsPerLine) + 3 * kFloatsPerLine : 0;
  const std::int64_t rows = s.channels_last() ? g->groups * s.problem.out_channels_per_group() : s.kernels.front()->outputs;
  g->rows_kept = through_scratch ? rows : 0;
}

std::int64_t workspace_floats(const Geometry& g) { return g.block_floats + g.tile_floats + g.row_floats * g.rows_kept; }

// Channels last: rows of positions of which all outputs stay in the second-level cache.
std::int64_t rows_of_band(const Setting& s) {
  const std::int64_t row_bytes = s.problem.layer.stride[1] * s.problem.call.out[2] * s.problem.layer.out_channels * 4;
  return std::max<std::int64_t>(1, static_cast<std::int64_t>(s.caches.l2) / 2 / row_bytes);
}

Geometry make_geometry(const Setting& s, std::int64_t workspace_limit) {
  Geometry g;
  const std::int64_t in_channels = s.problem.in_channels_per_group();
  if (s.channels_last()) {
    const std::int64_t groups = s.problem.layer.groups;
    const std::int64_t wanted = std::min(groups, std::max<std::int64_t>(1, kBlockChannels / in_channels));
    g.groups = wanted;
  }
  const std::int64_t width = s.phases.dim[2].max_size();
  g.columns = ceil_div(width, ceil_div(width, kMaxColumns));
  const auto fits = [&](const Geometry& geometry) {
    return geometry.block_floats * 4 <= kMaxBlockBytes && workspace_floats(geometry) * 4 <= workspace_limit;
  };
  derive(s, &g);
  while (!fits(g) && g.columns > s.columns()) {
    g.columns = std::max<std::int64_t>(s.columns(), ceil_div(g.columns, 2));
    derive(s, &g);
  }
  const std::int64_t height = s.phases.dim[1].max_size();
  std::int64_t rows = 1;
  for (Geometry taller = g; rows < height; ++rows) {
    taller.rows = rows + 1;
    derive(s, &taller);
    if (!fits(taller)) break;
  }
  // Enough blocks for many threads, if they are worth it.
  const std::int64_t others = s.problem.call.batch * ceil_div(s.problem.layer.groups, g.groups) *
                              s.phases.dim[0].max_size() * ceil_div(width, g.columns);
  const double outputs_per_row =
      static_cast<double>(s.problem.dst_elements()) / static_cast<double>(std::max<std::int64_t>(1, others) * height);
  const std::int64_t parts = parts_per_block(others, outputs_per_row * static_cast<double>(height), height);
  rows = std::min(rows, ceil_div(height, parts));
  if (s.channels_last()) rows = std::min(rows, rows_of_band(s));
  g.rows = ceil_div(height, ceil_div(height, rows));
  derive(s, &g);
  return g;
}

class DepthwisePlanesExecution final : public Execution {
 public:
  DepthwisePlanesExecution(const PlanRequest& request, RowWeights form, const Setting& setting, const Geometry& geometry)
      : problem_(request.problem),
        finisher_(request.problem, *request.kernels),
        table_(request.kernels),
        form_(std::move(form)),
        phases_(setting.phases),
        geometry_(geometry),
        weave_(setting.weave),
        streaming_(setting.streaming) {
    blocks_d_ = phases_.dim[0].max_size();
    blocks_h_ = ceil_div(phases_.dim[1].max_size(), geometry.rows);
    blocks_w_ = ceil_div(phases_.dim[2].max_size(), geometry.columns);
    block_groups_ = ceil_div(problem_.layer.groups, geometry.groups);
    for (std::size_t i = 0; i < setting.kernels.size(); ++i) {
      const RowKernel* const kernel = setting.kernels[i];
      if (programs_.empty() || programs_.back().kernel != kernel) {
        programs_.push_back(make_programs(*kernel));
        kernels |= programs_.back().number;
      }
      block_programs_.push_back(programs_.size() - 1);
    }
    blocks_ = problem_.call.batch * block_groups_ * blocks_d_ * blocks_h_ * blocks_w_;
    const double all = cycles(setting);
    // Small blocks go together, as long as there are enough tasks for many threads.
    const auto worth = static_cast<std::int64_t>(kTaskCycles * static_cast<double>(blocks_) / all);
    task_blocks_ = std::clamp<std::int64_t>(worth, 1, std::max<std::int64_t>(1, blocks_ / kWantedTasks));
    estimated_seconds = all / cost::kClock;
    phases = phases_.count();
    blocking = {{"rows", geometry.rows},
                {"columns", geometry.columns},
                {"groups", geometry.groups},
                {"streamed", streaming_.always ? 1 : 0}};
  }

  const PackedForm* packed_form() const override { return &form_; }
  std::int64_t tasks(int) const override { return ceil_div(blocks_, task_blocks_); }
  std::size_t workspace_bytes() const override {
    return static_cast<std::size_t>(workspace_floats(geometry_)) * sizeof(float);
  }

  void run_task(const RunArgs& args, int, std::int64_t task, Workspace workspace) const noexcept override {
    const std::int64_t end = std::min((task + 1) * task_blocks_, blocks_);
    for (std::int64_t block = task * task_blocks_; block < end; ++block) {
      run_block(args, block, reinterpret_cast<float*>(workspace.data));
    }
    for (const Programs& programs : programs_) *workspace.used |= programs.number;
    if (streaming_.now(args.fresh)) table_->stream_fence();
  }

 private:
  struct Block {
    std::int64_t image, group, groups, d, h, w, rows, columns;
  };
  struct Scratch {
    float* tile;
    float* rows;
  };
  // The steps of a kernel in the packed block, for each program of the form.
  struct Programs {
    const RowKernel* kernel;
    KernelSet number;
    std::vector<std::vector<TapStep>> steps;
    std::vector<RowSteps> kinds;
  };
  // Outputs [first, first + count) of a row.
  struct Span {
    std::int64_t first, count;
  };

  Programs make_programs(const RowKernel& kernel) const {
    Programs made{&kernel, {}, {}, {}};
    made.number.set(static_cast<std::size_t>(rows_number(*table_, static_cast<int>(&kernel - table_->rows))));
    for (const RowProgram& program : form_.programs()) {
      std::vector<TapStep> steps;
      for (const RowTap& tap : program.taps) {
        const auto from_least = [&](int d) { return tap.offsets[static_cast<std::size_t>(d)] - phases_.dim[d].min_offset; };
        steps.push_back({tap.channel * geometry_.stride_c + from_least(0) * geometry_.stride_d +
                             from_least(1) * geometry_.stride_h + from_least(2),
                         tap.weights * kernel.outputs});
      }
      made.steps.push_back(std::move(steps));
      const bool alone = std::any_of(program.singles.begin(), program.singles.end(), [](std::int64_t n) { return n > 0; });
      made.kinds.push_back({made.steps.back().data(), program.joint, alone ? program.singles.data() : nullptr});
    }
    return made;
  }

  void run_block(const RunArgs& args, std::int64_t index, float* packed) const {
    const auto take = [&index](std::int64_t count) { return take_digit(&index, count); };
    // Channels last, all channels of some rows come one after the other, while their pixels are in the caches.
    const bool last = problem_.call.format == MemoryFormat::kChannelsLast;
    Block block;
    if (last) block.group = take(block_groups_) * geometry_.groups;
    block.w = take(blocks_w_) * geometry_.columns;
    block.h = take(blocks_h_) * geometry_.rows;
    block.d = take(blocks_d_);
    if (!last) block.group = take(block_groups_) * geometry_.groups;
    block.image = index;
    block.groups = std::min(geometry_.groups, problem_.layer.groups - block.group);
    block.rows = std::min(geometry_.rows, phases_.dim[1].max_size() - block.h);
    block.columns = std::min(geometry_.columns, phases_.dim[2].max_size() - block.w);

    InputBox box;
    box.first = {block.d + phases_.dim[0].min_offset, block.h + phases_.dim[1].min_offset,
                 block.w + phases_.dim[2].min_offset};
    box.size = geometry_.box;
    box.size[1] = block.rows + phases_.dim[1].halo();
    InputView view = input_view(problem_, args.src, block.image, block.group);
    view.channels *= block.groups;
    pack_planes(view, box, geometry_.stride_d, geometry_.stride_h, geometry_.stride_c, *table_, packed);
    // Kernels read whole vectors: what follows the last row is zeroed, since stale denormals would cost time.
    float* const end = packed + view.channels * geometry_.stride_c;
    std::memset(end, 0, static_cast<std::size_t>(packed + geometry_.block_floats - end) * sizeof(float));

    const Scratch scratch = divide(packed);
    const std::int64_t phases_h = phases_.dim[1].count();
    const bool straight = problem_.call.format == MemoryFormat::kContiguous &&
                          (geometry_.row_floats == 0 || !(weave_ || streaming_.now(args.fresh)));
    for (std::int64_t fd = 0; fd < phases_.dim[0].count(); ++fd) {
      const std::int64_t od = block.d * problem_.layer.stride[0] + fd;
      if (od >= problem_.call.out[0]) break;
      if (straight) {
        run_rows(args, block, fd, od, packed);
        continue;
      }
      for (std::int64_t r = 0; r < block.rows; ++r) {
        for (std::int64_t fh = 0; fh < phases_h; ++fh) {
          const std::int64_t oh = (block.h + r) * problem_.layer.stride[1] + fh;
          if (oh >= problem_.call.out[1]) break;
          run_row(args, block, static_cast<std::size_t>(fd * phases_h + fh), packed + r * geometry_.stride_h, od, oh,
                  scratch);
        }
      }
    }
  }

  Scratch divide(float* packed) const {
    Scratch scratch;
    scratch.tile = packed + geometry_.block_floats;
    scratch.rows = scratch.tile + geometry_.tile_floats;
    return scratch;
  }

  Span span(const Block& block, std::int64_t j, std::int64_t columns) const {
    const std::int64_t phases_w = phases_.dim[2].count();
    const std::int64_t first = (block.w + j) * phases_w;
    return {first, std::min(columns * phases_w, problem_.call.out[2] - first)};
  }

  // All output rows of a block at depth od, straight to memory.
  void run_rows(const RunArgs& args, const Block& block, std::int64_t fd, std::int64_t od, const float* packed) const {
    const Dims& out = problem_.call.out;
    const std::int64_t plane = problem_.out_points();
    const std::int64_t first_channel = block.group * problem_.out_channels_per_group();
    const std::int64_t phases_h = phases_.dim[1].count();
    const std::int64_t oh = block.h * problem_.layer.stride[1];
    const std::int64_t rows = std::min(block.rows * phases_h, out[1] - oh);
    const Span columns = span(block, 0, block.columns);
    float* const first = args.dst + (block.image * problem_.layer.out_channels + first_channel) * plane +
                         (od * out[1] + oh) * out[2] + columns.first;
    // What is stored is finished while it is in the first cache.
    const std::int64_t at_once = finisher_.follows(args) ? 1 : rows;
    for (std::size_t b = 0; b < form_.blocks().size(); ++b) {
      const RowBlock& channels = form_.blocks()[b];
      const Programs& programs = programs_[block_programs_[b]];
      RowArgs call = row_args(args, first_channel + channels.first);
      call.kinds = at_once == 1 ? 1 : phases_h;
      call.rows = at_once;
      call.src_row = geometry_.stride_h;
      call.count = columns.count;
      call.dst_row = out[2];
      call.dst_stride = plane;
      call.dst = first + channels.first * plane;
      call.stream = geometry_.row_floats == 0 && streaming_.now(args.fresh) && is_line(call.dst) && at_once == rows;
      for (std::int64_t r = 0; r < rows; r += at_once) {
        call.src = packed + r / phases_h * geometry_.stride_h;
        call.kind = programs.kinds.data() + fd * phases_h + (at_once == 1 ? r % phases_h : 0);
        programs.kernel->fn(&call);
        for (std::int64_t o = 0; o < channels.outputs && at_once == 1; ++o) {
          float* const row = call.dst + o * plane;
          finisher_.row(args, first_channel + channels.first + o, row, row - args.dst, columns.count);
        }
        call.dst += at_once * out[2];
      }
    }
  }

  // What all calls for the channels from `channel` on have in common.
  RowArgs row_args(const RunArgs& args, std::int64_t channel) const {
    RowArgs call;
    call.weights = args.weights + channel * form_.channel_elements();
    call.bias = args.bias == nullptr ? kZeros : args.bias + channel;
    call.epilogue = &finisher_.epilogue(args);
    return call;
  }

  // One output row of all channels of the block by way of scratch. `rows` is the packed row of the smallest offsets.
  void run_row(const RunArgs& args, const Block& block, std::size_t program, const float* rows, std::int64_t od,
               std::int64_t oh, const Scratch& scratch) const {
    const Dims& out = problem_.call.out;
    const std::int64_t outputs = problem_.out_channels_per_group();
    const bool last = problem_.call.format == MemoryFormat::kChannelsLast;
    const std::int64_t first_channel = block.group * outputs;
    if (!last) {
      const std::int64_t plane = problem_.out_points();
      float* const first = args.dst + (block.image * problem_.layer.out_channels + first_channel) * plane +
                           (od * out[1] + oh) * out[2] + span(block, 0, 1).first;
      for (std::size_t b = 0; b < form_.blocks().size(); ++b) {
        store_by_chunks(args, block, program, b, rows, first + form_.blocks()[b].first * plane, scratch);
      }
      return;
    }
    const std::int64_t channel_count = block.groups * outputs;
    float* const dst =
        args.dst + ((block.image * out[0] + od) * out[1] + oh) * out[2] * problem_.layer.out_channels + first_channel;
    for (std::int64_t j = 0; j < block.columns; j += geometry_.chunk) {
      const Span chunk = span(block, j, std::min(geometry_.chunk, block.columns - j));
      for (std::int64_t group = 0; group < block.groups; ++group) {
        const float* const group_rows = rows + group * problem_.in_channels_per_group() * geometry_.stride_c;
        for (std::size_t b = 0; b < form_.blocks().size(); ++b) {
          compute(args, program, block.group + group, b, group_rows, j, chunk.count,
                  scratch.rows + (group * outputs + form_.blocks()[b].first) * geometry_.row_floats, geometry_.row_floats,
                  scratch);
        }
      }
      float* const first = dst + chunk.first * problem_.layer.out_channels;
      store_pixels(args, scratch.rows, channel_count, chunk.count, first);
      finisher_.pixels(args, first_channel, first, problem_.layer.out_channels, first - args.dst, chunk.count,
                       channel_count);
    }
  }

  // Rows of finished outputs to pixels.
  void store_pixels(const RunArgs& args, const float* rows, std::int64_t channels, std::int64_t pixels, float* dst) const {
    if (channels == problem_.layer.out_channels && channels <= kMaxInterleaved) {
      const RowStoreArgs store{rows, geometry_.row_floats, channels, pixels * channels, dst, 0.0f, &kFinished};
      const bool past = streaming_.now(args.fresh) && is_line(dst) && !finisher_.follows(args);
      (past ? table_->row_store_past : table_->row_store)(&store);
    } else {
      const TransposeArgs store{rows, geometry_.row_floats, dst, problem_.layer.out_channels, channels, pixels};
      table_->transpose(&store);
    }
  }

  // Contiguous output rows of a block of channels by way of scratch: whole lines past the caches, or simply copied. dst: the
  // first output of the first channel.
  void store_by_chunks(const RunArgs& args, const Block& block, std::size_t program, std::size_t b, const float* rows,
                       float* dst, const Scratch& scratch) const {
    const std::int64_t first = span(block, 0, 1).first;
    const RowBlock& channels = form_.blocks()[b];
    const std::int64_t first_channel = block.group * problem_.out_channels_per_group() + channels.first;
    const bool stream = streaming_.now(args.fresh);
    std::int64_t kept[kMaxOutputs] = {};  // outputs in front of a row in scratch, not yet stored: less than a line
    for (std::int64_t j = 0; j < block.columns; j += geometry_.chunk) {
      const Span chunk = span(block, j, std::min(geometry_.chunk, block.columns - j));
      float* row = scratch.rows + kFloatsPerLine;
      compute(args, program, block.group, b, rows, j, chunk.count, row, geometry_.row_floats, scratch);
      for (std::int64_t o = 0; o < channels.outputs; ++o, row += geometry_.row_floats) {
        float* const to = dst + o * problem_.out_points() + chunk.first - first;
        finisher_.row(args, first_channel + o, row, to - args.dst, chunk.count);
        const float* const from = row - kept[o];
        const std::int64_t ready = kept[o] + chunk.count;
        std::int64_t stored = ready;
        if (stream) {
          stored = stream_lines(*table_, from, ready, to - kept[o]);
        } else {
          std::memcpy(to, row, static_cast<std::size_t>(chunk.count) * sizeof(float));
        }
        kept[o] = ready - stored;
        std::memmove(row - kept[o], from + stored, static_cast<std::size_t>(kept[o]) * sizeof(float));
        if (j + geometry_.chunk >= block.columns) {
          std::memcpy(to + chunk.count - kept[o], row - kept[o], static_cast<std::size_t>(kept[o]) * sizeof(float));
        }
      }
    }
  }

  // `count` outputs of block b of the channels of a group, from column j of the block on, to dst; `dst_stride` from a
  // channel to the next.
  void compute(const RunArgs& args, std::size_t program_index, std::int64_t group, std::size_t b, const float* rows,
               std::int64_t j, std::int64_t count, float* dst, std::ptrdiff_t dst_stride, const Scratch& scratch) const {
    const Programs& programs = programs_[block_programs_[b]];
    RowArgs call = row_args(args, group * problem_.out_channels_per_group() + form_.blocks()[b].first);
    RowSteps steps = programs.kinds[program_index];
    call.src = rows + j;
    call.kind = &steps;
    call.kinds = 1;
    call.rows = 1;
    call.src_row = 0;
    call.count = count;
    call.dst = dst;
    call.dst_row = 0;
    call.dst_stride = dst_stride;
    call.stream = false;
    if (!weave_) {
      programs.kernel->fn(&call);
      return;
    }
    const std::int64_t phases_w = phases_.dim[2].count();
    call.count = ceil_div(count, phases_w);
    steps.singles = nullptr;
    for (std::int64_t f = 0; f < phases_w; ++f) {
      steps.joint = form_.programs()[program_index].singles[static_cast<std::size_t>(f)];
      call.dst = scratch.tile + f * geometry_.tile_stride;
      programs.kernel->fn(&call);
      steps.steps += steps.joint;
    }
    const RowStoreArgs store{scratch.tile, geometry_.tile_stride, phases_w, count, dst, 0.0f, &kFinished};
    table_->row_store(&store);
  }

  double cycles(const Setting& s) const {
    const double kernel_phases = weave_ ? 1.0 : static_cast<double>(phases_.dim[2].count());
    const double phases_w = static_cast<double>(phases_.dim[2].count());
    const double row_vectors = static_cast<double>(ceil_div(phases_.dim[2].max_size(), table_->lanes));
    const double of_vector = table_->lanes < kFloatsPerLine ? kShortVector : 1.0;
    double group_cycles = 0.0;
    for (const RowKernel* kernel : s.kernels) {
      const double vectors = static_cast<double>(kernel->nr) / table_->lanes;
      const double outputs = kernel->outputs;
      for (const RowProgram& program : form_.programs()) {
        const double singles = static_cast<double>(program.taps.size()) - static_cast<double>(program.joint);
        const double tile = static_cast<double>(program.joint) * cost::step(kernel_phases * outputs, vectors, kRowPixels) +
                            singles * cost::step(outputs, vectors, kRowPixels) +
                            phases_w * outputs * vectors * kOutputVector;
        group_cycles += kRowOverhead + static_cast<double>(program.taps.size()) * kStepOverhead +
                        row_vectors / vectors * of_vector * tile;
      }
    }
    const double rows = static_cast<double>(problem_.call.batch) * static_cast<double>(problem_.layer.groups) *
                        static_cast<double>(blocks_d_) * static_cast<double>(phases_.dim[1].max_size());
    const double packed = static_cast<double>(blocks_) * static_cast<double>(geometry_.block_floats);
    const double outputs = static_cast<double>(problem_.dst_elements());
    double extra = packed * (s.channels_last() ? cost::kTransposePerFloat : cost::kCopyPerFloat / 2);
    if (geometry_.row_floats > 0) extra += outputs * cost::kStorePerFloat / 2;
    if (s.channels_last()) {
      const std::int64_t stored = geometry_.groups * problem_.out_channels_per_group();  // channels beside each other
      const bool narrow = geometry_.groups < problem_.layer.groups && stored * 2 < kBlockChannels;
      extra += outputs * cost::kTransposePerFloat * (narrow ? 4.0 : 1.0);
    }
    return rows * group_cycles + extra;
  }

  Problem problem_;
  Finisher finisher_;
  const KernelTable* table_;
  RowWeights form_;
  PhaseSet phases_;
  Geometry geometry_;
  bool weave_;
  Streaming streaming_;
  std::int64_t blocks_, task_blocks_;  // in all, and of a task
  std::int64_t blocks_d_, blocks_h_, blocks_w_, block_groups_;
  std::vector<Programs> programs_;           // of each kernel that runs
  std::vector<std::size_t> block_programs_;  // [block of channels]: which of these
};

}  // namespace

std::unique_ptr<Execution> plan_depthwise_planes(const PlanRequest& request, Decline* decline) {
  const Problem& problem = request.problem;
  const KernelTable& table = *request.kernels;
  const PhaseSet phases = make_phases(problem);
  const std::int64_t phases_w = phases.dim[2].count();
  const RowKernel* const last_kernel = table.rows + table.rows_count - 1;
  const bool weave = phases_w > last_kernel->phases;
  std::vector<std::int64_t> sizes;
  std::vector<const RowKernel*> kernels;
  for (const RowKernel* kernel = table.rows; kernel <= last_kernel; ++kernel) {
    if (weave ? kernel->phases == 1 && kernel->outputs == 1 : kernel->phases == phases_w) sizes.push_back(kernel->outputs);
  }
  RowWeights form(problem, phases, !weave && !problem.call.invariant, sizes);
  for (const RowBlock& block : form.blocks()) kernels.push_back(&row_kernel(table, weave ? 1 : phases_w, block.outputs));
  const Setting setting{
      problem,
      table,
      request.caches,
      form,
      kernels,
      phases,
      weave,
      {streams(problem, table, request.caches, kStreamDense), streams(problem, table, request.caches, kStreamFresh)},
      Finisher(problem, table).always_follows()};
  const Geometry geometry = make_geometry(setting, request.workspace_limit);
  const auto bytes = static_cast<std::size_t>(workspace_floats(geometry)) * sizeof(float);
  if (lacks_workspace(request, bytes, "one row of a group", decline)) return nullptr;
  return std::make_unique<DepthwisePlanesExecution>(request, form, setting, geometry);
}

}  // namespace convtranspose
