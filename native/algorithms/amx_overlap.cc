// Products of bfloat16 terms (kernels/kernel.h, algorithms/term_scale.h) from the side of the input: every input position is
// multiplied once by all kernel positions, 16 of which are the rows of a matrix and 16 input positions its columns, and what
// neighbours give to the same output is added up (overlap_output.h). Of all products none is with a zero, however few output
// channels there are, and inputs and outputs stay planes: nothing is transposed. The sums of two matrices of rows are all
// that is kept between products and outputs.
//
// A task goes down a stripe of the input, some rows at a time. Where rows of the kernel overlap, a stripe begins with the
// rows of the input that give to its first outputs.
#include <algorithm>
#include <cstring>
#include <memory>
#include <utility>

#include "algorithms/algorithm.h"
#include "algorithms/cost_model.h"
#include "algorithms/limits.h"
#include "algorithms/overlap_output.h"
#include "algorithms/row_stride.h"
#include "algorithms/term_scale.h"
#include "pack/input.h"
#include "pack/overlap_weights.h"
#include "problem/checked.h"

namespace convtranspose {
namespace {

// Blocks of channels whose products are summed by the unit at a time: with many positions a matrix's weights for them stay
// in the first-level cache.
constexpr std::int64_t kMaxBlocks = 32;
constexpr std::int64_t kNearBlocks = 4;
constexpr std::int64_t kManyPositions = 256;
constexpr std::int64_t kSumRows = 2 * kTermSquare;  // computed before they are added
constexpr double kInputShare = 0.4;                 // of the second-level cache: split input,
constexpr std::int64_t kMaxPositions = 1024;        // and of a step,
constexpr std::int64_t kAheadPositions = 512;       // where the next one's input is split meanwhile:
constexpr std::int64_t kFewMatrices = 40;           // with so many of rows; with more, splitting hardly counts
constexpr double kResidentShare = 0.8;              // of the second-level cache: input and weights together
constexpr std::int64_t kMinTasks = 8;               // rather than to split more of the input while others are multiplied
constexpr std::int64_t kStripeRows = 8;             // at least, for each row before a stripe that gives to it
// Cycles.
constexpr double kProduct = 16.5;     // of two matrices, while others are under way
constexpr double kFarPenalty = 1.25;  // where both factors come from the second-level cache, and so do sums
constexpr double kCall = 90.0;        // of a kernel: first loads and last stores
constexpr double kSplitPerFloat = 0.65;
constexpr double kSplitAgain = 0.1;  // of all else, that splitting may cost again so that there are tasks enough
constexpr double kAddVector = 3.2;   // a row of 16 sums
constexpr double kAddCall = 80.0;    // of a run of taps,
constexpr double kAddRow = 12.0;     // and of a row of the input
constexpr double kSplitAhead = 0.6;  // of splitting, where it is done between products
constexpr double kStorePerFloat = 0.35;
constexpr double kStoreRow = 50.0;
constexpr double kWeightStreamShare = 0.5;  // of the time to stream weights, that products do not hide

// Cycles of the products of a matrix of positions by all weights of a group.
double product_cycles(const OverlapWeights& form) {
  constexpr double kProducts[] = {1.0, 3.0, 6.0};
  return kProducts[form.terms() - 1] * static_cast<double>(form.matrices() * form.channel_blocks()) * kProduct;
}

// What a task computes: `rows` of the input and `pixels` of the width at a time, down stripes of `stripe` rows.
struct Blocks {
  std::int64_t planes = 1;  // of all images, where they are computed in one step
  std::int64_t rows = 1;
  std::int64_t stripe = 1;
  std::int64_t pixels = 1;
  std::int64_t columns = 1;  // of the input, at most, for so many pixels
  std::int64_t lead = 0;     // rows before a stripe that give to it
  bool whole_width = true;
  bool ahead = false;  // input is split while other input is multiplied

  bool one_step(std::int64_t height) const { return stripe >= height ? rows >= height : lead == 0 && rows >= stripe; }
};

class AmxOverlapExecution final : public Execution {
 public:
  AmxOverlapExecution(const PlanRequest& request, OverlapWeights form, const Blocks& blocks)
      : problem_(request.problem), table_(request.kernels), form_(std::move(form)), b_(blocks) {
    const std::int64_t height = problem_.call.in[1];
    one_step_ = b_.one_step(height);
    const std::int64_t planes = problem_.call.batch * problem_.call.in[0];
    plane_blocks_ = ceil_div(planes, b_.planes);
    stripes_ = ceil_div(height, b_.stripe);
    pixel_blocks_ = ceil_div(ceil_div(problem_.call.out[2], problem_.layer.stride[2]), b_.pixels);
    blocks_ = plane_blocks_ * problem_.layer.groups * stripes_ * pixel_blocks_;
    scale_ = sum_scale(request.weights);
    positions_ = positions(b_.planes, b_.rows, b_.columns);
    chunk_ = positions_ >= kManyPositions ? kNearBlocks : kMaxBlocks;
    pitch_ = row_stride(positions_);
    block_elements_ = ceil_div(positions_, 2 * kTermSquare) * group_stride();

    const std::int64_t channels = problem_.out_channels_per_group();
    const Cycles cycles = block_cycles(request);
    // Each part splits its input again.
    const double most_parts = std::max(1.0, (cycles.all - cycles.split) * kSplitAgain / cycles.split);
    per_task_ = std::clamp<std::int64_t>(
        std::min(blocks_ / kMinTasks, static_cast<std::int64_t>(kMaxTaskCycles / cycles.all)), 1, blocks_);
    ahead_ = b_.ahead && (per_task_ > 1 || !one_step_);
    if (!ahead_) per_task_ = 1;
    if (per_task_ > 1) one_step_ = false;
    parts_ = parts_per_block(blocks_, cycles.all,
                             per_task_ > 1 ? 1 : std::min(channels, static_cast<std::int64_t>(std::min(most_parts, 1e6))));
    const std::int64_t of_part = ceil_div(channels, parts_);
    const std::int64_t live = std::min(of_part, ceil_div(kSumRows, form_.channel_rows()) + 1);
    output_ = std::make_unique<OverlapOutput>(
        request, form_, OverlapExtents{b_.planes, b_.rows, b_.columns, b_.pixels, of_part, live, !one_step_});
    const double splits = static_cast<double>(parts_ - 1) + (ahead_ ? kSplitAhead - 1.0 : 0.0);
    estimated_seconds = static_cast<double>(blocks_) * (cycles.all + cycles.split * splits) / cost::kClock;
    phases = problem_.layer.stride[0] * problem_.layer.stride[1] * problem_.layer.stride[2];
    precision = precision_of(form_.terms());
    blocking = {{"terms", form_.terms()}, {"planes", b_.planes}, {"rows", b_.rows},
                {"stripe", b_.stripe},    {"pixels", b_.pixels}, {"channels", of_part}};
    notes.push_back(refusal_note());
    if (fits(request)) list_kernels();
  }

  // Whether it may run; else it has no other use than to say how much workspace it needs.
  bool fits(const PlanRequest& request) const {
    return workspace_bytes() <= static_cast<std::size_t>(request.workspace_limit);
  }

  const PackedForm* packed_form() const override { return &form_; }
  std::int64_t tasks(int) const override { return ceil_div(blocks_, per_task_) * parts_; }
  std::size_t workspace_bytes() const override {
    return static_cast<std::size_t>((ahead_ ? 2 : 1) * block_elements_) * sizeof(std::uint16_t) +
           static_cast<std::size_t>(kSumRows * pitch_ + output_->accumulator_floats() + output_->scratch_floats()) *
               sizeof(float) +
           static_cast<std::size_t>(most_jobs()) * sizeof(TermSplitJob);
  }

  void run_task(const RunArgs& args, int, std::int64_t task, Workspace workspace) const noexcept override {
    const Scratch scratch = scratch_of(workspace);
    const std::int64_t first = task / parts_ * per_task_, part = task % parts_;
    const bool is_split = one_step_ && *workspace.tag == first;
    *workspace.tag = -1;
    const std::int64_t channels = problem_.out_channels_per_group();
    const Range of_part{channels * part / parts_, channels * (part + 1) / parts_};
    if (ahead_ && problem_.in_channels_per_group() % kTermBlock != 0) {  // channels that no job splits
      std::memset(scratch.split, 0, static_cast<std::size_t>(2 * block_elements_) * sizeof(std::uint16_t));
    }

    Walk walk{first, std::min(first + per_task_, blocks_), first_step(first)};
    output_->clear(scratch.accumulators);
    table_->terms->begin();
    std::uint16_t* here = scratch.split;
    std::uint16_t* there = ahead_ ? here + block_elements_ : here;
    bool fine = is_split || split(args, walk.step, here);
    while (fine) {
      Walk next = walk;
      const bool more = advance(&next);
      TermSplitAhead ahead;
      if (more && ahead_) ahead = split_ahead(args, next.step, there, scratch.jobs);
      compute(args, walk.step, of_part, here, more && ahead_ ? &ahead : nullptr, scratch);
      if (!more) break;
      if (ahead_) {
        table_->terms->finish_ahead(&ahead);
        fine = split_rest(args, next.step, there) && ahead.fine;
      } else {
        fine = split(args, next.step, there);
      }
      if (next.block != walk.block && !b_.whole_width) output_->clear(scratch.accumulators);
      std::swap(here, there);
      walk = next;
    }
    table_->terms->end();
    output_->finish(args);
    if (!fine) args.refused->store(true, std::memory_order_relaxed);
    if (one_step_ && fine) *workspace.tag = first;
  }

 private:
  struct Scratch {
    std::uint16_t*
        split;    // [two matrices of positions][block of channels][term][matrix][pair][position][channel of the pair]
    float* sums;  // [row of two matrices][position]
    float* accumulators;
    float* rest;
    TermSplitJob* jobs;
    KernelSet* used;
  };
  Scratch scratch_of(const Workspace& workspace) const {
    Scratch scratch;
    scratch.split = reinterpret_cast<std::uint16_t*>(workspace.data);
    scratch.sums = reinterpret_cast<float*>(scratch.split + (ahead_ ? 2 : 1) * block_elements_);
    scratch.accumulators = scratch.sums + kSumRows * pitch_;
    scratch.rest = scratch.accumulators + output_->accumulator_floats();
    scratch.jobs = reinterpret_cast<TermSplitJob*>(scratch.rest + output_->scratch_floats());
    scratch.used = workspace.used;
    return scratch;
  }
  std::int64_t most_jobs() const { return ahead_ ? ceil_div(positions_, kTermSquare) * form_.channel_blocks() : 0; }
  struct Range {
    std::int64_t begin, end;
  };

  std::int64_t row_pitch(std::int64_t columns) const { return b_.whole_width ? columns : round_up(columns, kTermSquare); }
  std::int64_t positions(std::int64_t planes, std::int64_t rows, std::int64_t columns) const {
    const std::int64_t of_plane = rows * row_pitch(columns);
    return (planes - 1) * round_up(of_plane, kTermSquare) + of_plane;
  }
  std::ptrdiff_t group_stride() const { return form_.channel_blocks() * form_.terms() * 2 * kTermElements; }

  // ---- Steps ----------------------------------------------------------------------------------------------------------

  OverlapStep first_step(std::int64_t block) const {
    OverlapStep step{};
    step.pixel = block % pixel_blocks_ * b_.pixels;
    block /= pixel_blocks_;
    const std::int64_t stripe = block % stripes_;
    block /= stripes_;
    step.plane = block % plane_blocks_ * b_.planes;
    step.group = block / plane_blocks_;
    step.planes = std::min(b_.planes, problem_.call.batch * problem_.call.in[0] - step.plane);
    const std::int64_t stride = problem_.layer.stride[1];
    step.begin = std::max<std::int64_t>(0, stripe * b_.stripe - b_.lead);
    step.row = step.begin;
    step.out_row = stripe == 0 ? std::min<std::int64_t>(0, problem_.call.pad_begin[1]) : stripe * b_.stripe * stride;
    const std::int64_t all = ceil_div(problem_.call.out[2], problem_.layer.stride[2]);
    step.pixels = std::min(b_.pixels, all - step.pixel);
    step.column = 0;
    step.columns = problem_.call.in[2];
    if (!b_.whole_width) {
      const auto columns = OverlapOutput::columns_of(problem_, form_, step.pixel, step.pixels);
      step.column = columns.first;
      step.columns = columns.end - columns.first;
    }
    step.row_pitch = row_pitch(step.columns);
    set_rows(&step, end_of_stripe(stripe));
    return step;
  }

  std::int64_t end_of_stripe(std::int64_t stripe) const { return std::min(problem_.call.in[1], (stripe + 1) * b_.stripe); }

  // The rows of a step that begins at step->row, of a stripe that ends before row `end`.
  void set_rows(OverlapStep* step, std::int64_t end) const {
    step->rows = std::min(b_.rows, end - step->row);
    step->plane_pitch = round_up(step->rows * step->row_pitch, kTermSquare);
    const std::int64_t next = step->row + step->rows;
    step->last = next == end;
    step->out_end =
        next == problem_.call.in[1] ? problem_.call.out[1] + problem_.call.pad_begin[1] : next * problem_.layer.stride[1];
  }

  // A step of a task, which computes the blocks up to `end`.
  struct Walk {
    std::int64_t block, end;
    OverlapStep step;
  };

  // To the next step of the task; false after the last one.
  bool advance(Walk* walk) const {
    if (walk->step.last) {
      if (++walk->block == walk->end) return false;
      walk->step = first_step(walk->block);
      return true;
    }
    walk->step.row += walk->step.rows;
    walk->step.out_row = std::max(walk->step.out_row, walk->step.row * problem_.layer.stride[1]);
    set_rows(&walk->step, end_of_stripe(walk->block / pixel_blocks_ % stripes_));
    return true;
  }

  // ---- Input ----------------------------------------------------------------------------------------------------------

  // Neighbouring positions of a block of channels, and their first matrix.
  struct Run {
    const float* src;
    std::int64_t count;
    std::int64_t channels;
    std::int64_t matrix;
    std::int64_t block;
  };

  // Calls visit(run) for all of a step.
  template <typename Visit>
  void for_each_run(const RunArgs& args, const OverlapStep& step, Visit visit) const {
    const std::int64_t points = problem_.in_points();
    const std::int64_t depths = problem_.call.in[0];
    const std::int64_t channels = problem_.in_channels_per_group();
    const std::int64_t runs = b_.whole_width ? 1 : step.rows;
    const std::int64_t count = b_.whole_width ? step.rows * step.columns : step.columns;
    for (std::int64_t p = 0; p < step.planes; ++p) {
      const std::int64_t image = (step.plane + p) / depths, depth = (step.plane + p) % depths;
      const float* const data = input_view(problem_, args.src, image, step.group).data;
      for (std::int64_t r = 0; r < runs; ++r) {
        const std::int64_t matrix = (p * step.plane_pitch + r * step.row_pitch) / kTermSquare;
        const std::int64_t at = (depth * problem_.call.in[1] + step.row + r) * problem_.call.in[2] + step.column;
        for (std::int64_t c = 0; c < channels; c += kTermBlock) {
          visit(
              Run{data + c * points + at, count, std::min<std::int64_t>(kTermBlock, channels - c), matrix, c / kTermBlock});
        }
      }
    }
  }
  std::int64_t matrices(const OverlapStep& step) const {
    return ceil_div(positions(step.planes, step.rows, step.columns), kTermSquare);
  }

  bool split(const RunArgs& args, const OverlapStep& step, std::uint16_t* dst) const {
    bool fine = true;
    for_each_run(args, step, [&](const Run& run) { fine = split_run(run, matrices(step), dst) && fine; });
    return fine;
  }

  // What is split while products are made: whole matrices that have a neighbour. The jobs are listed at `jobs`.
  TermSplitAhead split_ahead(const RunArgs& args, const OverlapStep& step, std::uint16_t* dst, TermSplitJob* jobs) const {
    TermSplitAhead ahead;
    TermSplitJob* job = jobs;
    for_each_run(args, step, [&](const Run& run) {
      std::uint16_t* const to = dst + run.block * form_.terms() * 2 * kTermElements;
      const std::int64_t whole = paired_positions(run, matrices(step)) / kTermSquare;
      for (std::int64_t m = 0; m < whole; ++m) {
        const std::int64_t at = run.matrix + m;
        *job++ = {run.src + m * kTermSquare, to + at / 2 * group_stride() + at % 2 * kTermElements, run.channels / 2};
      }
    });
    ahead.now = job == jobs ? TermSplitJob{nullptr, nullptr, 0} : jobs[0];
    ahead.next = job == jobs ? jobs : jobs + 1;
    ahead.end = job;
    ahead.src_stride = problem_.in_points();
    ahead.term_stride = 2 * kTermElements;
    ahead.terms = form_.terms();
    ahead.scale = kInputScale;
    ahead.limit = kInputScale;
    ahead.fine = true;
    ahead.at_once = form_.matrices() <= 4 ? 4 : 2;
    return ahead;
  }

  // What split_ahead leaves out.
  bool split_rest(const RunArgs& args, const OverlapStep& step, std::uint16_t* dst) const {
    bool fine = true;
    for_each_run(args, step, [&](const Run& run) {
      const std::int64_t done = paired_positions(run, matrices(step)) / kTermSquare * kTermSquare;
      if (done == run.count) return;
      const Run rest{run.src + done, run.count - done, run.channels, run.matrix + done / kTermSquare, run.block};
      fine = split_run(rest, matrices(step), dst) && fine;
    });
    return fine;
  }

  // Positions of a run up to a last one of `matrices` that stands alone.
  static std::int64_t paired_positions(const Run& run, std::int64_t matrices) {
    return std::clamp<std::int64_t>((matrices / 2 * 2 - run.matrix) * kTermSquare, 0, run.count);
  }

  // Of a step with so many matrices, the last of which stands alone if their number is odd.
  bool split_run(const Run& run, std::int64_t matrices, std::uint16_t* dst) const {
    const std::int64_t in_pairs = paired_positions(run, matrices);
    TermPlanesArgs call;
    call.src = run.src;
    call.src_stride = problem_.in_points();
    call.positions = in_pairs;
    call.channels = run.channels;
    call.terms = form_.terms();
    call.dst = dst + run.block * form_.terms() * 2 * kTermElements;
    call.first_matrix = run.matrix;
    call.columns = 2;
    call.group_stride = group_stride();
    call.scale = kInputScale;
    call.limit = kInputScale;
    bool fine = in_pairs == 0 || table_->terms->split_planes(&call);
    if (in_pairs < run.count) {
      call.src = run.src + in_pairs;
      call.positions = run.count - in_pairs;
      call.dst = dst + matrices / 2 * group_stride() + run.block * form_.terms() * kTermElements;
      call.first_matrix = 0;
      call.columns = 1;
      fine = table_->terms->split_planes(&call) && fine;
    }
    return fine;
  }

  // ---- Products -------------------------------------------------------------------------------------------------------

  void compute(const RunArgs& args, const OverlapStep& step, const Range& channels, const std::uint16_t* split,
               TermSplitAhead* ahead, const Scratch& scratch) const {
    const std::int64_t of_channel = form_.channel_rows();
    const Range rows{channels.begin * of_channel, channels.end * of_channel};
    const std::int64_t last = ceil_div(rows.end, kTermSquare);
    const std::int64_t least = least_tap(step);
    std::int64_t begun = channels.begin, stored = channels.begin;
    for (std::int64_t matrix = rows.begin / kTermSquare; matrix < last; matrix += 2) {
      const std::int64_t base = matrix * kTermSquare;
      const Range summed{std::max(rows.begin, base), std::min(rows.end, base + kSumRows)};
      for (; begun * of_channel < summed.end; ++begun) {
        output_->resume(step, begun, begun - channels.begin, scratch.accumulators);
      }
      if (reaches(summed, least)) {
        multiply(args, step.group, matrix, static_cast<int>(std::min<std::int64_t>(2, last - matrix)), matrices(step), split,
                 ahead, scratch);
        output_->add(step, scratch.sums + (summed.begin - base) * pitch_, pitch_, summed.begin, summed.end, scale_,
                     scratch.accumulators);
      }
      for (; (stored + 1) * of_channel <= summed.end; ++stored) {
        output_->store(args, step, stored, stored - channels.begin, scratch.accumulators, scratch.rest);
      }
    }
  }

  // The least tap of the height by which the rows of a step give to outputs that are stored: more than 0 before a stripe.
  std::int64_t least_tap(const OverlapStep& step) const {
    const std::int64_t beyond = step.out_row - (step.row + step.rows - 1) * problem_.layer.stride[1];
    return ceil_div(std::max<std::int64_t>(0, beyond), problem_.layer.dilation[1]);
  }

  // Whether some of these rows of the weights are of that tap or a later one.
  bool reaches(const Range& rows, std::int64_t least) const {
    if (least == 0) return true;
    for (std::int64_t row = rows.begin; row < rows.end;) {
      const OverlapRun& run = form_.run_of(row % form_.channel_rows());
      if (run.kh >= least) return true;
      row += static_cast<std::int64_t>(run.shift.size());
    }
    return false;
  }

  // The sums of one or two matrices of rows for all positions of a step.
  void multiply(const RunArgs& args, std::int64_t group, std::int64_t matrix, int rows, std::int64_t matrices,
                const std::uint16_t* split, TermSplitAhead* ahead, const Scratch& scratch) const {
    constexpr std::ptrdiff_t kNoShift = 0;
    TermArgs call{};
    call.src_term_stride = kTermElements;
    call.src_channel_stride = form_.terms() * kTermElements;
    call.tap_offset = &kNoShift;
    call.taps = 1;
    call.tile_stride = pitch_;
    call.unscaled = true;
    call.weights_stride = group_stride();
    call.ahead = ahead;
    const std::uint16_t* const weights = reinterpret_cast<const std::uint16_t*>(args.weights) + form_.offset(group, matrix);
    for (std::int64_t c = 0; c < form_.channel_blocks(); c += chunk_) {
      call.channel_blocks = std::min(chunk_, form_.channel_blocks() - c);
      call.accumulate = c > 0;
      for (int r = 0; r < rows; ++r) {
        call.src[r] = weights + r * form_.matrix_elements() + c * call.src_channel_stride;
      }
      std::int64_t left = matrices;
      for (std::int64_t at = 0; left > 0;) {
        const int columns = columns_at_once(rows, left);
        call.weights = split + at / 2 * group_stride() + c * form_.terms() * std::min(columns, 2) * kTermElements;
        for (int r = 0; r < rows; ++r) call.tile[r] = scratch.sums + r * kTermSquare * pitch_ + at * kTermSquare;
        const int kernel = term_kernel_row(form_.terms(), rows, columns);
        table_->terms->multiply[kernel].fn(&call);
        scratch.used->set(static_cast<std::size_t>(term_number(*table_, kernel)));
        at += columns;
        left -= columns;
      }
    }
  }

  static int columns_at_once(int rows, std::int64_t left) { return rows == 1 && left >= 4 ? 4 : left >= 2 ? 2 : 1; }

  // ---- Plan -----------------------------------------------------------------------------------------------------------

  // The kernels of the products of every kind of step and part.
  void list_kernels() {
    const std::int64_t height = problem_.call.in[1];
    const std::int64_t channels = problem_.out_channels_per_group();
    bool rows[3] = {};
    for (std::int64_t part = 0; part < parts_; ++part) {
      const std::int64_t begin = channels * part / parts_ * form_.channel_rows() / kTermSquare;
      const std::int64_t end = ceil_div(channels * (part + 1) / parts_ * form_.channel_rows(), kTermSquare);
      rows[1] = rows[1] || (end - begin) % 2 == 1;
      rows[2] = rows[2] || end - begin >= 2;
    }
    const auto add = [&](std::int64_t planes, std::int64_t in_rows, std::int64_t columns) {
      if (in_rows <= 0) return;
      for (int r = 1; r <= 2; ++r) {
        const std::int64_t all = ceil_div(positions(planes, in_rows, columns), kTermSquare);
        for (std::int64_t left = std::min(all, 4 + all % 4); rows[r] && left > 0;) {
          const int at_once = columns_at_once(r, left);
          kernels.set(static_cast<std::size_t>(term_number(*table_, term_kernel_row(form_.terms(), r, at_once))));
          left -= at_once;
        }
      }
    };
    const auto rows_of_steps = [&](auto visit) {
      for (const std::int64_t stripe : {std::int64_t{0}, std::int64_t{1}, stripes_ - 1}) {
        if (stripe >= stripes_) continue;
        const std::int64_t all =
            std::min(height, (stripe + 1) * b_.stripe) - std::max<std::int64_t>(0, stripe * b_.stripe - b_.lead);
        visit(std::min(b_.rows, all));
        visit((all - 1) % b_.rows + 1);
      }
    };
    for (const std::int64_t planes : {b_.planes, (problem_.call.batch * problem_.call.in[0] - 1) % b_.planes + 1}) {
      rows_of_steps([&](std::int64_t in_rows) {
        if (b_.whole_width) return add(planes, in_rows, problem_.call.in[2]);
        // Blocks at the ends may have fewer columns than those between.
        const std::int64_t all = ceil_div(problem_.call.out[2], problem_.layer.stride[2]);
        for (std::int64_t pixel = 0; pixel < all; pixel = OverlapOutput::equal_columns(problem_, form_, pixel, b_.pixels)) {
          const auto columns = OverlapOutput::columns_of(problem_, form_, pixel, std::min(b_.pixels, all - pixel));
          add(planes, in_rows, columns.end - columns.first);
        }
      });
    }
  }

  struct Cycles {
    double all, split;
  };
  Cycles block_cycles(const PlanRequest& request) const {
    const LayerSpec& layer = problem_.layer;
    const double rows = static_cast<double>(std::min(b_.stripe, problem_.call.in[1]) +
                                            (stripes_ > 1 ? b_.lead * (stripes_ - 1) / stripes_ : 0));
    const double steps = rows / static_cast<double>(b_.rows);
    const double matrices = static_cast<double>(ceil_div(positions_, kTermSquare));
    const double of_rows = static_cast<double>(form_.matrices());
    const double blocks = static_cast<double>(form_.channel_blocks());
    const bool far = b_.lead > 0 && form_.channel_blocks() > kNearBlocks;
    const double products = matrices * product_cycles(form_) * (far ? kFarPenalty : 1.0);
    const double calls = of_rows * matrices / 4 * kCall * std::ceil(blocks / static_cast<double>(chunk_));
    const double split = matrices * kTermSquare * blocks * kTermBlock * kSplitPerFloat;
    const double runs = static_cast<double>(form_.runs().size()) * static_cast<double>(problem_.out_channels_per_group());
    const double added = static_cast<double>(form_.rows()) * matrices * kAddVector +
                         runs * static_cast<double>(b_.planes) * (kAddCall + kAddRow * static_cast<double>(b_.rows));
    const double out_rows = static_cast<double>(problem_.out_channels_per_group()) * static_cast<double>(b_.planes);
    const double stored = out_rows * static_cast<double>(layer.stride[0] * layer.stride[1] * b_.rows) *
                          (kStoreRow + kStorePerFloat * static_cast<double>(b_.pixels * layer.stride[2]));
    double cycles = products + calls + split + added + stored;
    const double l2 = static_cast<double>(request.caches.l2);
    const double weight_bytes = static_cast<double>(form_.matrices() * form_.matrix_elements()) * 2.0;
    if (static_cast<double>(block_elements_) * 2.0 + weight_bytes > kResidentShare * l2) {
      cycles += kWeightStreamShare * weight_bytes / cost::kStreamBytesPerCycle;
    }
    return {steps * cycles, steps * split};
  }

  Problem problem_;
  const KernelTable* table_;
  OverlapWeights form_;
  Blocks b_;
  bool one_step_;
  std::int64_t plane_blocks_, stripes_, pixel_blocks_, blocks_;
  std::int64_t parts_ = 1;     // tasks per block, of output channels
  std::int64_t per_task_ = 1;  // blocks, where these have no parts
  bool ahead_ = false;         // input is split while other input is multiplied
  std::int64_t positions_;     // of a step, at most
  std::int64_t chunk_;         // blocks of channels that a kernel call sums
  std::int64_t pitch_;         // floats of a row of sums
  std::int64_t block_elements_;
  float scale_;  // of sums, back to what inputs and weights were
  std::unique_ptr<OverlapOutput> output_;
};

class AmxOverlap final : public Algorithm {
 public:
  const char* name() const override { return "amx-overlap"; }
  AlgorithmChoice choice() const override { return AlgorithmChoice::kAmx; }
  SumOrder order() const override { return SumOrder::kOverlap; }

  std::unique_ptr<Execution> plan(const PlanRequest& request, Decline* decline) const override {
    decline->reason = decline_terms(request);
    if (decline->reason.empty()) decline->reason = decline_shape(request.problem);
    if (!decline->reason.empty()) return nullptr;
    const Problem& problem = request.problem;
    const int terms = terms_of(problem.call.precision);
    OverlapWeights form(problem.layer, terms, weight_scale(request.weights), *request.kernels->terms);
    decline->reason = decline_packed_terms(problem, terms, form.elements());
    if (!decline->reason.empty()) return nullptr;
    const Blocks blocks = choose_blocks(request, form);
    auto execution = std::make_unique<AmxOverlapExecution>(request, std::move(form), blocks);
    if (!execution->fits(request)) {
      decline->for_workspace = true;
      decline->reason = "a row of the input needs " + std::to_string(execution->workspace_bytes()) +
                        " bytes of workspace, more than the limit of " + std::to_string(request.workspace_limit);
      return nullptr;
    }
    return execution;
  }

 private:
  static std::string decline_shape(const Problem& problem) {
    if (problem.call.format != MemoryFormat::kContiguous) return "adds up planes: for contiguous memory only";
    if (!OverlapOutput::can_add(problem.layer)) return "planes of the input overlap in the output";
    return "";
  }

  static Blocks choose_blocks(const PlanRequest& request, const OverlapWeights& form) {
    const Problem& problem = request.problem;
    const LayerSpec& layer = problem.layer;
    const std::int64_t height = problem.call.in[1], width = problem.call.in[2];
    const double position_bytes = static_cast<double>(form.channel_blocks() * form.terms() * kTermBlock * 2);
    const auto most = static_cast<std::int64_t>(kInputShare * static_cast<double>(request.caches.l2) / position_bytes);
    Blocks b;
    // Where splitting counts, and there are no odd channels.
    b.ahead = problem.in_channels_per_group() % 2 == 0 && form.matrices() <= kFewMatrices;
    const std::int64_t fit =
        std::clamp<std::int64_t>(b.ahead ? most / 2 : most, kTermSquare, b.ahead ? kAheadPositions : kMaxPositions);
    b.lead = (layer.kernel[1] - 1) * layer.dilation[1] / layer.stride[1];
    b.pixels = ceil_div(problem.call.out[2], layer.stride[2]);
    b.columns = width;
    if (width > fit) {
      b.whole_width = false;
      // Even blocks, whole vectors, with what they share with their neighbours.
      const std::int64_t halo = OverlapOutput::halo_of(problem, form);
      const std::int64_t wanted = std::max(fit - halo, kTermSquare * std::int64_t{1});
      b.pixels = std::min(b.pixels, round_up(ceil_div(b.pixels, ceil_div(b.pixels, wanted)), kTermSquare));
      b.columns = std::min(width, b.pixels + halo);
    } else {
      b.rows = std::min(height, std::max<std::int64_t>(1, fit / width));
    }
    if (b.rows >= height) {
      b.stripe = height;
      const std::int64_t planes = problem.call.batch * problem.call.in[0];
      b.planes = std::clamp<std::int64_t>(fit / round_up(height * width, kTermSquare), 1, planes);
      b.planes = ceil_div(planes, ceil_div(planes, b.planes));
      return b;
    }
    // Even stripes, of even steps.
    const std::int64_t others = problem.call.batch * problem.call.in[0] * layer.groups;
    const std::int64_t wanted = ceil_div(height, ceil_div(kMinTasks, others));
    // Others wait for a task, and an abort does.
    const double row_cycles = static_cast<double>(width) / kTermSquare * product_cycles(form);
    const auto affordable = static_cast<std::int64_t>(std::min(kMaxTaskCycles / row_cycles, static_cast<double>(height)));
    b.stripe = std::min({height, wanted, std::max<std::int64_t>(1, affordable)});
    b.stripe = std::min(height, std::max({b.stripe, kStripeRows * b.lead, b.rows}));
    b.stripe = ceil_div(height, ceil_div(height, b.stripe));
    const std::int64_t computed = b.stripe + (b.stripe < height ? b.lead : 0);
    b.rows = ceil_div(computed, ceil_div(computed, b.rows));
    return b;
  }
};

}  // namespace

const Algorithm& amx_overlap() {
  static const AmxOverlap algorithm;
  return algorithm;
}

}  // namespace convtranspose
