#include "algorithms/depthwise_lanes.h"

#include <algorithm>
#include <optional>
#include <utility>
#include <vector>

#include "algorithms/cost_model.h"
#include "algorithms/finisher.h"
#include "algorithms/lane_map.h"
#include "algorithms/limits.h"
#include "algorithms/row_stride.h"
#include "algorithms/streaming.h"
#include "pack/input.h"
#include "pack/pixel_weights.h"
#include "problem/checked.h"
#include "problem/phases.h"

namespace convtranspose {
namespace {

constexpr std::int64_t kFloatsPerLine = 16;
// As lanes multiply by them: each thread makes them for itself, once a run. Packed like that they would be many times the
// weights.
constexpr std::int64_t kMaxWeightFloats = 16384;
constexpr std::int64_t kMaxRowPhases = 64;  // along the width
constexpr std::int64_t kMaxColumns = 1024;  // floats of an input row: a multiple of a line
constexpr std::int64_t kMaxRowOutputs = 4096;
constexpr std::int64_t kMaxBlockBytes = 96 * 1024;
constexpr float kNothing = -0.0f;  // times zero leaves every sum as it is, a negative zero, too
constexpr double kTaskCycles = 100000.0;
constexpr double kRowOverhead = 60.0;    // cycles of a kernel call
constexpr double kVectorProduct = 1.25;  // of a product of vectors, with its load and permutation
constexpr double kVectorStore = 2.0;     // of an output vector, with its epilogue

// A block: one position along the depth x some rows x some columns of one image. An input row is a sequence of floats, and
// its columns are counted by them.
struct Geometry {
  std::int64_t rows = 1;
  std::int64_t positions = 1;  // along the width: all, or a multiple of 16, of which the outputs are whole periods and lines
  Dims box{1, 1, 1};
  std::int64_t stride_h = 0, stride_d = 0;
  std::int64_t block_floats = 0;
};

class DepthwiseLanesExecution final : public Execution {
 public:
  DepthwiseLanesExecution(const PlanRequest& request, PhaseSet phases, LaneMap map)
      : problem_(request.problem),
        finisher_(request.problem, *request.kernels),
        table_(request.kernels),
        inputs_(request.problem.layer.in_channels),
        channels_(request.problem.layer.out_channels),
        form_(request.problem.layer, channels_),
        phases_(std::move(phases)),
        map_(std::move(map)),
        streaming_{streams(problem_, *table_, request.caches, kStreamDense),
                   streams(problem_, *table_, request.caches, kStreamFresh)} {
    choose_geometry();
    make_steps();
    blocks_d_ = phases_.dim[0].max_size();
    blocks_h_ = ceil_div(phases_.dim[1].max_size(), geometry_.rows);
    blocks_w_ = ceil_div(phases_.dim[2].max_size(), geometry_.positions);
    blocks_ = problem_.call.batch * blocks_d_ * blocks_h_ * blocks_w_;
    const double all = cycles();
    const auto worth = static_cast<std::int64_t>(kTaskCycles * static_cast<double>(blocks_) / all);
    task_blocks_ = std::clamp<std::int64_t>(worth, 1, std::max<std::int64_t>(1, blocks_ / kWantedTasks));
    kernels.set(static_cast<std::size_t>(lane_number(*table_)));
    estimated_seconds = all / cost::kClock;
    this->phases = phases_.count();
    blocking = {{"rows", geometry_.rows}, {"columns", geometry_.positions}, {"streamed", streaming_.always ? 1 : 0}};
  }

  const PackedForm* packed_form() const override { return &form_; }
  std::int64_t tasks(int) const override { return ceil_div(blocks_, task_blocks_); }
  std::size_t workspace_bytes() const override {
    return static_cast<std::size_t>(weight_floats() + bias_floats() + point_floats() + geometry_.block_floats +
                                    row_floats()) *
           sizeof(float);
  }

  void run_task(const RunArgs& args, int, std::int64_t task, Workspace workspace) const noexcept override {
    float* const weights = reinterpret_cast<float*>(workspace.data);
    float* const bias = weights + weight_floats();
    auto* const lanes = reinterpret_cast<std::int32_t*>(bias + bias_floats());
    if (*workspace.tag != kHoldsLists) fill_lists(args, weights, bias, lanes);
    *workspace.tag = kHoldsLists;
    float* const packed = bias + bias_floats() + point_floats();
    Task run{packed, packed + geometry_.block_floats, LineStream(*table_),
             streaming_.now(args.fresh) && !finisher_.follows(args)};
    LaneArgs call;
    call.weights = weights;
    call.lanes = lanes;
    call.vectors = map_.vectors();
    call.period = map_.period;
    call.bias = bias;
    call.epilogue = &finisher_.epilogue(args);
    for (std::int64_t block = task * task_blocks_; block < std::min(blocks_, (task + 1) * task_blocks_); ++block) {
      run_block(args, block, &call, &run);
    }
    workspace.used->set(static_cast<std::size_t>(lane_number(*table_)));
    run.lines.flush();
    if (run.stream) table_->stream_fence();
  }

 private:
  static constexpr std::int64_t kHoldsLists = 0;  // Workspace::tag

  struct Task {
    float* packed;
    float* row;  // outputs on their way to lines that begin elsewhere
    LineStream lines;
    bool stream;
  };

  std::int64_t period_floats() const { return map_.vectors() * table_->lanes; }
  // Of a kernel position along depth and height.
  std::int64_t point_floats() const { return round_up(map_.taps * period_floats(), kFloatsPerLine); }
  std::int64_t weight_floats() const { return problem_.layer.kernel[0] * problem_.layer.kernel[1] * point_floats(); }
  std::int64_t bias_floats() const { return round_up(period_floats(), kFloatsPerLine); }
  std::int64_t row_floats() const {
    return round_up(geometry_.positions * phases_.dim[2].count() * channels_, kFloatsPerLine);
  }

  void choose_geometry() {
    const std::int64_t width = phases_.dim[2].max_size(), height = phases_.dim[1].max_size();
    const std::int64_t row_outputs = phases_.dim[2].count() * channels_;  // of a position
    const std::int64_t most =
        round_up(std::min(ceil_div(kMaxColumns, inputs_), ceil_div(kMaxRowOutputs, row_outputs)), kFloatsPerLine);
    geometry_.positions = std::min(width, round_up(ceil_div(width, ceil_div(width, most)), kFloatsPerLine));
    const auto fits = [this](std::int64_t rows) {
      derive(rows);
      return geometry_.block_floats * 4 <= kMaxBlockBytes;
    };
    derive(1);
    const std::int64_t outputs = problem_.call.batch * phases_.dim[0].max_size() * ceil_div(width, geometry_.positions);
    const std::int64_t parts = parts_per_block(outputs, cycles() / static_cast<double>(outputs), height);
    const std::int64_t most_rows = ceil_div(height, parts);
    std::int64_t rows = 1;
    while (rows < most_rows && fits(rows + 1)) ++rows;
    derive(ceil_div(height, ceil_div(height, rows)));
  }

  // What follows from the positions and so many rows.
  void derive(std::int64_t rows) {
    Geometry& g = geometry_;
    g.rows = rows;
    // A kernel reads whole vectors.
    const std::int64_t columns = (g.positions + phases_.dim[2].halo()) * inputs_ + table_->lanes;
    g.box = {1 + phases_.dim[0].halo(), g.rows + phases_.dim[1].halo(), round_up(columns, kFloatsPerLine)};
    g.stride_h = row_stride(g.box[2]);
    g.stride_d = g.box[1] * g.stride_h;
    g.block_floats = g.box[0] * g.stride_d;
  }

  // The products of a row, for each phase along depth and height, vector by vector of a period.
  void make_steps() {
    for (const Phase1d& d : phases_.dim[0].phases) {
      for (const Phase1d& h : phases_.dim[1].phases) {
        std::vector<LaneStep> steps;
        for (std::int64_t v = 0; v < map_.vectors(); ++v) {
          for (const Tap1d& td : d.taps) {
            for (const Tap1d& th : h.taps) add_steps(v, td, th, &steps);
          }
        }
        steps_.push_back(std::move(steps));
      }
    }
  }

  void add_steps(std::int64_t v, const Tap1d& td, const Tap1d& th, std::vector<LaneStep>* steps) const {
    const std::int64_t src = (td.offset - phases_.dim[0].min_offset) * geometry_.stride_d +
                             (th.offset - phases_.dim[1].min_offset) * geometry_.stride_h;
    const std::int64_t weights = (td.index * problem_.layer.kernel[1] + th.index) * point_floats();
    for (const LaneReach& reach : map_.reaches[static_cast<std::size_t>(v)]) {
      const std::int64_t lanes = (v * map_.taps + reach.first_tap) * table_->lanes;
      steps->push_back({src + reach.src, weights + lanes, lanes, reach.taps});
    }
  }

  // The weights and the bias, a value for every lane of a period, and the lanes, in whole lines of the caches.
  void fill_lists(const RunArgs& args, float* weights, float* bias, std::int32_t* lanes) const {
    const std::int64_t positions = problem_.layer.kernel[2] * channels_;
    const float* const end = args.weights + form_.elements();
    for (const float* from = args.weights; from != end; from += positions, weights += point_floats()) {
      float* to = weights;
      for (const std::int32_t weight : map_.weights) *to++ = weight < 0 ? kNothing : from[weight];
    }
    for (std::int64_t i = 0; i < period_floats(); ++i) bias[i] = args.bias == nullptr ? 0.0f : args.bias[i % channels_];
    std::copy(map_.lanes.begin(), map_.lanes.end(), lanes);
  }

  void run_block(const RunArgs& args, std::int64_t index, LaneArgs* call, Task* run) const {
    const std::int64_t first_w = take_digit(&index, blocks_w_) * geometry_.positions;
    const std::int64_t first_h = take_digit(&index, blocks_h_) * geometry_.rows;
    const std::int64_t first_d = take_digit(&index, blocks_d_), image = index;
    const std::int64_t rows = std::min(geometry_.rows, phases_.dim[1].max_size() - first_h);

    // The floats of a row, whatever channels they are, as the columns of one channel.
    InputView view = input_view(problem_, args.src, image, 0);
    view.format = MemoryFormat::kContiguous;
    view.in[2] *= inputs_;
    view.channels = 1;
    view.pixel_stride = 1;
    InputBox box;
    box.first = {first_d + phases_.dim[0].min_offset, first_h + phases_.dim[1].min_offset,
                 (first_w + phases_.dim[2].min_offset) * inputs_};
    box.size = geometry_.box;
    box.size[1] = rows + phases_.dim[1].halo();
    pack_planes(view, box, geometry_.stride_d, geometry_.stride_h, 0, *table_, run->packed);

    const Dims& out = problem_.call.out;
    const std::int64_t phases_h = phases_.dim[1].count(), phases_w = phases_.dim[2].count();
    const std::int64_t pixels = std::min(geometry_.positions * phases_w, out[2] - first_w * phases_w);
    call->count = pixels * channels_;
    for (std::int64_t fd = 0; fd < phases_.dim[0].count(); ++fd) {
      const std::int64_t od = first_d * problem_.layer.stride[0] + fd;
      if (od >= out[0]) break;
      for (std::int64_t r = 0; r < rows * phases_h; ++r) {
        const std::int64_t oh = first_h * problem_.layer.stride[1] + r;
        if (oh >= out[1]) break;
        const std::vector<LaneStep>& steps = steps_[static_cast<std::size_t>(fd * phases_h + r % phases_h)];
        call->src = run->packed + r / phases_h * geometry_.stride_h;
        call->steps = steps.data();
        call->step_count = static_cast<std::int64_t>(steps.size()) / map_.vectors();
        float* const dst = args.dst + (((image * out[0] + od) * out[1] + oh) * out[2] + first_w * phases_w) * channels_;
        run_row(args, dst, pixels, call, run);
      }
    }
  }

  // A row of outputs, whose products `call` names.
  void run_row(const RunArgs& args, float* dst, std::int64_t pixels, LaneArgs* call, Task* run) const {
    // Vectors come a period apart: what passes by the caches must be whole lines.
    const bool straight = !run->stream || (is_line(dst) && table_->lanes == kFloatsPerLine);
    call->dst = straight ? dst : run->row;
    call->stream = run->stream && straight;
    table_->lane.fn(call);
    if (!straight) run->lines.put(0, run->row, call->count, dst);
    finisher_.pixels(args, 0, dst, channels_, dst - args.dst, pixels, channels_);
  }

  double cycles() const {
    const double products = mean_taps(phases_);
    const std::int64_t blocks_w = ceil_div(phases_.dim[2].max_size(), geometry_.positions);
    const std::int64_t calls = problem_.call.batch * problem_.call.out[0] * problem_.call.out[1] * blocks_w;
    const double vectors = static_cast<double>(problem_.dst_elements()) / table_->lanes;
    const double halo = static_cast<double>(geometry_.box[1]) / static_cast<double>(geometry_.rows);
    return static_cast<double>(calls) * kRowOverhead + vectors * (products * kVectorProduct + kVectorStore) +
           static_cast<double>(problem_.src_elements()) * halo * cost::kCopyPerFloat / 2;
  }

  Problem problem_;
  Finisher finisher_;
  const KernelTable* table_;
  std::int64_t inputs_, channels_;  // of a pixel of the input, of the output
  PixelWeights form_;
  PhaseSet phases_;
  LaneMap map_;
  Streaming streaming_;
  Geometry geometry_;
  std::vector<std::vector<LaneStep>> steps_;   // [depth phase][height phase]
  std::int64_t blocks_ = 1, task_blocks_ = 1;  // in all, and of a task
  std::int64_t blocks_d_ = 1, blocks_h_ = 1, blocks_w_ = 1;
};

}  // namespace

std::unique_ptr<Execution> plan_depthwise_lanes(const PlanRequest& request, Decline* decline) {
  const LayerSpec& layer = request.problem.layer;
  if (request.kernels->lane.fn == nullptr) {
    decline->reason = "no instruction moves lanes by a list";
    return nullptr;
  }
  if (request.kernels->lanes != kFloatsPerLine && streams(request.problem, *request.kernels, request.caches, kStreamDense)) {
    // Vectors come a period apart: it took AVX2 longer than rows of whole channels (3.2 ms, 3.0).
    decline->reason = "vectors of less than a line do not pass by the caches in order";
    return nullptr;
  }
  PhaseSet phases = make_phases(request.problem);
  if (phases.dim[2].count() > kMaxRowPhases) {
    decline->reason = "more than " + std::to_string(kMaxRowPhases) + " phases along the width";
    return nullptr;
  }
  const std::int64_t most = kMaxWeightFloats / (layer.kernel[0] * layer.kernel[1]);
  std::optional<LaneMap> map = make_lane_map(phases.dim[2], layer, request.kernels->lanes, most);
  if (!map) {
    decline->reason = "no short lists of what each lane reads and multiplies by";
    return nullptr;
  }
  auto execution = std::make_unique<DepthwiseLanesExecution>(request, std::move(phases), std::move(*map));
  if (lacks_workspace(request, execution->workspace_bytes(), "a block of rows", decline)) return nullptr;
  return execution;
}

}  // namespace convtranspose
