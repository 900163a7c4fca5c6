#include "algorithms/winograd_design.h"

#include <algorithm>
#include <array>
#include <cmath>

#include "algorithms/cost_model.h"
#include "algorithms/limits.h"
#include "algorithms/streaming.h"
#include "algorithms/term_scale.h"
#include "algorithms/winograd_joint.h"
#include "algorithms/winograd_terms.h"
#include "problem/checked.h"

namespace convtranspose {
namespace {

constexpr std::int64_t kFloatsPerLine = 16;
constexpr std::int64_t kMaxBlockBytes = 6 << 20;               // of transformed input and products,
constexpr double kBlockShares[] = {0.75, 1.5, 0.5, 0.3, 3.0};  // or so many second-level caches: what is tried
constexpr double kResidentShare = 0.65;                        // of the second-level cache, that stays there,
constexpr double kResidentInputShare = 0.85;                   // and where all but input is used once
constexpr int kMaxInputExponent = 90;
constexpr std::int64_t kRowsPerClass = 64;  // of the GEMMs, about
constexpr std::int64_t kMinBlockChannels = 16;
constexpr std::int64_t kMaxBlockChannels = 32;
constexpr std::int64_t kWantedBlocks = 4;
constexpr std::int64_t kMinShare = 8;  // channels of such a block
constexpr int kMaxRounds = 2;
constexpr std::int64_t kMaxProductBytes = 4 << 20;  // of a block of as few tiles as can be
constexpr int kMaxPanelVectors = 3;                 // a chunk of channels of a panel of tiles stays in the first-level cache

// Cycles, fitted to the native bench.
constexpr double kCombinePerVector = 3.0;    // of weights
constexpr double kInputPerVector = 6.0;      // of tiles, per point
constexpr double kOutputPerVector = 8.0;     // of tiles, per value;
constexpr double kJointPerVector = 4.5;      // where height and width are both transformed, at once
constexpr double kLinesPerFloat = 0.4;       // transposed, where channels fill whole lines
constexpr double kPartsPerFloat = 1.5;       // transposed by vectors of less than a line
constexpr double kSlabsPerFloat = 1.2;       // transposed, of three dimensions
constexpr double kSharedPerFloat = 0.4;      // stored, of rows that share lines: others are stored in between
constexpr double kGridPerFloat = 1.0;        // gathered from inputs, or spread to outputs, of a dilated layer
constexpr double kGridRow = 40.0;            // a row of a grid of one channel, read or stored
constexpr double kTask = 3000.0;             // a block of tiles and of output channels, its share of a stage
constexpr double kInputCall = 100.0;         // a channel of a block of tiles
constexpr double kOutputCall = 200.0;        // a channel's row of phases of a block of tiles
constexpr double kRowCost = 25.0;            // a row of tiles that is split or stored
constexpr double kInputStreamShare = 0.4;    // of the time to stream transformed input, that products do not hide
constexpr double kWeightStreamShare = 0.25;  // of the same for weights, which stand in the order of their use
constexpr double kTermStreamShare = 0.2;     // of all that passes through the caches where products are of terms

// Residues of a dimension with the same number of taps.
struct TapCount {
  int taps;
  std::int64_t residues;
};

std::array<TapCount, 2> tap_counts(const LayerSpec& layer, int d) {
  const int most = WinogradWeights::most_taps(layer, d);
  const std::int64_t with_most = layer.kernel[d] - layer.stride[d] * (most - 1);
  return {TapCount{most, with_most}, TapCount{most - 1, layer.stride[d] - with_most}};
}

// Calls visit(points, taps, phases) for each class of phases.
template <typename Visit>
void for_each_class(const LayerSpec& layer, const std::array<int, kSpatialDims>& tile, Visit visit) {
  for (const TapCount& d : tap_counts(layer, 0)) {
    for (const TapCount& h : tap_counts(layer, 1)) {
      for (const TapCount& w : tap_counts(layer, 2)) {
        const std::int64_t phases = d.residues * h.residues * w.residues;
        if (phases == 0) continue;
        visit(std::int64_t{winograd_points(tile[0], d.taps)} * winograd_points(tile[1], h.taps) *
                  winograd_points(tile[2], w.taps),
              std::int64_t{d.taps} * h.taps * w.taps, phases);
      }
    }
  }
}

std::array<int, kSpatialDims> input_points(const LayerSpec& layer, const std::array<int, kSpatialDims>& tile) {
  std::array<int, kSpatialDims> points;
  for (int d = 0; d < kSpatialDims; ++d) points[d] = winograd_points(tile[d], WinogradWeights::most_taps(layer, d));
  return points;
}

std::array<int, kSpatialDims> all_taps(const LayerSpec& layer) {
  return {WinogradWeights::most_taps(layer, 0), WinogradWeights::most_taps(layer, 1), WinogradWeights::most_taps(layer, 2)};
}

// Sets design->panel to the shape that multiplies a block of so many tiles by all weights at the least cost; returns that.
double choose_panel(const PlanRequest& request, const TileKernels& kernels, std::int64_t tiles, WinogradDesign* design) {
  const Problem& p = request.problem;
  const std::int64_t channels = p.in_channels_per_group();
  const std::int64_t chunks = ceil_div(channels, winograd_channel_chunk(p, design->tile));
  const double steps = static_cast<double>(channels) / static_cast<double>(chunks);
  const std::int64_t blocks = ceil_div(p.out_channels_per_group(), design->block_channels);
  const KernelTable& table = *request.kernels;
  double least = 0.0;
  for (int vectors = 1; vectors <= kMaxPanelVectors; ++vectors) {
    const std::int64_t columns = std::int64_t{vectors} * kernels.lanes();
    // The tallest: rows are split evenly anyway.
    const TileKernel* const tallest =
        std::find_if(table.wide, table.wide + table.wide_count, [&](const TileKernel& k) { return k.nr == columns; });
    if (tallest == table.wide + table.wide_count) continue;
    const TileKernel& kernel = *tallest;
    const std::int64_t repeats = blocks * chunks * ceil_div(tiles, kernel.nr);
    double cycles = 0.0;
    for_each_class(p.layer, design->tile.size, [&](std::int64_t points, std::int64_t, std::int64_t phases) {
      const std::int64_t rows = phases * design->block_channels;
      const std::int64_t panels = ceil_div(rows, kernel.mr);
      cycles += static_cast<double>(points * panels * repeats) * kernels.cycles(ceil_div(rows, panels), kernel.nr, steps);
    });
    if (least > 0.0 && cycles >= least) continue;
    least = cycles;
    design->panel = {kernel.mr, kernel.nr};
  }
  return least;
}

// Rows of products at all points, and values of the weights, of one output channel.
struct ChannelCounts {
  std::int64_t rows = 0;
  std::int64_t values = 0;
  std::int64_t fewest_phases = 1 << 20;
};
ChannelCounts channel_counts(const LayerSpec& layer, const WinogradWeights::Tile& tile) {
  ChannelCounts counts;
  for_each_class(layer, tile.size, [&](std::int64_t points, std::int64_t taps, std::int64_t phases) {
    counts.rows += points * phases;
    counts.values += (tile.combined ? taps : points) * phases;
    counts.fewest_phases = std::min(counts.fewest_phases, phases);
  });
  return counts;
}

// Cycles of a run in blocks of design->block_channels and, at most, design->tiles; sets the panel that goes with it.
void estimate(const PlanRequest& request, const TileKernels& kernels, const ChannelCounts& counts, WinogradDesign* design) {
  const Problem& p = request.problem;
  const LayerSpec& layer = p.layer;
  const std::int64_t channels = p.in_channels_per_group();
  const std::int64_t outputs = p.out_channels_per_group();
  const auto points = input_points(layer, design->tile.size);
  const std::int64_t point_count = std::int64_t{points[0]} * points[1] * points[2];
  const WinogradTiles tiles = winograd_tiles(p, *design);
  const double count = static_cast<double>(tiles.most_tiles());
  const double blocks = static_cast<double>(tiles.block_count() * layer.groups);
  // The last blocks along a dimension are smaller. (Estimates of terms were fitted without it.)
  const double share = design->tile.matrices ? 1.0 : tiles.mean_tiles() / count;
  const double vectors = static_cast<double>(ceil_div(tiles.most_tiles(), kernels.lanes()));
  const double channel_blocks = static_cast<double>(ceil_div(outputs, design->block_channels));

  const bool terms = design->tile.matrices;
  double multiply = 0.0;
  if (terms) {
    design->panel = {kTermSquare, WinogradTerms::columns(tiles.most_tiles())};
    for_each_class(layer, design->tile.size, [&](std::int64_t class_points, std::int64_t, std::int64_t phases) {
      multiply += static_cast<double>(class_points) * channel_blocks *
                  WinogradTerms::multiply_cycles(phases * design->block_channels, channels, tiles.most_tiles());
    });
  } else {
    multiply = choose_panel(request, kernels, tiles.most_tiles(), design);
  }
  double combine = 0.0;
  for_each_class(layer, design->tile.size, [&](std::int64_t class_points, std::int64_t taps, std::int64_t phases) {
    if (!design->tile.combined || taps == 1) return;
    combine += static_cast<double>(outputs * class_points * phases * channels) / kernels.lanes() * kCombinePerVector;
  });

  // What does not stay in the second-level cache: the input, read again for each block of channels, and the weights, read
  // again for each block of tiles.
  const double cache = static_cast<double>(request.caches.l2);
  const double weights = static_cast<double>(counts.values * outputs * channels) * 4.0;
  const double transformed = terms
                                 ? static_cast<double>(WinogradTerms::input_bytes(point_count, channels, tiles.most_tiles()))
                                 : static_cast<double>(point_count * channels) * count * 4.0;
  const double products =
      static_cast<double>(counts.rows * design->block_channels) * (count + static_cast<double>(tiles.slab)) * 4.0;
  const double of_points = 2.0 * weights / channel_blocks / static_cast<double>(point_count);
  double streamed = 0.0;  // bytes, as far as they cost time
  if (terms) {
    const double all_products = static_cast<double>(counts.rows * outputs) * (count + static_cast<double>(tiles.slab)) * 4.0;
    if (transformed + all_products + weights > kResidentShare * cache) {
      streamed = kTermStreamShare * ((1.0 + design->rounds) * transformed + 2.0 * all_products + weights);
    }
  } else if (transformed + products + of_points > kResidentInputShare * cache) {
    streamed += kInputStreamShare * share * transformed * (channel_blocks + 1.0);
  }
  if (!terms && transformed + products + weights > kResidentShare * cache) streamed += kWeightStreamShare * weights;
  if (!terms && products > cache) streamed += 2.0 * share * products * channel_blocks;  // written and read

  const double tile_rows = count / static_cast<double>(std::max<std::int64_t>(1, tiles.block(0).size[2]));
  const double positions = static_cast<double>(design->tile.size[0] * design->tile.size[1]);
  const double split = terms ? static_cast<double>(point_count) * WinogradTerms::split_cycles(tiles.most_tiles()) : 0.0;
  const double input =
      static_cast<double>(channels) *
      (kInputCall + vectors * static_cast<double>(point_count) * kInputPerVector + tile_rows * positions * kRowCost + split);
  const JointKernels joint_kernels = joint_winograd_kernels(layer, *request.kernels, design->tile.size);
  bool joint = !terms && design->tile.size[1] > 1;
  for (const TapCount& of_height : tap_counts(layer, 1)) {
    joint = joint && (of_height.residues == 0 || joint_kernels[static_cast<std::size_t>(of_height.taps)] >= 0);
  }
  const double per_vector = joint ? kJointPerVector : kOutputPerVector;
  const double output = static_cast<double>(outputs) *
                        (kOutputCall * static_cast<double>(layer.stride[0] * layer.stride[1]) +
                         vectors * static_cast<double>(counts.rows) * per_vector +
                         tile_rows * positions * static_cast<double>(layer.stride[0] * layer.stride[1]) * kRowCost);
  design->cycles = blocks * (kTask * (channel_blocks + 1.0) + combine + streamed / cost::kStreamBytesPerCycle +
                             share * (multiply + input + output)) +
                   static_cast<double>(p.dst_elements()) * cost::kStorePerFloat;
  const bool last = p.call.format == MemoryFormat::kChannelsLast;
  if (!terms && !last && rows_share_lines(p.call)) design->cycles += static_cast<double>(p.dst_elements()) * kSharedPerFloat;
  if (tiles.dilated()) {
    const std::int64_t rows = p.src_elements() / p.call.in[2] + p.dst_elements() / p.call.out[2];
    design->cycles += static_cast<double>(rows * layer.dilation[2]) * kGridRow;
    // Outputs of grids that are in one block are put together before they are stored.
    const double spread = tiles.images % layer.dilation[2] == 0 ? 1.0 : 2.0;
    if (!last) {
      design->cycles += static_cast<double>(p.src_elements()) * kGridPerFloat;
      design->cycles += static_cast<double>(p.dst_elements()) * spread * kGridPerFloat;
    }
  }
  if (last) {
    const double per_float = terms                              ? kLinesPerFloat
                             : kernels.lanes() < kFloatsPerLine ? kPartsPerFloat
                                                                : cost::kTransposePerFloat;
    design->cycles += static_cast<double>(p.src_elements() + p.dst_elements()) * per_float;
    // Several slabs of a block: what it stores lies in as many places.
    if (!terms && p.call.out[0] > 1) design->cycles += static_cast<double>(p.dst_elements()) * kSlabsPerFloat;
  }
}

// Fills in everything but the tile. Gives up on one that is far from `best`, if that is set, and, with cycles left at 0, on
// one whose products would be too large.
void design_blocks(const PlanRequest& request, const TileKernels& kernels, const WinogradDesign& best,
                   WinogradDesign* design) {
  constexpr double kFar = 1.25;
  const Problem& p = request.problem;
  const std::int64_t channels = p.in_channels_per_group();
  const std::int64_t outputs = p.out_channels_per_group();
  const ChannelCounts counts = channel_counts(p.layer, design->tile);
  // Some blocks at least, for threads to share.
  design->block_channels = std::min({std::clamp(kRowsPerClass / counts.fewest_phases, kMinBlockChannels, kMaxBlockChannels),
                                     outputs, std::max(kMinShare, ceil_div(outputs, kWantedBlocks))});
  const auto points = input_points(p.layer, design->tile.size);
  const std::int64_t point_count = std::int64_t{points[0]} * points[1] * points[2];
  std::int64_t input_bytes = 4 * point_count * channels, product_bytes = 4 * counts.rows * design->block_channels;
  if (design->tile.matrices) {
    // Two rows of matrices at least, if that can be.
    const bool pairs = counts.fewest_phases % 2 == 0 || outputs % (2 * kTermSquare) != 0;
    design->block_channels = pairs ? kTermSquare : 2 * kTermSquare;
    input_bytes = WinogradTerms::input_bytes(point_count, channels, kTermSquare) / kTermSquare;
    product_bytes = 4 * counts.rows * outputs;
  }
  if (!design->tile.matrices && product_bytes * kernels.lanes() > kMaxProductBytes) return;
  WinogradDesign trial = *design;
  for (trial.rounds = 1; trial.rounds <= (design->tile.matrices ? kMaxRounds : 1); trial.rounds *= 2) {
    if (trial.rounds > ceil_div(outputs, design->block_channels)) break;
    std::int64_t before = 0;
    for (const double share : kBlockShares) {
      const auto bytes = std::min(kMaxBlockBytes, static_cast<std::int64_t>(share * static_cast<double>(request.caches.l2)));
      trial.tiles = std::max<std::int64_t>(kernels.lanes(), bytes / (input_bytes + product_bytes / trial.rounds));
      if (trial.tiles == before) continue;
      before = trial.tiles;
      estimate(request, kernels, counts, &trial);
      if (design->cycles == 0.0 || trial.cycles < design->cycles) *design = trial;
      if (best.cycles > 0.0 && design->cycles > kFar * best.cycles) return;
    }
  }
}

// Weights in memory, over the raw ones.
double packed_multiple(const LayerSpec& layer, const WinogradWeights::Tile& tile) {
  std::int64_t values = 0, taps_in_all = 0;
  for_each_class(layer, tile.size, [&](std::int64_t points, std::int64_t taps, std::int64_t phases) {
    values += (tile.combined ? taps : points) * phases;
    taps_in_all += taps * phases;
  });
  return static_cast<double>(values) / static_cast<double>(taps_in_all);
}

// What is multiplied: matrices of terms, values of taps, or values that are made of taps meanwhile.
enum class Products { kMatrices, kPacked, kCombined };

// winograd_input_limit of products of floats.
int float_input_limit(const PlanRequest& request, const std::array<int, kSpatialDims>& tile) {
  const LayerSpec& layer = request.problem.layer;
  double growth = static_cast<double>(request.problem.in_channels_per_group());
  for (int d = 0; d < kSpatialDims; ++d) {
    double input = 1.0, taps_and_output = 1.0;
    for (const TapCount& count : tap_counts(layer, d)) {
      if (count.residues == 0) continue;
      const WinogradGrowth g = winograd_growth(tile[d], count.taps);
      taps_and_output = std::max(taps_and_output, g.taps * g.output);
    }
    input = winograd_growth(tile[d], WinogradWeights::most_taps(layer, d)).input;
    growth *= input * taps_and_output;
  }
  return std::min(kMaxInputExponent, 126 - request.weights.exponent - static_cast<int>(std::ceil(std::log2(growth))));
}

}  // namespace

WinogradDesign in_blocks_of(const PlanRequest& request, const TileKernels& kernels, WinogradDesign design,
                            std::int64_t tiles) {
  design.tiles = tiles;
  estimate(request, kernels, channel_counts(request.problem.layer, design.tile), &design);
  return design;
}

WinogradTiles winograd_tiles(const Problem& problem, const WinogradDesign& design) {
  return WinogradTiles(problem, design.tile.size, input_points(problem.layer, design.tile.size), all_taps(problem.layer),
                       design.tiles);
}

// Values are larger than the inputs and weights that they
// are made of, the more so the more dimensions are transformed: sums are so much shorter than those of the direct kernels,
// of `products` products, that the RMS error of tiles of two is no worse than theirs.
std::int64_t winograd_channel_chunk(const Problem& problem, const WinogradWeights::Tile& tile) {
  constexpr double kShare[kSpatialDims + 1] = {1.0, 0.375, 0.1875, 0.0625};  // [transformed dimensions]
  constexpr std::int64_t kProducts = 512;                                    // that the direct kernels sum at most
  constexpr std::int64_t kOfLargeTiles = 128;
  constexpr std::int64_t kGranule = 8;
  constexpr double kWholeImage = 8.0;  // inputs along a dimension
  const LayerSpec& layer = problem.layer;
  const std::int64_t channels = std::max<std::int64_t>(1, layer.in_channels / layer.groups);
  std::int64_t products = channels, transformed = 0;
  bool large = false;
  double inner = 1.0;  // at borders fewer products reach an output, but all that a tile holds make its error
  for (int d = 0; d < kSpatialDims; ++d) {
    products *= WinogradWeights::most_taps(layer, d);
    transformed += tile.size[d] > 1 ? 1 : 0;
    large = large || tile.size[d] > 2;
    const std::int64_t grid = ceil_div(problem.call.in[d], layer.dilation[d]);
    if (tile.size[d] > 1) inner = std::min(inner, static_cast<double>(grid) / kWholeImage);
  }
  const double share = inner * kShare[transformed] * static_cast<double>(std::min(products, kProducts));
  const std::int64_t most = large ? kOfLargeTiles : std::max<std::int64_t>(kGranule, std::llround(share));
  return std::min(channels, round_up(ceil_div(channels, ceil_div(channels, most)), kGranule));
}

int winograd_input_limit(const PlanRequest& request, const WinogradWeights::Tile& tile) {
  const int limit = float_input_limit(request, tile.size);
  if (!tile.matrices) return limit;
  double growth = 1.0;
  for (int d = 0; d < kSpatialDims; ++d) {
    growth *= winograd_growth(tile.size[d], WinogradWeights::most_taps(request.problem.layer, d)).input;
  }
  return std::min(limit, WinogradTerms::input_limit(growth));
}

WinogradDesign choose_winograd_design(const PlanRequest& request, const TileKernels& kernels) {
  const LayerSpec& layer = request.problem.layer;
  const bool high = request.problem.call.precision != Precision::kHighest;
  const double most_packed = high ? kMaxPackedMultipleHigh : kMaxPackedMultiple;
  WinogradDesign best;
  for (int choice = high ? 7 : 0; choice >= 0; --choice) {  // large tiles first: the best is found early
    WinogradDesign design;
    bool sensible = true;
    for (int d = 0; d < kSpatialDims; ++d) {
      const bool four = (choice >> d & 1) != 0;
      const bool several = WinogradWeights::most_taps(layer, d) > 1;
      design.tile.size[d] = !several ? 1 : four ? 4 : 2;
      // Tiles of four round what no product reaches: between the ends of grids there may be such outputs.
      const bool reached =
          layer.dilation[d] == 1 || (layer.stride[d] == 1 && request.problem.call.in[d] >= layer.dilation[d]);
      sensible = sensible && (several || !four) && (reached || !four);
    }
    if (!sensible) continue;
    const std::int64_t channels = request.problem.in_channels_per_group();
    const double padded = static_cast<double>(round_up(channels, std::int64_t{kTermBlock})) / static_cast<double>(channels);
    const bool terms = !high && request.problem.out_channels_per_group() % kTermSquare == 0 &&
                       padded * packed_multiple(layer, design.tile) <= most_packed && decline_terms(request).empty();
    for (const Products products : {Products::kMatrices, Products::kPacked, Products::kCombined}) {
      design.tile.combined = products == Products::kCombined;
      design.tile.matrices = products == Products::kMatrices;
      design.cycles = 0.0;
      if (design.tile.matrices && !terms) continue;
      if (packed_multiple(layer, design.tile) > most_packed) continue;
      design_blocks(request, kernels, best, &design);
      if (design.cycles == 0.0) continue;
      if (best.cycles == 0.0 || design.cycles < best.cycles) best = design;
    }
  }
  return best;
}

}  // namespace convtranspose
