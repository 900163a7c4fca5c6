#include "algorithms/depthwise_pixels.h"

#include <algorithm>
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

constexpr std::int64_t kFloatsPerLine = 16;
// Outputs of all phases that are stored before those to the right of them: memory takes lines that are near each other in a
// tenth less time. Not fewer positions than a kernel computes at once.
constexpr std::int64_t kNearFloats = 4096;
constexpr std::int64_t kLeastPositions = 8;
constexpr double kCallOverhead = 40.0;   // cycles of a pixel kernel call
constexpr double kVectorProduct = 0.75;  // cycles of a product of vectors, with its loads
constexpr double kVectorStore = 4.0;     // of an output vector, with its epilogue

// Outputs first + step*j, j in [begin, end), of one phase along the width, all reached by the same taps: [first_tap,
// last_tap).
struct Run {
  std::int64_t phase;
  std::int64_t begin, end;
  std::size_t first_tap, last_tap;
};

// Cuts every phase where a tap enters or leaves the input. The taps of a phase come by descending offset.
std::vector<Run> make_runs(const PhaseSet1d& set, std::int64_t in) {
  std::vector<Run> runs;
  for (std::int64_t f = 0; f < set.count(); ++f) {
    const Phase1d& phase = set.phases[static_cast<std::size_t>(f)];
    std::vector<std::int64_t> cuts{0, phase.size};
    for (const Tap1d& tap : phase.taps) {
      for (const std::int64_t cut : {-tap.offset, in - tap.offset}) {
        if (cut > 0 && cut < phase.size) cuts.push_back(cut);
      }
    }
    std::sort(cuts.begin(), cuts.end());
    cuts.erase(std::unique(cuts.begin(), cuts.end()), cuts.end());
    // From cut to cut the taps that reach are a window, which moves on only.
    std::size_t first = 0, last = 0;
    for (std::size_t i = 0; i + 1 < cuts.size(); ++i) {
      while (first < phase.taps.size() && phase.taps[first].offset >= in - cuts[i]) ++first;
      while (last < phase.taps.size() && phase.taps[last].offset >= -cuts[i]) ++last;
      runs.push_back({f, cuts[i], cuts[i + 1], first, std::max(first, last)});
    }
  }
  return runs;
}

class DepthwisePixelsExecution final : public Execution {
 public:
  explicit DepthwisePixelsExecution(const PlanRequest& request)
      : problem_(request.problem),
        finisher_(request.problem, *request.kernels),
        table_(request.kernels),
        form_(request.problem.layer, request.problem.layer.out_channels),
        phases_(make_phases(request.problem)),
        runs_(make_runs(phases_.dim[2], request.problem.call.in[2])),
        stream_(problem_.layer.out_channels % kFloatsPerLine == 0 &&
                streams(problem_, *table_, request.caches, kStreamDense)) {
    positions_ = std::max(kLeastPositions, kNearFloats / (problem_.layer.stride[2] * problem_.layer.out_channels));
    std::int64_t taps = 1;
    for (const PhaseSet1d& dim : phases_.dim) {
      std::size_t most = 0;
      for (const Phase1d& phase : dim.phases) most = std::max(most, phase.taps.size());
      taps *= static_cast<std::int64_t>(most);
    }
    most_taps_ = taps;
    const double seconds_per_row = row_cycles();
    const std::int64_t rows = problem_.call.batch * problem_.call.out[0] * problem_.call.out[1];
    rows_per_task_ = std::max<std::int64_t>(1, rows / parts_per_block(1, seconds_per_row * static_cast<double>(rows), rows));
    kernels.set(static_cast<std::size_t>(pixels_number(*table_)));
    estimated_seconds = seconds_per_row * static_cast<double>(rows) / cost::kClock;
    phases = phases_.count();
    blocking = {{"outputRows", rows_per_task_}, {"streamed", stream_ ? 1 : 0}};
  }

  const PackedForm* packed_form() const override { return &form_; }
  std::int64_t tasks(int) const override {
    return ceil_div(problem_.call.batch * problem_.call.out[0] * problem_.call.out[1], rows_per_task_);
  }
  std::size_t workspace_bytes() const override {
    const std::int64_t bias_floats = round_up(problem_.layer.out_channels, kFloatsPerLine);
    return static_cast<std::size_t>(bias_floats) * sizeof(float) + static_cast<std::size_t>(most_taps_) * sizeof(TapStep);
  }

  void run_task(const RunArgs& args, int, std::int64_t task, Workspace workspace) const noexcept override {
    const std::int64_t channels = problem_.layer.out_channels;
    float* const zeros = reinterpret_cast<float*>(workspace.data);
    if (args.bias == nullptr) std::fill(zeros, zeros + channels, 0.0f);
    auto* const steps = reinterpret_cast<TapStep*>(zeros + round_up(channels, kFloatsPerLine));
    PixelArgs call;
    call.src = args.src;
    call.weights = args.weights;
    call.steps = steps;
    call.src_stride = channels;
    call.channels = channels;
    call.dst_stride = problem_.layer.stride[2] * channels;
    call.bias = args.bias == nullptr ? zeros : args.bias;
    call.epilogue = &finisher_.epilogue(args);
    call.stream = stream_ && is_line(args.dst) && !finisher_.follows(args);
    const std::int64_t rows = problem_.call.batch * problem_.call.out[0] * problem_.call.out[1];
    for (std::int64_t row = task * rows_per_task_; row < std::min(rows, (task + 1) * rows_per_task_); ++row) {
      run_row(args, row, steps, &call);
    }
    workspace.used->set(static_cast<std::size_t>(pixels_number(*table_)));
    if (call.stream) table_->stream_fence();
  }

 private:
  void run_row(const RunArgs& args, std::int64_t row, TapStep* steps, PixelArgs* call) const {
    for (std::int64_t first = 0; first < phases_.dim[2].max_size(); first += positions_) {
      for (const Run& run : runs_) {
        const std::int64_t begin = std::max(first, run.begin), end = std::min(first + positions_, run.end);
        if (begin < end) run_positions(args, row, run, begin, end, steps, call);
      }
    }
  }

  // Outputs [begin, end) of a run.
  void run_positions(const RunArgs& args, std::int64_t row, const Run& run, std::int64_t begin, std::int64_t end,
                     TapStep* steps, PixelArgs* call) const {
    const Dims& out = problem_.call.out;
    const Dims& in = problem_.call.in;
    const std::int64_t channels = problem_.layer.out_channels;
    const std::int64_t oh = row % out[1], od = row / out[1] % out[0], image = row / out[1] / out[0];
    const Dims& stride = problem_.layer.stride;
    const Phase1d& phase_d = phases_.dim[0].phases[static_cast<std::size_t>(od % stride[0])];
    const Phase1d& phase_h = phases_.dim[1].phases[static_cast<std::size_t>(oh % stride[1])];
    const Phase1d& phase_w = phases_.dim[2].phases[static_cast<std::size_t>(run.phase)];
    call->step_count = 0;
    for (const Tap1d& td : phase_d.taps) {
      const std::int64_t id = od / stride[0] + td.offset;
      if (id < 0 || id >= in[0]) continue;
      for (const Tap1d& th : phase_h.taps) {
        const std::int64_t ih = oh / stride[1] + th.offset;
        if (ih < 0 || ih >= in[1]) continue;
        const std::ptrdiff_t src = ((image * in[0] + id) * in[1] + ih) * in[2] * channels;
        const std::ptrdiff_t weights =
            (td.index * problem_.layer.kernel[1] + th.index) * problem_.layer.kernel[2] * channels;
        for (std::size_t t = run.first_tap; t < run.last_tap; ++t) {
          const Tap1d& tw = phase_w.taps[t];
          steps[call->step_count++] = {src + (begin + tw.offset) * channels, weights + tw.index * channels};
        }
      }
    }
    call->pixels = end - begin;
    call->dst = args.dst + (row * out[2] + begin * stride[2] + run.phase) * channels;
    table_->pixels.fn(call);
    finisher_.pixels(args, 0, call->dst, call->dst_stride, call->dst - args.dst, call->pixels, channels);
  }

  // Cycles of a row of outputs: on the average over the phases.
  double row_cycles() const {
    const double products = mean_taps(phases_);
    const double vectors = static_cast<double>(ceil_div(problem_.layer.out_channels, table_->lanes));
    const std::int64_t cuts = (ceil_div(phases_.dim[2].max_size(), positions_) - 1) * phases_.dim[2].count();
    return static_cast<double>(static_cast<std::int64_t>(runs_.size()) + cuts) * kCallOverhead +
           static_cast<double>(problem_.call.out[2]) * vectors * (products * kVectorProduct + kVectorStore);
  }

  Problem problem_;
  Finisher finisher_;
  const KernelTable* table_;
  PixelWeights form_;
  PhaseSet phases_;
  std::vector<Run> runs_;
  bool stream_;
  std::int64_t positions_ = 1;  // of a phase along the width, that are computed before the next phase
  std::int64_t most_taps_ = 0;
  std::int64_t rows_per_task_ = 1;
};

}  // namespace

std::unique_ptr<Execution> plan_depthwise_pixels(const PlanRequest& request, Decline* decline) {
  auto execution = std::make_unique<DepthwisePixelsExecution>(request);
  if (lacks_workspace(request, execution->workspace_bytes(), "the list of a pixel's products", decline)) return nullptr;
  return execution;
}

}  // namespace convtranspose
