// Direct, for few output channels, from the side of the input: every pixel of an input row is multiplied once by the weights
// of all kernel positions and output channels, which fill vectors together, and what neighbours give to the same outputs is
// added up (overlap-add). None of the products is with a zero beyond the input, and channels-last input is read where it is.
//
// With o' = o + pad_begin, input pixel i and width tap k give to o' = i*stride + k: taps t*stride to t*stride + stride - 1
// of pixel q - t to block q of an output row, the `stride` outputs from o' = q*stride on. Products of pixels are kept for as
// many input rows as meet in an output row. A task goes down a stripe of the input, and computes what the rows before it
// give to its first outputs as well.
#include <algorithm>

#include "algorithms/algorithm.h"
#include "algorithms/cost_model.h"
#include "algorithms/finisher.h"
#include "algorithms/limits.h"
#include "algorithms/row_stride.h"
#include "algorithms/tile_kernels.h"
#include "pack/input.h"
#include "pack/position_weights.h"
#include "problem/checked.h"

namespace convtranspose {
namespace {

constexpr std::int64_t kFloatsPerLine = 16;
constexpr std::int64_t kMaxColumns = 512;   // of the weights
constexpr std::int64_t kMaxSources = 64;    // that add up to an output
constexpr double kMaxPadding = 1.5;         // of packed columns, so that all packed forms stay within their bound
constexpr std::int64_t kProductShare = 32;  // of the second-level cache, one part: kept products, unless a row of them
constexpr std::int64_t kMinBlocks = 32;     // had fewer blocks, beside those that are computed for neighbours
constexpr std::int64_t kStripeRows = 8;     // at least, for each row before a stripe that gives to it
// Cycles.
constexpr double kAddVector = 2.2;     // of a source,
constexpr double kAddBlock = 4.0;      // of a vector of outputs,
constexpr double kAddRow = 60.0;       // and of a row of outputs
constexpr double kShortVectors = 0.5;  // of transposing, again for each vector of a line but one
// The processor reads ahead what is multiplied, row after row, which other algorithms wait for.
constexpr double kReadAhead = 0.72;

// Output row row*stride + residue along the height (o') has tap `kh` of input row `row - lag`.
struct HeightTap {
  std::int64_t kh, lag;
};

struct Blocking {
  std::int64_t first = 0, last = 0;  // blocks of an output row: [first, last)
  std::int64_t columns = 0;          // of a task
  std::int64_t column_tasks = 0;     // beside each other
  std::int64_t first_row = 0;        // input positions along the height that have outputs, [first_row, first_row + rows),
  std::int64_t rows = 0;             // and of them
  std::int64_t stripes = 1;
  std::int64_t halo_w = 0;  // pixels before a block that give to it, at most
  std::int64_t halo_h = 0;  // rows likewise
  std::int64_t pixels() const { return columns + halo_w; }
};

class DirectOverlapExecution final : public Execution {
 public:
  DirectOverlapExecution(const PlanRequest& request, TileKernels tile_kernels, PositionWeights form,
                         const Blocking& blocking)
      : problem_(request.problem),
        finisher_(request.problem, *request.kernels),
        table_(request.kernels),
        kernels_(std::move(tile_kernels)),
        form_(std::move(form)),
        b_(blocking),
        chunk_(request.channel_chunk),
        outputs_(problem_.layer.out_channels),
        block_floats_(problem_.layer.stride[2] * outputs_),
        contiguous_(problem_.call.format == MemoryFormat::kContiguous) {
    const LayerSpec& layer = problem_.layer;
    for (std::int64_t residue = 0; residue < layer.stride[1]; ++residue) {
      taps_.emplace_back();
      for (std::int64_t kh = 0; kh < layer.kernel[1]; ++kh) {
        const std::int64_t beyond = kh * layer.dilation[1] - residue;
        if (floor_mod(beyond, layer.stride[1]) == 0) taps_.back().push_back({kh, floor_div(beyond, layer.stride[1])});
      }
    }
    pixel_stride_ = row_stride(layer.in_channels);
    const std::int64_t blocks = problem_.call.batch * b_.column_tasks;
    const double cycles = block_cycles();
    b_.stripes = parts_per_block(blocks, cycles,
                                 std::max<std::int64_t>(1, b_.rows / (kStripeRows * std::max<std::int64_t>(1, b_.halo_h))));
    const double again = static_cast<double>((b_.stripes - 1) * b_.halo_h) / static_cast<double>(b_.rows + b_.halo_h);
    estimated_seconds = static_cast<double>(blocks) * cycles * (1.0 + again) / cost::kClock;
    phases = layer.stride[1] * layer.stride[2];
    this->blocking = {
        {"columns", b_.columns}, {"stripes", b_.stripes}, {"panel", form_.panels().front().width}, {"channelChunk", chunk_}};
    list_kernels();
  }

  const PackedForm* packed_form() const override { return &form_; }
  std::int64_t tasks(int) const override { return problem_.call.batch * b_.column_tasks * b_.stripes; }
  std::size_t workspace_bytes() const override {
    return static_cast<std::size_t>(products_floats() + pixels_floats() + sums_floats() + planes_floats() + bias_floats()) *
               sizeof(float) +
           static_cast<std::size_t>(b_.pixels()) * sizeof(std::ptrdiff_t);
  }

  void run_task(const RunArgs& args, int, std::int64_t task, Workspace workspace) const noexcept override {
    Scratch scratch;
    scratch.products = reinterpret_cast<float*>(workspace.data);
    scratch.pixels = scratch.products + products_floats();
    scratch.sums = scratch.pixels + pixels_floats();
    scratch.planes = scratch.sums + sums_floats();
    scratch.bias = scratch.planes + planes_floats();
    scratch.offsets = reinterpret_cast<std::ptrdiff_t*>(scratch.bias + bias_floats());
    scratch.used = workspace.used;
    for (std::int64_t f = 0; f < block_floats_; ++f) {
      scratch.bias[f] = args.bias == nullptr ? 0.0f : args.bias[f % outputs_];
    }
    const std::int64_t stripe = task % b_.stripes;
    const std::int64_t image = task / b_.stripes / b_.column_tasks;
    const Columns columns = columns_of(task / b_.stripes % b_.column_tasks);
    const std::int64_t stride = contiguous_ ? pixel_stride_ : problem_.layer.in_channels;
    for (std::int64_t i = 0; i < columns.pixels; ++i) scratch.offsets[i] = i * stride;
    clear_beside(columns, scratch.products);

    const std::int64_t first = b_.first_row + b_.rows * stripe / b_.stripes;
    const std::int64_t end = b_.first_row + b_.rows * (stripe + 1) / b_.stripes;
    for (std::int64_t row = first - b_.halo_h; row < end; ++row) {
      if (row >= 0 && row < problem_.call.in[1] && columns.pixels > 0) {
        multiply(args, image, row, std::min(end, problem_.call.in[1]), columns, scratch);
      }
      if (row < first) continue;
      for (std::int64_t residue = 0; residue < problem_.layer.stride[1]; ++residue) {
        const std::int64_t oh = row * problem_.layer.stride[1] + residue - problem_.call.pad_begin[1];
        if (oh < 0 || oh >= problem_.call.out[1]) continue;
        add_up(row, residue, columns, scratch);
        store(args, image, oh, columns, scratch);
      }
    }
  }

 private:
  struct Scratch {
    float* products;          // [input row, in turns][pixel][column of the weights]
    float* pixels;            // [pixel][channel], contiguous input only
    float* sums;              // [output of a row][channel]
    float* planes;            // [channel][output of a row], contiguous output only
    float* bias;              // of a block
    std::ptrdiff_t* offsets;  // [pixel]
    KernelSet* used;
  };
  std::int64_t products_row() const { return b_.pixels() * form_.pitch() + kFloatsPerLine; }
  std::int64_t products_floats() const { return (b_.halo_h + 1) * products_row() + kFloatsPerLine; }
  std::int64_t pixels_floats() const { return contiguous_ ? b_.pixels() * pixel_stride_ : 0; }
  std::int64_t sums_floats() const { return round_up(b_.columns * block_floats_, kFloatsPerLine) + 2 * kFloatsPerLine; }
  std::int64_t plane_stride() const { return row_stride(b_.columns * problem_.layer.stride[2]); }
  std::int64_t planes_floats() const { return contiguous_ && outputs_ > 1 ? outputs_ * plane_stride() + kFloatsPerLine : 0; }
  std::int64_t bias_floats() const { return round_up(block_floats_, kFloatsPerLine) + kFloatsPerLine; }

  // The columns of a task: blocks [first, first + blocks), and input pixels from `pixel` on, which stand from `slot` on.
  struct Columns {
    std::int64_t first, blocks, pixel, pixels, slot;
  };
  Columns columns_of(std::int64_t task) const {
    Columns c;
    c.first = b_.first + task * b_.columns;
    c.blocks = std::min(b_.columns, b_.last - c.first);
    c.pixel = std::max<std::int64_t>(0, c.first - b_.halo_w);
    c.pixels = std::max<std::int64_t>(0, std::min(problem_.call.in[2], c.first + c.blocks) - c.pixel);
    c.slot = c.pixel - (c.first - b_.halo_w);
    return c;
  }

  // Pixels of a task that lie beside the input give nothing: their products stay zero.
  void clear_beside(const Columns& columns, float* products) const {
    const std::int64_t begin = columns.slot * form_.pitch(), end = (columns.slot + columns.pixels) * form_.pitch();
    for (std::int64_t row = 0; row <= b_.halo_h; ++row, products += products_row()) {
      std::fill(products, products + begin, 0.0f);
      std::fill(products + end, products + b_.pixels() * form_.pitch(), 0.0f);
    }
  }

  // The row of the input that is multiplied next, which calls ask for at the pace at which they read this one. A call asks
  // for a line in each of `channels` runs of `nr` floats (kernels/kernel.h).
  struct InputAhead {
    const float* data = nullptr;
    std::int64_t floats = 0;
    std::int64_t calls = 0;  // so far

    // What a call asks for that ends with float `end` of this row; nullptr: nothing.
    const float* next(std::int64_t end, std::int64_t channels, std::int64_t nr) {
      const std::int64_t lines = std::max<std::int64_t>(1, nr / kFloatsPerLine);  // of a run
      const std::int64_t first = calls / lines * channels * nr;
      if (first >= std::min(end, floats)) return nullptr;
      return data + first + calls++ % lines * kFloatsPerLine;
    }
  };

  // Products of a row of the input, of a task that reads those before `end`.
  void multiply(const RunArgs& args, std::int64_t image, std::int64_t row, std::int64_t end, const Columns& columns,
                const Scratch& scratch) const {
    const InputView view = input_view(problem_, args.src, image, 0);
    const float* src = view.data + (row * problem_.call.in[2] + columns.pixel) * view.pixel_stride;
    if (contiguous_) {
      pack_pixels(view, {{0, row, columns.pixel}, {1, 1, columns.pixels}}, pixel_stride_, table_->transpose, scratch.pixels);
      src = scratch.pixels;
    }
    float* const to = scratch.products + row % (b_.halo_h + 1) * products_row() + columns.slot * form_.pitch();
    constexpr std::ptrdiff_t kNoOffset = 0;
    TileArgs call;
    call.tap_offset = &kNoOffset;
    call.src_channel_stride = 1;
    call.taps = 1;
    call.tile_stride = form_.pitch();
    const std::int64_t channels = problem_.layer.in_channels;
    InputAhead ahead;
    if (!contiguous_ && row + 1 < end) ahead = {src + problem_.call.in[2] * channels, columns.pixels * channels, 0};
    for (const Panel& panel : form_.panels()) {
      for (std::int64_t c = 0; c < channels; c += chunk_) {
        call.src = src + c;
        call.channels = std::min(chunk_, channels - c);
        call.weights = args.weights + form_.offset(panel) + c * panel.width;
        call.accumulate = c > 0;
        kernels_.for_each_tile(columns.pixels, [&](std::int64_t first, std::int64_t rows) {
          call.row_offset = scratch.offsets + first;
          call.tile = to + first * form_.pitch() + panel.begin;
          const TileKernel& kernel = kernels_.pick(rows, panel.width);
          call.prefetch = ahead.next((first + rows) * channels, call.channels, kernel.nr);
          kernel.fn(&call);
          scratch.used->set(kernels_.number(kernel));
        });
      }
    }
  }

  // The sums of output row row*stride + residue along the height (o'), with the bias.
  void add_up(std::int64_t row, std::int64_t residue, const Columns& columns, const Scratch& scratch) const {
    const LayerSpec& layer = problem_.layer;
    const std::int64_t stride = layer.stride[2];
    const float* sources[kMaxSources];
    const auto list = [&](std::int64_t first, std::int64_t end, std::int64_t count) {  // taps [first, end) of `stride` taps
      for (const HeightTap& tap : taps_[static_cast<std::size_t>(residue)]) {
        const std::int64_t from = row - tap.lag;
        if (from < 0 || from >= problem_.call.in[1]) continue;
        const float* const products = scratch.products + from % (b_.halo_h + 1) * products_row();
        for (std::int64_t t = first; t < end; ++t) {
          sources[count++] = products + (b_.halo_w - t) * form_.pitch() + (tap.kh * layer.kernel[2] + t * stride) * outputs_;
        }
      }
      return count;
    };
    const std::int64_t whole = layer.kernel[2] / stride;
    OverlapAddArgs add;
    add.sources = sources;
    add.whole = list(0, whole, 0);
    add.cut = list(whole, ceil_div(layer.kernel[2], stride), add.whole) - add.whole;
    add.cut_floats = layer.kernel[2] % stride * outputs_;
    add.pitch = form_.pitch();
    add.blocks = columns.blocks;
    add.floats = block_floats_;
    add.bias = scratch.bias;
    add.dst = scratch.sums;
    table_->overlap_add(&add);
  }

  // Stores the sums as output row oh.
  void store(const RunArgs& args, std::int64_t image, std::int64_t oh, const Columns& columns,
             const Scratch& scratch) const {
    const Dims& out = problem_.call.out;
    const std::int64_t stride = problem_.layer.stride[2], pad = problem_.call.pad_begin[2];
    const std::int64_t begin = std::max<std::int64_t>(0, columns.first * stride - pad);
    const std::int64_t end = std::min(out[2], (columns.first + columns.blocks) * stride - pad);
    const float* const sums = scratch.sums + (begin + pad - columns.first * stride) * outputs_;
    RowStoreArgs call;
    call.phase_stride = 0;
    call.phases = 1;
    call.bias = 0.0f;  // added above
    call.epilogue = &finisher_.epilogue(args);
    if (!contiguous_) {
      const std::ptrdiff_t index = ((image * out[1] + oh) * out[2] + begin) * outputs_;
      call.tile = sums;
      call.count = (end - begin) * outputs_;
      call.dst = args.dst + index;
      table_->row_store(&call);
      finisher_.pixels(args, 0, call.dst, outputs_, index, end - begin, outputs_);
      return;
    }
    if (outputs_ > 1) {
      const TransposeArgs transpose{sums, outputs_, scratch.planes, plane_stride(), end - begin, outputs_};
      table_->transpose(&transpose);
    }
    call.count = end - begin;
    for (std::int64_t co = 0; co < outputs_; ++co) {
      const std::ptrdiff_t index = ((image * outputs_ + co) * out[1] + oh) * out[2] + begin;
      call.tile = outputs_ > 1 ? scratch.planes + co * plane_stride() : sums;
      call.dst = args.dst + index;
      table_->row_store(&call);
      finisher_.row(args, co, call.dst, index, call.count);
    }
  }

  void list_kernels() {
    // Tasks at both ends may have fewer pixels than those between.
    for (const std::int64_t task : {std::int64_t{0}, std::int64_t{1}, b_.column_tasks - 2, b_.column_tasks - 1}) {
      if (task < 0 || task >= b_.column_tasks) continue;
      kernels_.for_each_tile(columns_of(task).pixels, [&](std::int64_t, std::int64_t rows) {
        for (const Panel& panel : form_.panels()) kernels.set(kernels_.number(kernels_.pick(rows, panel.width)));
      });
    }
  }

  // Of all rows of some columns.
  double block_cycles() const {
    const LayerSpec& layer = problem_.layer;
    const std::int64_t channels = layer.in_channels;
    const double chunks = static_cast<double>(ceil_div(channels, chunk_));
    const double steps = static_cast<double>(channels) / chunks;
    const std::int64_t pixels = std::min(b_.pixels(), problem_.call.in[2]);
    const double vectors_of_line = static_cast<double>(kFloatsPerLine / table_->lanes);
    const double transpose = cost::kTransposePerFloat * (1.0 + kShortVectors * (vectors_of_line - 1.0));
    double row = contiguous_ ? static_cast<double>(pixels * channels) * transpose : 0.0;
    for (const Panel& panel : form_.panels()) {
      kernels_.for_each_tile(pixels, [&](std::int64_t, std::int64_t rows) {
        row += chunks * kernels_.call_cycles(kernels_.pick(rows, panel.width), steps);
      });
    }
    const double vectors = static_cast<double>(b_.columns * ceil_div(block_floats_, table_->lanes));
    const double sources = static_cast<double>(layer.kernel[1] * ceil_div(layer.kernel[2], layer.stride[2]));
    const double rows_out = static_cast<double>(layer.stride[1]);
    const bool apart = contiguous_ && outputs_ > 1;
    row += vectors * (sources * kAddVector + rows_out * kAddBlock) + rows_out * kAddRow +
           rows_out * static_cast<double>(b_.columns * block_floats_) *
               (cost::kStorePerFloat + (apart ? cost::kTransposePerFloat : 0.0));
    return kReadAhead * row * static_cast<double>(b_.rows + b_.halo_h);
  }

  Problem problem_;
  Finisher finisher_;
  const KernelTable* table_;
  TileKernels kernels_;
  PositionWeights form_;
  Blocking b_;
  std::int64_t chunk_;
  std::int64_t outputs_;
  std::int64_t block_floats_;
  bool contiguous_;
  std::int64_t pixel_stride_;                 // of packed input, no multiple of what cache sets recur after
  std::vector<std::vector<HeightTap>> taps_;  // [residue along the height]
};

Blocking choose(const PlanRequest& request, std::int64_t pitch) {
  const Problem& problem = request.problem;
  const LayerSpec& layer = problem.layer;
  const CallSpec& call = problem.call;
  Blocking b;
  b.halo_w = (layer.kernel[2] - 1) / layer.stride[2];
  b.halo_h = (layer.kernel[1] - 1) * layer.dilation[1] / layer.stride[1];
  b.first = call.pad_begin[2] / layer.stride[2];
  b.last = ceil_div(call.pad_begin[2] + call.out[2], layer.stride[2]);
  b.first_row = call.pad_begin[1] / layer.stride[1];
  b.rows = ceil_div(call.pad_begin[1] + call.out[1], layer.stride[1]) - b.first_row;
  const auto floats = static_cast<std::int64_t>(request.caches.l2 / sizeof(float)) / kProductShare;
  const std::int64_t fit = floats / (pitch * (b.halo_h + 1)) - b.halo_w;
  const std::int64_t most = std::max(fit, kMinBlocks + b.halo_w);
  const std::int64_t all = b.last - b.first;
  b.columns = ceil_div(all, ceil_div(all, most));
  b.column_tasks = ceil_div(all, b.columns);
  return b;
}

class DirectOverlap final : public Algorithm {
 public:
  const char* name() const override { return "direct-overlap"; }
  AlgorithmChoice choice() const override { return AlgorithmChoice::kDirect; }
  SumOrder order() const override { return SumOrder::kPositions; }

  std::unique_ptr<Execution> plan(const PlanRequest& request, Decline* decline) const override {
    decline->reason = decline_phased(request);
    if (decline->reason.empty()) decline->reason = decline_shape(request.problem);
    if (!decline->reason.empty()) return nullptr;
    const KernelTable& table = *request.kernels;
    TileKernels kernels(table, TileKernels::Family::kChannels);
    PositionWeights form(request.problem.layer, kernels.max_columns(), table.lanes);
    if (static_cast<double>(form.pitch()) > kMaxPadding * static_cast<double>(form.columns())) {
      decline->reason = "too few kernel positions and output channels to fill vectors of " + std::to_string(table.lanes);
      return nullptr;
    }
    const Blocking blocking = choose(request, form.pitch());
    auto execution = std::make_unique<DirectOverlapExecution>(request, kernels, std::move(form), blocking);
    if (lacks_workspace(request, execution->workspace_bytes(), "a row of the input", decline)) return nullptr;
    return execution;
  }

 private:
  static std::string decline_shape(const Problem& p) {
    const LayerSpec& l = p.layer;
    if (l.groups > 1) return "several groups";
    if (!few_outputs(l)) return "more output channels or phases than direct-few has rows for, or a single phase";
    // A single plane, to which the input gives.
    if (p.call.in[0] > 1 || l.kernel[0] > 1 || p.call.out[0] > 1 || p.call.pad_begin[0] != 0) return "three dimensions";
    if (l.dilation[2] > 1) return "dilation along the width";
    const std::int64_t halo = ceil_div(l.kernel[2], l.stride[2]);
    if (l.kernel[1] * l.kernel[2] * l.out_channels > kMaxColumns || l.kernel[1] * halo > kMaxSources) {
      return "more kernel positions than are added up at once";
    }
    if (p.call.pad_begin[1] < 0 || p.call.pad_begin[2] < 0) return "outputs before all products";
    if (ceil_div(p.call.pad_begin[2] + p.call.out[2], l.stride[2]) > p.call.in[2] + halo)
      return "outputs behind all products";
    return "";
  }
};

}  // namespace

const Algorithm& direct_overlap() {
  static const DirectOverlap algorithm;
  return algorithm;
}

}  // namespace convtranspose
