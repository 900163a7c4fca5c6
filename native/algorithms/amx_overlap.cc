// Products of bfloat16 terms (kernels/kernel.h, algorithms/term_scale.h) from the side of the input: every input position is
// multiplied once by all kernel positions, 16 of which are the rows of a matrix and 16 input positions its columns, and what
// neighbours give to the same output is added up (overlap_output.h). Of all products none is with a zero, however few output
// channels there are, and outputs stay planes (channels-last ones of a single channel are one): no sums are transposed.
// Those of two matrices of rows are all that is kept between products and outputs.
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
#include "algorithms/overlap_blocks.h"
#include "algorithms/overlap_output.h"
#include "algorithms/row_stride.h"
#include "algorithms/term_scale.h"
#include "pack/input.h"
#include "pack/overlap_weights.h"
#include "problem/checked.h"

namespace convtranspose {
namespace {

constexpr std::int64_t kSumRows = 2 * kTermSquare;  // computed before they are added

class AmxOverlapExecution final : public Execution {
 public:
  AmxOverlapExecution(const PlanRequest& request, OverlapWeights form, const OverlapBlocks& blocks)
      : problem_(request.problem),
        table_(request.kernels),
        form_(std::move(form)),
        b_(blocks),
        pitch_(row_stride(b_.positions())),
        scale_(sum_scale(request.weights)) {
    const std::int64_t of_part = b_.channels_of_part(problem_);
    const std::int64_t live = std::min(of_part, ceil_div(kSumRows, form_.channel_rows()) + 1);
    output_ = std::make_unique<OverlapOutput>(
        request, form_, OverlapExtents{b_.planes, b_.rows, b_.columns, b_.pixels, of_part, live, !b_.one_step});
    estimated_seconds = b_.cycles / cost::kClock;
    phases = problem_.layer.stride[0] * problem_.layer.stride[1] * problem_.layer.stride[2];
    precision = precision_of(form_.terms());
    blocking = {{"terms", form_.terms()}, {"planes", b_.planes}, {"rows", b_.rows},
                {"stripe", b_.stripe},    {"pixels", b_.pixels}, {"channels", of_part}};
    notes.push_back(refusal_note());
    // With too little workspace it has no other use than to say how much it needs.
    if (workspace_bytes() <= static_cast<std::size_t>(request.workspace_limit)) list_kernels();
  }

  const PackedForm* packed_form() const override { return &form_; }
  std::int64_t tasks(int) const override { return ceil_div(b_.blocks, b_.per_task) * b_.parts; }
  std::size_t workspace_bytes() const override {
    return static_cast<std::size_t>((b_.ahead ? 2 : 1) * b_.split_elements) * sizeof(std::uint16_t) +
           static_cast<std::size_t>(kSumRows * pitch_ + output_->accumulator_floats() + output_->scratch_floats()) *
               sizeof(float) +
           static_cast<std::size_t>(most_jobs()) * sizeof(TermSplitJob);
  }

  void run_task(const RunArgs& args, int, std::int64_t task, Workspace workspace) const noexcept override {
    const Scratch scratch = scratch_of(workspace);
    const std::int64_t first = task / b_.parts * b_.per_task, part = task % b_.parts;
    const bool is_split = b_.one_step && *workspace.tag == first;
    *workspace.tag = -1;
    const std::int64_t channels = problem_.out_channels_per_group();
    const Range of_part{channels * part / b_.parts, channels * (part + 1) / b_.parts};
    if (b_.ahead && problem_.in_channels_per_group() % kTermBlock != 0) {  // channels that no job splits
      std::memset(scratch.split, 0, static_cast<std::size_t>(2 * b_.split_elements) * sizeof(std::uint16_t));
    }

    Walk walk{first, std::min(first + b_.per_task, b_.blocks), first_step(first)};
    output_->clear(scratch.accumulators);
    table_->terms->begin();
    std::uint16_t* here = scratch.split;
    std::uint16_t* there = b_.ahead ? here + b_.split_elements : here;
    bool fine = is_split || split(args, walk.step, here);
    while (fine) {
      Walk next = walk;
      const bool more = advance(&next);
      TermSplitAhead ahead;
      if (more && b_.ahead) ahead = split_ahead(args, next.step, there, scratch.jobs);
      compute(args, walk.step, of_part, here, more && b_.ahead ? &ahead : nullptr, scratch);
      if (!more) break;
      if (b_.ahead) {
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
    if (b_.one_step && fine) *workspace.tag = first;
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
    scratch.sums = reinterpret_cast<float*>(scratch.split + (b_.ahead ? 2 : 1) * b_.split_elements);
    scratch.accumulators = scratch.sums + kSumRows * pitch_;
    scratch.rest = scratch.accumulators + output_->accumulator_floats();
    scratch.jobs = reinterpret_cast<TermSplitJob*>(scratch.rest + output_->scratch_floats());
    scratch.used = workspace.used;
    return scratch;
  }
  std::int64_t most_jobs() const { return b_.ahead ? ceil_div(b_.positions(), kTermSquare) * form_.channel_blocks() : 0; }
  struct Range {
    std::int64_t begin, end;
  };

  // ---- Steps ----------------------------------------------------------------------------------------------------------

  OverlapStep first_step(std::int64_t block) const {
    OverlapStep step{};
    step.pixel = block % b_.pixel_blocks * b_.pixels;
    block /= b_.pixel_blocks;
    const std::int64_t stripe = block % b_.stripes;
    block /= b_.stripes;
    step.plane = block % b_.plane_blocks * b_.planes;
    step.group = block / b_.plane_blocks;
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
    step.row_pitch = b_.row_pitch(step.columns);
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
    set_rows(&walk->step, end_of_stripe(walk->block / b_.pixel_blocks % b_.stripes));
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
  bool contiguous() const { return problem_.call.format == MemoryFormat::kContiguous; }
  // Floats from a channel to the next one, and from a position.
  std::int64_t channel_stride() const { return contiguous() ? problem_.in_points() : 1; }
  std::int64_t position_stride() const { return contiguous() ? 1 : problem_.layer.in_channels; }

  // Calls visit(run) for all of a step.
  template <typename Visit>
  void for_each_run(const RunArgs& args, const OverlapStep& step, Visit visit) const {
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
          visit(Run{data + c * channel_stride() + at * position_stride(), count,
                    std::min<std::int64_t>(kTermBlock, channels - c), matrix, c / kTermBlock});
        }
      }
    }
  }
  std::int64_t matrices(const OverlapStep& step) const {
    return ceil_div(b_.positions(step.planes, step.rows, step.columns), kTermSquare);
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
        *job++ = {run.src + m * kTermSquare * position_stride(),
                  to + at / 2 * overlap_group_stride(form_) + at % 2 * kTermElements, run.channels / 2};
      }
    });
    ahead.now = job == jobs ? TermSplitJob{nullptr, nullptr, 0} : jobs[0];
    ahead.next = job == jobs ? jobs : jobs + 1;
    ahead.end = job;
    ahead.src_stride = contiguous() ? channel_stride() : position_stride();
    ahead.source = contiguous() ? TermSource::kPlanes : TermSource::kPixels;
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
      const Run rest{run.src + done * position_stride(), run.count - done, run.channels, run.matrix + done / kTermSquare,
                     run.block};
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
    call.src_stride = contiguous() ? channel_stride() : position_stride();
    call.positions = in_pairs;
    call.channels = run.channels;
    call.terms = form_.terms();
    call.dst = dst + run.block * form_.terms() * 2 * kTermElements;
    call.first_matrix = run.matrix;
    call.columns = 2;
    call.group_stride = overlap_group_stride(form_);
    call.scale = kInputScale;
    call.limit = kInputScale;
    const TermPlanesFn split = contiguous() ? table_->terms->split_planes : table_->terms->split_pixels;
    bool fine = in_pairs == 0 || split(&call);
    if (in_pairs < run.count) {
      call.src = run.src + in_pairs * position_stride();
      call.positions = run.count - in_pairs;
      call.dst = dst + matrices / 2 * overlap_group_stride(form_) + run.block * form_.terms() * kTermElements;
      call.first_matrix = 0;
      call.columns = 1;
      fine = split(&call) && fine;
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
    call.weights_stride = overlap_group_stride(form_);
    call.ahead = ahead;
    const std::uint16_t* const weights = reinterpret_cast<const std::uint16_t*>(args.weights) + form_.offset(group, matrix);
    for (std::int64_t c = 0; c < form_.channel_blocks(); c += b_.chunk) {
      call.channel_blocks = std::min(b_.chunk, form_.channel_blocks() - c);
      call.accumulate = c > 0;
      for (int r = 0; r < rows; ++r) {
        call.src[r] = weights + r * form_.matrix_elements() + c * call.src_channel_stride;
      }
      std::int64_t left = matrices;
      for (std::int64_t at = 0; left > 0;) {
        const int columns = columns_at_once(rows, left);
        call.weights =
            split + at / 2 * overlap_group_stride(form_) + c * form_.terms() * std::min(columns, 2) * kTermElements;
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
    for (std::int64_t part = 0; part < b_.parts; ++part) {
      const std::int64_t begin = channels * part / b_.parts * form_.channel_rows() / kTermSquare;
      const std::int64_t end = ceil_div(channels * (part + 1) / b_.parts * form_.channel_rows(), kTermSquare);
      rows[1] = rows[1] || (end - begin) % 2 == 1;
      rows[2] = rows[2] || end - begin >= 2;
    }
    const auto add = [&](std::int64_t planes, std::int64_t in_rows, std::int64_t columns) {
      if (in_rows <= 0) return;
      for (int r = 1; r <= 2; ++r) {
        const std::int64_t all = ceil_div(b_.positions(planes, in_rows, columns), kTermSquare);
        for (std::int64_t left = std::min(all, 4 + all % 4); rows[r] && left > 0;) {
          const int at_once = columns_at_once(r, left);
          kernels.set(static_cast<std::size_t>(term_number(*table_, term_kernel_row(form_.terms(), r, at_once))));
          left -= at_once;
        }
      }
    };
    const auto rows_of_steps = [&](auto visit) {
      for (const std::int64_t stripe : {std::int64_t{0}, std::int64_t{1}, b_.stripes - 1}) {
        if (stripe >= b_.stripes) continue;
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

  Problem problem_;
  const KernelTable* table_;
  OverlapWeights form_;
  OverlapBlocks b_;
  std::int64_t pitch_;  // floats of a row of sums
  float scale_;         // of sums, back to what inputs and weights were
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
    const OverlapBlocks blocks = choose_overlap_blocks(request, form);
    auto execution = std::make_unique<AmxOverlapExecution>(request, std::move(form), blocks);
    if (lacks_workspace(request, execution->workspace_bytes(), "a row of the input", decline)) return nullptr;
    return execution;
  }

 private:
  static std::string decline_shape(const Problem& problem) {
    if (problem.call.format != MemoryFormat::kContiguous && problem.layer.out_channels > 1) {
      return "adds up planes, which channels-last memory has of a single output channel only";
    }
    if (!OverlapOutput::can_add(problem.layer)) return "planes of the input overlap in the output";
    return "";
  }
};

}  // namespace

const Algorithm& amx_overlap() {
  static const AmxOverlap algorithm;
  return algorithm;
}

}  // namespace convtranspose
