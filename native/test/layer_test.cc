// The layer end to end, without Node: every algorithm on every instruction set against the definition, over random problems.
#include "layer/layer.h"

#include <doctest/doctest.h>

#include <algorithm>
#include <cmath>
#include <cstring>
#include <future>
#include <limits>
#include <map>
#include <random>
#include <string>
#include <vector>

#include "bounds.h"
#include "definition.h"
#include "include/convtranspose.h"
#include "plan/planner.h"
#include "problem/checked.h"

namespace convtranspose {
namespace {

using Random = std::mt19937_64;
std::int64_t pick(Random& random, std::int64_t low, std::int64_t high) {
  return std::uniform_int_distribution<std::int64_t>(low, high)(random);
}

Problem random_problem(Random& random) {
  Problem p;
  LayerSpec& l = p.layer;
  CallSpec& c = p.call;
  l.rank = static_cast<int>(pick(random, 1, 3));
  l.groups = pick(random, 0, 2) == 0 ? pick(random, 2, 3) : 1;
  const bool many = pick(random, 0, 3) == 0;
  l.in_channels = l.groups * pick(random, 1, many ? 70 : 9);
  l.out_channels = l.groups * pick(random, 1, many ? 70 : 9);
  if (pick(random, 0, 3) == 0) {  // depthwise, at times with several outputs to an input
    l.groups = l.in_channels = pick(random, 1, 20);
    l.out_channels = l.groups * (pick(random, 0, 2) == 0 ? pick(random, 2, 3) : 1);
  }
  l.has_bias = pick(random, 0, 1) == 1;
  // Many images of few pixels: an algorithm may put them side by side.
  const bool tiny = pick(random, 0, 5) == 0;
  c.batch = tiny ? pick(random, 15, 35) : pick(random, 1, 3);
  const bool square = pick(random, 0, 3) == 0;  // kernel == stride, no padding
  for (int d = kSpatialDims - l.rank; d < kSpatialDims; ++d) {
    l.kernel[d] = pick(random, 1, 5);
    l.stride[d] = square ? l.kernel[d] : pick(random, 1, 4);
    l.dilation[d] = square || pick(random, 0, 2) > 0 ? 1 : pick(random, 2, 3);
    c.in[d] = pick(random, 1, tiny ? 3 : l.rank == 1 ? 90 : l.rank == 2 ? 20 : 7);
    c.pad_begin[d] = square ? 0 : pick(random, -1, 3);
    const std::int64_t natural = (c.in[d] - 1) * l.stride[d] + l.dilation[d] * (l.kernel[d] - 1) + 1;
    c.out[d] = square ? natural : std::max<std::int64_t>(natural - c.pad_begin[d] - pick(random, -2, 3), 1);
  }
  c.format = pick(random, 0, 1) == 0 ? MemoryFormat::kContiguous : MemoryFormat::kChannelsLast;
  if (pick(random, 0, 3) == 0) c.post_ops.lower = 0.0f;
  if (pick(random, 0, 1) == 0) c.post_ops = {static_cast<Activation>(pick(random, 1, 8)), -INFINITY, INFINITY, 0.25f};
  return p;
}

Values random_values(Random& random, const Problem& p) {
  std::normal_distribution<float> normal;
  Values v;
  v.x.resize(static_cast<std::size_t>(p.src_elements()));
  v.w.resize(static_cast<std::size_t>(p.weights_elements()));
  v.b.resize(static_cast<std::size_t>(p.layer.out_channels));
  if (p.call.post_ops.activation == Activation::kPrelu) v.slopes.resize(static_cast<std::size_t>(p.layer.out_channels));
  if (pick(random, 0, 2) == 0) v.residual.resize(static_cast<std::size_t>(p.dst_elements()));
  for (auto* values : {&v.x, &v.w, &v.b, &v.slopes, &v.residual}) {
    for (float& value : *values) value = normal(random);
  }
  return v;
}

// The kernels for terms of this machine, or nullptr.
const KernelTable* terms_here() {
  for (const Isa isa : cpu_info().supported) {
    if (const KernelTable* table = kernel_table(isa); table->terms != nullptr) return table;
  }
  return nullptr;
}

// How often something came up with an algorithm.
using Tally = std::map<std::string, int>;

void count_amx(const Plan& plan, Tally& tally) {
  const Problem& p = plan.problem;
  const std::string format = p.call.format == MemoryFormat::kContiguous ? "contiguous" : "channelsLast";
  for (const auto& [name, value] : plan.execution->blocking) {
    if (name == "terms") ++tally["terms " + std::to_string(value)];
    if ((name == "interleaved" || name == "splitWeights") && value == 1) ++tally[name];
    if (name == "residues" && value == 1) ++tally["residues, " + format];
    if (name == "images" && value > 1) ++tally["several images"];
    if (name == "images" && value < p.call.batch && p.call.batch % value != 0) ++tally["tail of images"];
  }
  if (p.in_channels_per_group() % 32 != 0) ++tally["tail of channels"];
  if (p.in_channels_per_group() > 32) ++tally["blocks of channels"];
  if (p.layer.groups > 1) ++tally["groups"];
  if (plan.execution->tasks(0) > 1) ++tally["several tasks"];
  if (p.call.post_ops.activation != Activation::kClamp) ++tally["activation"];
  ++tally[format];
}

std::int64_t size_of(const std::vector<std::pair<std::string, std::int64_t>>& blocking, const std::string& wanted) {
  for (const auto& [name, value] : blocking) {
    if (name == wanted) return value;
  }
  return -1;
}

std::int64_t blocking_of(const Plan& plan, const std::string& wanted) { return size_of(plan.execution->blocking, wanted); }

// Runs every task of a plan on this thread, with a new workspace each time and guards behind it. `fresh`: as of RunArgs.
// `backwards`: the last task of each stage first. `ran`: the kernels, if it is given. False if the input was refused.
bool run_plan(const Plan& plan, const Values& v, bool fresh, float* y, bool backwards = false, KernelSet* ran = nullptr) {
  const Execution& execution = *plan.execution;
  const PackedForm* form = execution.packed_form();
  FloatArray packed(form == nullptr ? 1 : form->elements());
  if (form != nullptr) pack_all(*form, v.w.data(), packed.data());
  const std::int64_t floats = static_cast<std::int64_t>(execution.workspace_bytes() / sizeof(float));
  FloatArray workspace(floats + 64);
  const float guard = 12345.0f;
  for (std::int64_t i = 0; i < floats; ++i) workspace.data()[i] = std::nanf("");
  for (std::int64_t i = 0; i < 64; ++i) workspace.data()[floats + i] = guard;
  FloatArray shared(static_cast<std::int64_t>(execution.shared_bytes() / sizeof(float)) + 1);
  for (std::int64_t i = 0; i < shared.count(); ++i) shared.data()[i] = std::nanf("");
  std::atomic<bool> refused{false};
  RunArgs args{v.x.data(),
               y,
               plan.problem.layer.has_bias ? v.b.data() : nullptr,
               form == nullptr ? v.w.data() : packed.data(),
               v.w.data(),
               v.residual.empty() ? nullptr : v.residual.data(),
               v.slopes.empty() ? nullptr : v.slopes.data(),
               reinterpret_cast<std::byte*>(shared.data()),
               &refused,
               fresh};
  KernelSet used;
  std::int64_t tag = -1;
  for (int stage = 0; stage < execution.stages(); ++stage) {
    const std::int64_t tasks = execution.tasks(stage);
    for (std::int64_t i = 0; i < tasks; ++i) {
      const std::int64_t task = backwards ? tasks - 1 - i : i;
      if (task % 3 == 0) tag = -1;
      execution.run_task(args, stage, task, {reinterpret_cast<std::byte*>(workspace.data()), &tag, &used});
    }
  }
  for (std::int64_t i = 0; i < 64; ++i) REQUIRE(workspace.data()[floats + i] == guard);
  CHECK_MESSAGE((used & ~execution.kernels).none(), "a kernel ran that the plan does not name");
  if (ran != nullptr) *ran = used;
  return !refused;
}

// The outputs of a plan in memory that begins `beside` floats after a line, with nothing written behind them.
std::vector<float> run_beside(const Plan& plan, const Values& v, bool fresh, std::int64_t beside) {
  const std::int64_t outputs = plan.problem.dst_elements();
  FloatArray memory(outputs + 16);
  std::fill(memory.data(), memory.data() + memory.count(), std::nanf(""));
  float* const y = memory.data() + beside;
  REQUIRE(run_plan(plan, v, fresh, y));
  REQUIRE(std::isnan(y[outputs]));
  return {y, y + outputs};
}

// Whether outputs of this size pass by a second-level cache of so many bytes, where hardly anything is computed between
// them.
bool passes_by(const Plan& plan, bool fresh, std::size_t l2) {
  const double bytes = static_cast<double>(plan.problem.dst_elements()) * sizeof(float);
  return bytes > (fresh ? 0.125 : 2.0) * static_cast<double>(l2);
}

TEST_CASE("every algorithm on every instruction set keeps the bound, and those of one order agree to the bit") {
  Random random(20261122);
  int compared = 0;
  Tally amx_tally;
  constexpr int kOfRandomCaches = 400;  // from this round on
  for (int round = 0; round < 600; ++round) {
    Problem problem = random_problem(random);
    constexpr Precision kPrecisions[] = {Precision::kHighest, Precision::kHighest, Precision::kHigh, Precision::kHigh,
                                         Precision::kMedium};
    problem.call.precision = kPrecisions[round % 5];
    const Values v = random_values(random, problem);
    const Expected expected = definition(problem, v);
    INFO("problem " << describe(problem));
    for (const Isa isa : cpu_info().supported) {
      const KernelTable* table = kernel_table(isa);
      REQUIRE(table != nullptr);
      std::map<SumOrder, std::vector<float>> first;
      for (const Algorithm* algorithm : algorithm_list()) {
        INFO(std::string(algorithm->name()) << " on " << std::string(table->isa));
        // Tiny caches make many blocks of a small problem.
        CacheInfo caches;
        caches.l2 = round % 2 == 0 ? 16 * 1024 : 1024 * 1024;
        if (round >= kOfRandomCaches) {
          caches.l1d = std::size_t{1024} << pick(random, 0, 6);
          caches.l2 = std::size_t{1024} << pick(random, 0, 10);
        }
        problem.call.algorithm = algorithm->choice();
        std::shared_ptr<const Plan> plan;
        if (!make_plan_with(problem, *algorithm, WeightFacts{}, *table, caches, &plan).ok()) continue;
        std::vector<float> y(expected.y.size(), std::nanf(""));
        if (!run_plan(*plan, v, compared % 2 == 0, y.data())) {
          REQUIRE((algorithm == &winograd() && !v.residual.empty()));  // with dilation it cannot add them
          continue;
        }
        const std::vector<double> bounds = error_bounds(*algorithm, problem, v, expected, DataKind::kMixedSigns);
        REQUIRE(first_wrong_output(y, expected, bounds) == "");
        ++compared;
        if (algorithm == &amx()) count_amx(*plan, amx_tally);
        if (algorithm == &amx() && !v.residual.empty()) ++amx_tally["residual"];
        const auto [known, is_new] = first.try_emplace(algorithm->order(), y);
        if (!is_new) REQUIRE(known->second == y);
      }
    }
  }
  CHECK(compared > 1000 * static_cast<int>(cpu_info().supported.size()));
  if (!terms_here()) return;
  for (const std::string reached :
       {"terms 1", "terms 2", "terms 3", "interleaved", "splitWeights", "several images", "tail of images",
        "tail of channels", "blocks of channels", "groups", "several tasks", "activation", "residual", "contiguous",
        "channelsLast", "residues, contiguous", "residues, channelsLast"}) {
    CHECK_MESSAGE(amx_tally[reached] > 2, reached << " " << amx_tally[reached]);
  }
}

TEST_CASE("amx: weights that are split within the products give the bits of weights that were split before") {
  if (!terms_here()) return;
  Random random(4);
  struct Case {
    std::int64_t in_channels, out_channels, groups, batch;
    Dims in, kernel, stride, dilation;
  };
  // Kernels that are no multiple of the stride, or dilated: the columns are channels. One matrix of positions to many.
  const Case cases[] = {
      {250, 31, 1, 1, {1, 3, 4}, {1, 3, 3}, {1, 2, 2}, {1, 1, 1}},
      {64, 16, 1, 2, {1, 5, 9}, {1, 3, 3}, {1, 1, 1}, {1, 2, 1}},
      {500, 60, 2, 1, {1, 1, 77}, {1, 1, 5}, {1, 1, 2}, {1, 1, 1}},
      {200, 31, 1, 3, {1, 6, 6}, {1, 3, 5}, {1, 2, 3}, {1, 1, 1}},
      {62, 47, 1, 1, {3, 4, 5}, {3, 2, 3}, {2, 3, 2}, {1, 1, 1}},
      {1100, 16, 1, 1, {1, 4, 4}, {1, 3, 3}, {1, 2, 2}, {1, 1, 1}},
      {63, 15, 1, 20, {1, 3, 3}, {1, 3, 3}, {1, 2, 2}, {1, 1, 1}},
  };
  for (const Case& each : cases) {
    Problem problem;
    problem.layer = {3, each.groups, each.in_channels, each.out_channels, each.kernel, each.stride, each.dilation, true};
    problem.call.batch = each.batch;
    problem.call.in = each.in;
    problem.call.algorithm = AlgorithmChoice::kAmx;
    for (int d = 0; d < kSpatialDims; ++d) {
      problem.call.out[d] = (each.in[d] - 1) * each.stride[d] + (each.kernel[d] - 1) * each.dilation[d] + 1;
    }
    const Values v = random_values(random, problem);
    INFO("problem " << describe(problem));
    std::vector<float> results[2];
    for (const std::int64_t stays : {0, 1}) {
      CacheInfo caches;
      caches.l2 = stays == 1 ? 64 * 1024 * 1024 : 16 * 1024;
      std::shared_ptr<const Plan> plan;
      REQUIRE(make_plan_with(problem, amx(), WeightFacts{}, *terms_here(), caches, &plan).ok());
      CHECK(blocking_of(*plan, "splitWeights") == 1 - stays);
      results[stays].assign(static_cast<std::size_t>(problem.dst_elements()), std::nanf(""));
      REQUIRE(run_plan(*plan, v, false, results[stays].data()));
    }
    CHECK(results[0] == results[1]);
  }
}

// A problem for amx-overlap, whose planes do not overlap along the depth.
Problem overlap_problem(Random& random) {
  Problem p;
  LayerSpec& l = p.layer;
  CallSpec& c = p.call;
  l.rank = static_cast<int>(pick(random, 1, 3));
  l.groups = pick(random, 0, 3) == 0 ? pick(random, 2, 3) : 1;
  const std::int64_t kind = pick(random, 0, 7);
  l.in_channels = l.groups * (kind == 0  ? pick(random, 129, 300)
                              : kind < 4 ? 32 * pick(random, 1, 3)
                                         : pick(random, 24, 70));
  l.out_channels = l.groups * pick(random, 1, kind == 0 ? 1 : kind < 3 ? 40 : 5);
  l.has_bias = pick(random, 0, 1) == 1;
  c.batch = pick(random, 1, 3);
  const bool whole_lines = pick(random, 0, 2) == 0;
  const std::int64_t far = pick(random, 0, 9);  // most outputs of a row lie behind all products, or in front of them
  for (int d = kSpatialDims - l.rank; d < kSpatialDims; ++d) {
    const bool wide = pick(random, 0, 7) == 0;
    l.kernel[d] = pick(random, 1, wide ? 9 : 5);
    l.stride[d] = pick(random, 1, wide ? 10 : 4);
    l.dilation[d] = pick(random, 0, 2) > 0 ? 1 : pick(random, 2, 4);
    if (d == 0 && (l.kernel[0] - 1) * l.dilation[0] >= l.stride[0]) {
      l.stride[0] = (l.kernel[0] - 1) * l.dilation[0] + pick(random, 1, 3);
    }
    c.in[d] = pick(random, 1, l.rank == 1 ? 300 : l.rank == 2 ? 40 : 8);
    c.pad_begin[d] = pick(random, 0, 4) == 0 ? pick(random, -40, -1) : pick(random, 0, 4);
    const std::int64_t natural = (c.in[d] - 1) * l.stride[d] + l.dilation[d] * (l.kernel[d] - 1) + 1;
    std::int64_t beyond = pick(random, 0, 4) == 0 ? pick(random, 4, 60) : pick(random, -4, 3);
    if (d == 2 && far == 1) beyond = natural + pick(random, 1, natural);
    if (d == 2 && far == 2) c.pad_begin[d] = -natural - pick(random, 1, natural);
    c.out[d] = std::max<std::int64_t>(natural - c.pad_begin[d] + beyond, 1);
  }
  if (whole_lines) c.out[2] = (c.out[2] + 15) / 16 * 16;
  // The definition takes its time.
  while (c.batch * c.in[0] * c.in[1] * c.in[2] * l.in_channels * p.out_channels_per_group() * p.kernel_points() > 6000000) {
    auto& most = l.out_channels > l.groups ? l.out_channels : c.in[1] > 3 ? c.in[1] : c.in[2];
    most = &most == &l.out_channels ? most - l.groups : (most + 1) / 2;
    if (c.in[1] <= 3 && c.in[2] <= 1) break;
  }
  if (pick(random, 0, 3) == 0) c.post_ops.lower = 0.0f;
  if (pick(random, 0, 3) == 0) c.post_ops = {static_cast<Activation>(pick(random, 1, 8)), -INFINITY, INFINITY, 0.25f};
  c.precision = static_cast<Precision>(pick(random, 0, 2));
  c.algorithm = AlgorithmChoice::kAmx;
  if (l.out_channels == 1 && pick(random, 0, 1) == 0) c.format = MemoryFormat::kChannelsLast;
  return p;
}

void count_amx_overlap(const Plan& plan, const CacheInfo& caches, bool fresh, bool residual, Tally& tally) {
  const Problem& p = plan.canonical;
  const LayerSpec& l = p.layer;
  const CallSpec& c = p.call;
  std::map<std::string, std::int64_t> b;
  for (const auto& [name, value] : plan.execution->blocking) b[name] = value;
  const std::int64_t planes = c.batch * c.in[0], pixels = (c.out[2] + l.stride[2] - 1) / l.stride[2];
  const std::int64_t lead = (l.kernel[1] - 1) * l.dilation[1] / l.stride[1];
  const std::int64_t positions = b["planes"] * b["rows"] * c.in[2];
  const auto count = [&](const char* what, bool reached) { tally[what] += reached ? 1 : 0; };
  ++tally["terms " + std::to_string(b["terms"])];
  ++tally[std::to_string(l.rank) + "-D"];
  const bool stripes = b["stripe"] < c.in[1], cut_width = b["pixels"] < pixels;
  const bool steps = stripes ? lead > 0 || b["rows"] < b["stripe"] : b["rows"] < b["stripe"];
  count("several planes in a step", b["planes"] > 1);
  count("tail of planes", planes % b["planes"] != 0);
  count("several steps", steps);
  count("tail of steps", b["rows"] > 1 && b["stripe"] % b["rows"] != 0);
  count("stripes", stripes);
  count("stripes that begin with rows of others", stripes && lead > 0);
  count("tail of stripes", stripes && c.in[1] % b["stripe"] != 0);
  count("blocks of pixels", cut_width);
  count("tail of pixels", cut_width && pixels % b["pixels"] != 0);
  count("blocks of pixels and several steps", cut_width && steps);
  count("parts of channels", b["channels"] < p.out_channels_per_group());
  count("parts that share a matrix",
        b["channels"] < p.out_channels_per_group() && b["channels"] * p.kernel_points() % 16 != 0);
  count("several channels in a matrix", p.kernel_points() < 16 && p.out_channels_per_group() > 1);
  count("several matrices to a channel", p.kernel_points() > 32);
  count("rows that no tap reaches", l.kernel[1] < l.stride[1]);
  count("columns that no tap reaches", l.kernel[2] < l.stride[2]);
  count("planes that no tap reaches", l.kernel[0] < l.stride[0]);
  count("several depths", c.in[0] > 1);
  count("several depths of the kernel", l.kernel[0] > 1);
  count("dilated rows", l.dilation[1] > 1);
  count("dilated columns", l.dilation[2] > 1);
  count("dilated planes", l.dilation[0] > 1);
  count("many phases", l.stride[2] > 8);
  count("negative padding", c.pad_begin[1] < 0 && c.pad_begin[2] < 0);
  count("rows beyond all taps",
        c.out[1] + c.pad_begin[1] > (c.in[1] - 1) * l.stride[1] + (l.kernel[1] - 1) * l.dilation[1] + 1);
  count("groups", l.groups > 1);
  count("tail of channels", p.in_channels_per_group() % 32 != 0);
  count("blocks of channels", p.in_channels_per_group() > 32);
  count("a row that lies behind all products for the most part", c.out[2] + c.pad_begin[2] > 2 * c.in[2] * l.stride[2]);
  count("a row that lies in front of all products for the most part", -2 * c.pad_begin[2] > c.out[2]);
  count("sums that continue", p.in_channels_per_group() > 128 && positions >= 256);
  const auto cut = [](std::int64_t all, std::int64_t block) { return (all + block - 1) / block; };
  const std::int64_t blocks = cut(planes, b["planes"]) * l.groups * cut(c.in[1], b["stripe"]) * cut(pixels, b["pixels"]);
  count("several tasks", plan.execution->tasks(0) > 1);
  count("several blocks to a task", plan.execution->tasks(0) < blocks);
  count("a tail of blocks", plan.execution->tasks(0) < blocks && blocks % plan.execution->tasks(0) != 0);
  count("blocks of pixels in one task", cut_width && plan.execution->tasks(0) < blocks);
  const bool of_pixels = c.format == MemoryFormat::kChannelsLast;
  count("channels-last", of_pixels);
  count("channels-last and several steps", of_pixels && steps && l.in_channels % 4 == 0);
  count("channels-last, less than four channels at the end", of_pixels && l.in_channels % 4 != 0);
  count("residual", residual);
  count("activation", c.post_ops.activation != Activation::kClamp);
  const double bytes = static_cast<double>(p.dst_elements()) * sizeof(float), l2 = static_cast<double>(caches.l2);
  const bool past = bytes > 2 * l2 || (fresh && bytes > l2 / 4);
  const bool finished = residual || c.post_ops.activation != Activation::kClamp;
  count("past the caches", past);
  count("past the caches row by row", past && !finished && c.out[2] % 16 == 0 && l.stride[2] <= 8);
}

TEST_CASE("amx-overlap keeps the bound, whatever it cuts a problem into") {
  const KernelTable* const table = terms_here();
  if (table == nullptr) return;
  Random random(20261128);
  int compared = 0;
  Tally tally;
  for (int round = 0; round < 600; ++round) {
    const Problem p = overlap_problem(random);
    const Values v = random_values(random, p);
    CacheInfo caches;
    caches.l2 = std::size_t{8192} << pick(random, 0, 8);
    const bool fresh = pick(random, 0, 1) == 0;
    INFO("problem " << describe(p) << ", " << caches.l2 << " bytes of cache");
    std::shared_ptr<const Plan> plan;
    if (!make_plan_with(p, amx_overlap(), WeightFacts{}, *table, caches, &plan).ok()) continue;
    const Expected expected = definition(p, v);
    // Between guards, at the begin of a line or beside it.
    const auto count = static_cast<std::int64_t>(expected.y.size());
    const std::int64_t begin = 64 + (round % 3 == 0 ? pick(random, 1, 15) : 0);
    constexpr float kGuard = 12345.0f;
    FloatArray memory(begin + count + 64);
    std::fill(memory.data(), memory.data() + memory.count(), kGuard);
    float* const dst = memory.data() + begin;
    std::fill(dst, dst + count, std::nanf(""));
    REQUIRE(run_plan(*plan, v, fresh, dst));
    REQUIRE(first_wrong_output({dst, dst + count}, expected,
                               error_bounds(amx_overlap(), p, v, expected, DataKind::kMixedSigns)) == "");
    const auto intact = [](float value) { return value == kGuard; };
    REQUIRE(std::all_of(memory.data(), dst, intact));
    REQUIRE(std::all_of(dst + count, memory.data() + memory.count(), intact));
    count_amx_overlap(*plan, caches, fresh, !v.residual.empty(), tally);
    ++compared;
  }
  CHECK(compared > 300);
  for (const auto& entry : tally) CHECK_MESSAGE(entry.second > 2, entry.first << " " << entry.second);
}

TEST_CASE("amx: channels-last outputs of residues, past the caches and not, put together or not") {
  const KernelTable* const table = terms_here();
  if (table == nullptr) return;
  Random random(20261130);
  Tally tally;
  for (const std::string wanted :
       {"whole lines", "put together", "put together from several panels", "several rows in a panel", "several tiles",
        "several tasks", "groups", "finished apart", "nothing past the caches"}) {
    tally[wanted] = 0;
  }
  for (int round = 0; round < 400; ++round) {
    Problem p;
    LayerSpec& l = p.layer;
    CallSpec& c = p.call;
    l.rank = static_cast<int>(pick(random, 1, 3));
    l.groups = pick(random, 0, 5) == 0 ? 2 : 1;
    l.in_channels = l.groups * pick(random, 20, 40);
    l.out_channels = l.groups * (pick(random, 0, 2) == 0 ? 8 : pick(random, 1, 21));
    l.has_bias = pick(random, 0, 1) == 1;
    c.batch = pick(random, 1, 3);
    c.format = MemoryFormat::kChannelsLast;
    c.algorithm = AlgorithmChoice::kAmx;
    for (int d = kSpatialDims - l.rank; d < kSpatialDims; ++d) {
      l.stride[d] = pick(random, 1, d == 2 ? 8 : 3);
      l.kernel[d] = l.stride[d] * pick(random, 1, 2);
      c.in[d] = pick(random, 1, l.rank == 1 ? 200 : l.rank == 2 ? 20 : 6);
      c.pad_begin[d] = pick(random, -1, l.stride[d]);
      const std::int64_t natural = (c.in[d] - 1) * l.stride[d] + l.kernel[d];
      c.out[d] = std::max<std::int64_t>(natural - c.pad_begin[d] + pick(random, -2, 2), 1);
    }
    if (pick(random, 0, 3) == 0) c.post_ops = {static_cast<Activation>(pick(random, 1, 8)), -INFINITY, INFINITY, 0.25f};
    const Values v = random_values(random, p);
    CacheInfo caches;
    caches.l2 = std::size_t{8192} << pick(random, 0, 8);
    const bool fresh = pick(random, 0, 1) == 0;
    std::shared_ptr<const Plan> plan;
    if (!make_plan_with(p, amx(), WeightFacts{}, *table, caches, &plan).ok()) continue;
    if (blocking_of(*plan, "residues") != 1) continue;
    INFO("problem " << describe(p) << ", " << caches.l2 << " bytes of cache");
    const Expected expected = definition(p, v);
    std::vector<float> y(expected.y.size(), std::nanf(""));
    REQUIRE(run_plan(*plan, v, fresh, y.data(), round % 2 == 0));
    REQUIRE(first_wrong_output(y, expected, error_bounds(amx(), p, v, expected, DataKind::kMixedSigns)) == "");
    const auto count = [&](const std::string& what, bool reached) { tally[what] += reached ? 1 : 0; };
    const Problem& made = plan->canonical;
    const std::size_t bytes = y.size() * sizeof(float);
    const bool past = bytes > 2 * caches.l2 || (fresh && bytes > caches.l2 / 4);
    const std::int64_t row = made.layer.stride[2] * made.layer.out_channels;
    const bool joined = past && row % 16 != 0 && l.groups == 1;
    count("whole lines", past && row % 16 == 0);
    count("put together", joined);
    count("put together from several panels", joined && row > 32);
    count("several rows in a panel", joined && row <= 16 && made.layer.stride[1] > 1);
    count("several tiles", joined && made.call.batch * made.call.in[1] * made.call.in[2] > 512);
    count("several tasks", joined && plan->execution->tasks(0) > 1);
    count("groups", l.groups > 1);
    count("finished apart", joined && (!v.residual.empty() || c.post_ops.activation != Activation::kClamp));
    count("nothing past the caches", !past);
  }
  for (const auto& entry : tally) CHECK_MESSAGE(entry.second > 2, entry.first << " " << entry.second);
}

// A problem for Winograd by products of terms.
Problem winograd_problem(Random& random) {
  Problem p;
  LayerSpec& l = p.layer;
  CallSpec& c = p.call;
  l.rank = static_cast<int>(pick(random, 1, 3));
  l.groups = pick(random, 0, 4) == 0 ? 2 : 1;
  l.in_channels = l.groups * (pick(random, 0, 1) == 0 ? 32 * pick(random, 1, 4) : pick(random, 58, 64));
  if (pick(random, 0, 9) == 0) l.in_channels = l.groups * pick(random, 257, 320);
  l.out_channels = l.groups * 16 * pick(random, 1, 3);
  l.has_bias = pick(random, 0, 1) == 1;
  c.batch = pick(random, 1, 3);
  for (int d = kSpatialDims - l.rank; d < kSpatialDims; ++d) {
    // Points for taps: more than two and a half times the weights would not be packed.
    l.stride[d] = l.rank == 3 ? 1 : pick(random, 1, 3);
    l.kernel[d] = l.stride[d] == 1 ? pick(random, 2, 3) : pick(random, 0, 3) == 0 ? l.stride[d] : 2 * l.stride[d];
    if (l.rank == 1) l.kernel[d] = pick(random, l.stride[d] + 1, 2 * l.stride[d] + 1);
    if (d == 0) l.kernel[d] = pick(random, 0, 2) == 0 ? 3 : 1;
    l.dilation[d] = pick(random, 0, 5) == 0 ? (l.stride[d] == 2 ? 3 : 2) : 1;
    if (l.stride[d] == 3) l.dilation[d] = 1;
    c.in[d] = pick(random, 3, l.rank == 1 ? 150 : l.rank == 2 ? 17 : 7);
    const std::int64_t natural = (c.in[d] - 1) * l.stride[d] + l.dilation[d] * (l.kernel[d] - 1) + 1;
    c.pad_begin[d] = pick(random, 0, l.stride[d]);
    c.out[d] = std::max<std::int64_t>(natural - c.pad_begin[d] - pick(random, 0, 2), 1);
  }
  while (c.batch * c.in[0] * c.in[1] * c.in[2] * l.in_channels * p.out_channels_per_group() * p.kernel_points() > 4000000) {
    if (c.batch > 1) {
      --c.batch;
    } else if (l.out_channels > l.groups * 16) {
      l.out_channels -= l.groups * 16;
    } else if (l.in_channels > l.groups * 64) {
      l.in_channels -= l.groups * 32;
    } else {
      break;
    }
  }
  if (pick(random, 0, 3) == 0) c.post_ops.lower = 0.0f;
  if (pick(random, 0, 3) == 0) c.post_ops = {static_cast<Activation>(pick(random, 1, 8)), -INFINITY, INFINITY, 0.25f};
  c.algorithm = AlgorithmChoice::kWinograd;
  c.format = pick(random, 0, 1) == 0 ? MemoryFormat::kContiguous : MemoryFormat::kChannelsLast;
  return p;
}

TEST_CASE("winograd by products of terms keeps the bound, whatever it cuts a problem into and whoever comes first") {
  const KernelTable* const table = terms_here();
  if (table == nullptr) return;
  Random random(20261129);
  Tally tally;
  for (const std::string wanted : {"1-D", "2-D", "3-D", "contiguous", "channelsLast", "several rounds", "several blocks",
                                   "few tiles", "groups", "tail of channels", "sums that continue", "several classes",
                                   "single rows of matrices", "dilated", "residual", "activation", "parts of a point"}) {
    tally[wanted] = 0;
  }
  for (int round = 0; round < 500; ++round) {
    const Problem p = winograd_problem(random);
    CacheInfo caches;
    caches.l2 = std::size_t{16384} << pick(random, 0, 7);
    std::shared_ptr<const Plan> plan;
    if (!make_plan_with(p, winograd(), WeightFacts{}, *table, caches, &plan).ok()) continue;
    if (blocking_of(*plan, "matrices") != 1) continue;
    INFO("problem " << describe(p) << ", " << caches.l2 << " bytes of cache");
    Values v = random_values(random, p);
    const bool dilated = p.layer.dilation != Dims{1, 1, 1};
    if (dilated) v.residual.clear();  // which it cannot add then
    const Expected expected = definition(p, v);
    std::vector<float> y(expected.y.size(), std::nanf("")), backwards = y;
    REQUIRE(run_plan(*plan, v, round % 2 == 0, y.data()));
    REQUIRE(first_wrong_output(y, expected, error_bounds(winograd(), p, v, expected, DataKind::kMixedSigns)) == "");
    REQUIRE(run_plan(*plan, v, round % 2 == 0, backwards.data(), true));
    REQUIRE(y == backwards);
    const auto count = [&](const std::string& what, bool reached) { tally[what] += reached ? 1 : 0; };
    const std::int64_t rounds = blocking_of(*plan, "rounds"), stages = plan->execution->stages();
    ++tally[std::to_string(p.layer.rank) + "-D"];
    ++tally[p.call.format == MemoryFormat::kContiguous ? "contiguous" : "channelsLast"];
    count("several rounds", rounds > 1);
    count("several blocks", stages > (1 + 2 * rounds) * p.layer.groups);
    count("few tiles", blocking_of(*plan, "tiles") <= 16);
    count("groups", p.layer.groups > 1);
    count("tail of channels", p.in_channels_per_group() % 32 != 0);
    count("sums that continue", p.in_channels_per_group() > 256);
    bool classes = false;
    std::int64_t phases = 1;
    for (int d = 0; d < kSpatialDims; ++d) {
      classes = classes || p.layer.kernel[d] % p.layer.stride[d] != 0;
      phases *= p.layer.stride[d];
    }
    count("single rows of matrices", phases * blocking_of(*plan, "channels") == 16);
    count("several classes", classes);
    count("dilated", dilated);
    count("residual", !v.residual.empty());
    count("activation", p.call.post_ops.activation != Activation::kClamp);
    count("parts of a point", plan->execution->tasks(1) > 4 * 4);
  }
  for (const auto& entry : tally) CHECK_MESSAGE(entry.second > 2, entry.first << " " << entry.second);
}

TEST_CASE("winograd stores lines of channels, past the caches and not") {
  Random random(20261130);
  Tally tally;
  for (int round = 0; round < 60; ++round) {
    Problem p;
    LayerSpec& l = p.layer;
    l.rank = static_cast<int>(pick(random, 1, 2));
    l.groups = round % 6 == 0 ? 2 : 1;
    l.in_channels = l.groups * pick(random, 1, 20);
    l.out_channels = l.groups * (round % 5 == 0 ? pick(random, 10, 40) : 16 * pick(random, 1, 6));
    l.has_bias = round % 3 != 0;
    p.call.batch = pick(random, 1, 3);
    for (int d = kSpatialDims - l.rank; d < kSpatialDims; ++d) {
      l.stride[d] = pick(random, 1, 2);
      l.kernel[d] = pick(random, l.stride[d] + 1, 2 * l.stride[d]);
      p.call.in[d] = pick(random, 3, l.rank == 1 ? 70 : 18);
      p.call.pad_begin[d] = pick(random, 0, 1);
      p.call.out[d] = (p.call.in[d] - 1) * l.stride[d] + l.kernel[d] - p.call.pad_begin[d] - pick(random, 0, 1);
    }
    p.call.algorithm = AlgorithmChoice::kWinograd;
    p.call.format = MemoryFormat::kChannelsLast;
    if (round % 4 == 0) p.call.post_ops = {Activation::kGelu};
    const Values v = random_values(random, p);
    const Expected expected = definition(p, v);
    INFO("problem " << describe(p));
    for (const Isa isa : cpu_info().supported) {
      CacheInfo caches;
      caches.l2 = 16 * 1024;
      std::shared_ptr<const Plan> plan;
      if (!make_plan_with(p, winograd(), WeightFacts{}, *kernel_table(isa), caches, &plan).ok()) continue;
      const std::vector<double> bounds = error_bounds(winograd(), p, v, expected, DataKind::kMixedSigns);
      for (const bool fresh : {false, true}) {
        for (const std::int64_t beside : {0, 4}) {  // floats: the output begins at a line, or not
          REQUIRE(first_wrong_output(run_beside(*plan, v, fresh, beside), expected, bounds) == "");
          const bool whole = p.out_channels_per_group() % 16 == 0 && blocking_of(*plan, "channels") % 16 == 0;
          const bool lines = whole && beside == 0 && v.residual.empty();
          const bool large = passes_by(*plan, fresh, caches.l2);
          ++tally[large && lines ? "past the caches" : large ? "no lines" : "small"];
        }
      }
    }
  }
  for (const std::string reached : {"past the caches", "no lines", "small"}) CHECK_MESSAGE(tally[reached] > 2, reached);
}

TEST_CASE("winograd in blocks cut along several dimensions, dilated or not, past the caches and not") {
  Random random(20261202);
  Tally tally;
  for (int round = 0; round < 60; ++round) {
    Problem p;
    LayerSpec& l = p.layer;
    const bool last = round % 2 == 0, dilated = round % 3 != 0;
    l.rank = static_cast<int>(pick(random, 1, 3));
    l.groups = round % 6 == 0 ? 2 : 1;
    l.in_channels = l.groups * pick(random, 1, 12);
    l.out_channels = l.groups * (round % 5 == 0 ? pick(random, 1, 40) : 16 * pick(random, 1, 2));
    l.has_bias = round % 4 != 0;
    p.call.batch = pick(random, 1, 2);
    p.call.format = last ? MemoryFormat::kChannelsLast : MemoryFormat::kContiguous;
    p.call.algorithm = AlgorithmChoice::kWinograd;
    for (int d = kSpatialDims - l.rank; d < kSpatialDims; ++d) {
      l.stride[d] = last && dilated && d == 2 ? 1 : pick(random, 1, 2);
      l.kernel[d] = l.stride[d] * pick(random, 2, 3) - pick(random, 0, l.stride[d] - 1);
      l.dilation[d] = !dilated ? 1 : l.stride[d] == 2 ? 2 * pick(random, 0, 1) + 1 : pick(random, 1, 4);
      p.call.in[d] = pick(random, 3 * l.dilation[d], l.rank == 1 ? 90 : l.rank == 2 ? (dilated ? 34 : 20) : 12);
      const std::int64_t natural = (p.call.in[d] - 1) * l.stride[d] + l.dilation[d] * (l.kernel[d] - 1) + 1;
      // Whole blocks lie in a wide padding.
      const std::int64_t most = round % 5 == 1 ? (natural - 1) / 2 : std::min<std::int64_t>(2, (natural - 1) / 2);
      p.call.pad_begin[d] = pick(random, 0, most);
      p.call.out[d] = natural - p.call.pad_begin[d] - pick(random, 0, most);
    }
    if (round % 7 == 0) p.call.post_ops = {Activation::kGelu};
    Values v = random_values(random, p);
    if (dilated) v.residual.clear();  // which it cannot add then
    const Expected expected = definition(p, v);
    INFO("problem " << describe(p));
    for (const Isa isa : cpu_info().supported) {
      CacheInfo caches;
      caches.l2 = std::size_t{1024} << pick(random, 0, 6);
      std::shared_ptr<const Plan> plan;
      if (!make_plan_with(p, winograd(), WeightFacts{}, *kernel_table(isa), caches, &plan).ok()) continue;
      INFO(caches.l2 << " bytes of cache on " << std::string(kernel_table(isa)->isa));
      const std::vector<double> bounds = error_bounds(winograd(), p, v, expected, DataKind::kMixedSigns);
      for (const bool fresh : {false, true}) {
        for (const std::int64_t beside : {0, 4}) {  // floats: the output begins at a line, or not
          REQUIRE(first_wrong_output(run_beside(*plan, v, fresh, beside), expected, bounds) == "");
          const std::string kind =
              std::string(last ? "last, " : "contiguous, ") + (l.dilation != Dims{1, 1, 1} ? "dilated" : "not dilated");
          if (passes_by(*plan, fresh, caches.l2)) ++tally[kind + ", past the caches"];
          ++tally[kind + ", " + std::to_string(l.rank) + "-D"];
          // Along one dimension alone there are no more blocks than tiles of two positions.
          std::int64_t images = p.call.batch, most = 1;
          for (int d = 0; d < kSpatialDims; ++d) {
            images *= l.dilation[d];
            most = std::max(most, (p.call.in[d] / l.dilation[d] + 2) / 2);
          }
          if (plan->execution->stages() / (2 * l.groups * images) > most) ++tally[kind + ", cut along two"];
        }
      }
    }
  }
  for (const std::string kind : {"last, dilated", "last, not dilated", "contiguous, dilated", "contiguous, not dilated"}) {
    for (const std::string reached : {"past the caches", "1-D", "2-D", "3-D", "cut along two"}) {
      CHECK_MESSAGE(tally[kind + ", " + reached] > 2, kind << ", " << reached << " " << tally[kind + ", " + reached]);
    }
  }
}

// Rows of two phases along the width: tails that the kernels put in place of outputs that nobody wants (whole vectors of
// tiles and not), others that follow the rows, outputs so few that residues have none, and residues of three taps beside.
TEST_CASE("winograd by kernels for height and width at once: the bound is kept, and those that ran are named") {
  struct Case {
    int rank;
    std::int64_t batch;
    Dims in, kernel, stride, pad, cut;  // cut: outputs that the end of the padding takes away
  };
  const Case cases[] = {
      {2, 2, {1, 16, 16}, {1, 4, 4}, {1, 2, 2}, {0, 1, 1}, {0, 1, 1}},
      {2, 1, {1, 9, 11}, {1, 4, 4}, {1, 2, 2}, {0, 0, 0}, {0, 0, 0}},
      {2, 2, {1, 9, 11}, {1, 4, 4}, {1, 2, 2}, {0, 2, 2}, {0, 2, 2}},
      {2, 2, {1, 16, 32}, {1, 3, 3}, {1, 2, 2}, {0, 1, 1}, {0, 0, 0}},
      {2, 1, {1, 12, 70}, {1, 3, 3}, {1, 2, 2}, {0, 0, 0}, {0, 0, 0}},
      {2, 3, {1, 4, 4}, {1, 4, 4}, {1, 2, 2}, {0, 1, 1}, {0, 1, 1}},
      {2, 1, {1, 30, 6}, {1, 4, 4}, {1, 2, 2}, {0, 1, 0}, {0, 3, 1}},
      {2, 1, {1, 3, 9}, {1, 5, 4}, {1, 2, 2}, {0, 3, 0}, {0, 5, 0}},
      {2, 1, {1, 7, 9}, {1, 8, 4}, {1, 3, 2}, {0, 2, 1}, {0, 1, 0}},
      {3, 1, {5, 6, 8}, {4, 4, 4}, {2, 2, 2}, {1, 1, 1}, {1, 1, 1}},
      {3, 2, {4, 5, 7}, {3, 3, 3}, {2, 2, 2}, {0, 0, 0}, {0, 0, 0}},
      {3, 1, {7, 4, 16}, {2, 4, 4}, {2, 2, 2}, {0, 1, 1}, {0, 1, 1}},
      {1, 1, {1, 1, 64}, {1, 1, 4}, {1, 1, 2}, {0, 0, 1}, {0, 0, 1}},
      {1, 3, {1, 1, 33}, {1, 1, 3}, {1, 1, 2}, {0, 0, 0}, {0, 0, 0}},
  };
  Random random(20261207);
  for (const Case& of : cases) {
    for (const bool last : {false, true}) {
      Problem p;
      LayerSpec& l = p.layer;
      l.rank = of.rank;
      l.in_channels = 8;
      l.out_channels = 16 * pick(random, 1, 2);
      l.has_bias = pick(random, 0, 1) == 1;
      l.kernel = of.kernel;
      l.stride = of.stride;
      p.call.batch = of.batch;
      p.call.in = of.in;
      p.call.pad_begin = of.pad;
      for (int d = 0; d < kSpatialDims; ++d) {
        p.call.out[d] = (of.in[d] - 1) * of.stride[d] + of.kernel[d] - of.pad[d] - of.cut[d];
      }
      p.call.format = last ? MemoryFormat::kChannelsLast : MemoryFormat::kContiguous;
      p.call.algorithm = AlgorithmChoice::kWinograd;
      if (pick(random, 0, 2) == 0) p.call.post_ops = {Activation::kGelu};
      const Values v = random_values(random, p);
      const Expected expected = definition(p, v);
      INFO("problem " << describe(p));
      for (const Isa isa : cpu_info().supported) {
        const KernelTable& table = *kernel_table(isa);
        for (const std::size_t l2 : {std::size_t{1} << 10, std::size_t{1} << 14, std::size_t{2} << 20}) {
          CacheInfo caches;
          caches.l2 = l2;
          std::shared_ptr<const Plan> plan;
          REQUIRE(make_plan_with(p, winograd(), WeightFacts{}, table, caches, &plan).ok());
          INFO(l2 << " bytes of cache on " << std::string(table.isa));
          std::vector<float> y(static_cast<std::size_t>(plan->problem.dst_elements()));
          KernelSet ran;
          REQUIRE(run_plan(*plan, v, false, y.data(), false, &ran));
          CHECK(first_wrong_output(y, expected, error_bounds(winograd(), p, v, expected, DataKind::kMixedSigns)) == "");
          CHECK(ran == plan->execution->kernels);
          int joint = 0;
          for (int i = 0; i < table.winograd_rows_count; ++i) {
            joint += ran.test(static_cast<std::size_t>(winograd_rows_number(table, i)));
          }
          CHECK(joint > 0);
        }
      }
    }
  }
}

// A row that is split into grids ends with a whole vector of each, or one column before the widest of them ends.
TEST_CASE("winograd of grids that differ in width, each in a block of its own and not") {
  Random random(20261203);
  Tally tally;
  for (const Isa isa : cpu_info().supported) {
    const KernelTable& table = *kernel_table(isa);
    for (const std::int64_t dilation : {2, 3, 4}) {
      for (const std::int64_t beyond : {-1, 0, 1, 2}) {  // columns
        for (const MemoryFormat format : {MemoryFormat::kContiguous, MemoryFormat::kChannelsLast}) {
          Problem p;
          p.layer = {2, 1, 3, 16, {1, 3, 3}, {1, 1, 1}, {1, 1, dilation}, true};
          p.call.in = {1, 9, 2 * dilation * table.lanes + beyond};
          p.call.out = {1, 11, p.call.in[2] + 2 * dilation};
          p.call.algorithm = AlgorithmChoice::kWinograd;
          p.call.format = format;
          Values v = random_values(random, p);
          v.residual.clear();  // which it cannot add
          const Expected expected = definition(p, v);
          const std::vector<double> bounds = error_bounds(winograd(), p, v, expected, DataKind::kMixedSigns);
          for (std::size_t l2 = 1024; l2 <= 1024 * 1024; l2 *= 4) {
            INFO("problem " << describe(p) << ", " << l2 << " bytes of cache on " << std::string(table.isa));
            CacheInfo caches;
            caches.l2 = l2;
            std::shared_ptr<const Plan> plan;
            REQUIRE(make_plan_with(p, winograd(), WeightFacts{}, table, caches, &plan).ok());
            REQUIRE(first_wrong_output(run_beside(*plan, v, false, 0), expected, bounds) == "");
            ++tally[plan->execution->stages() > 2 ? "several blocks" : "one block"];
          }
        }
      }
    }
  }
  for (const std::string reached : {"several blocks", "one block"}) CHECK_MESSAGE(tally[reached] > 2, reached);
}

TEST_CASE("winograd whose first blocks and last ones lie in the padding") {
  Random random(20261204);
  int blocks = 0;
  for (const Isa isa : cpu_info().supported) {
    for (const MemoryFormat format : {MemoryFormat::kContiguous, MemoryFormat::kChannelsLast}) {
      Problem p;
      p.layer = {2, 1, 8, 20, {1, 4, 4}, {1, 2, 2}, {1, 1, 1}, true};
      p.call.in = {1, 60, 12};
      p.call.pad_begin = {0, 50, 1};
      p.call.out = {1, 22, 24};
      p.call.algorithm = AlgorithmChoice::kWinograd;
      p.call.format = format;
      const Values v = random_values(random, p);
      const Expected expected = definition(p, v);
      const std::vector<double> bounds = error_bounds(winograd(), p, v, expected, DataKind::kMixedSigns);
      for (std::size_t l2 = 1024; l2 <= 256 * 1024; l2 *= 2) {
        INFO("problem " << describe(p) << ", " << l2 << " bytes of cache on " << std::string(kernel_table(isa)->isa));
        CacheInfo caches;
        caches.l2 = l2;
        std::shared_ptr<const Plan> plan;
        REQUIRE(make_plan_with(p, winograd(), WeightFacts{}, *kernel_table(isa), caches, &plan).ok());
        REQUIRE(first_wrong_output(run_beside(*plan, v, true, 0), expected, bounds) == "");
        if (plan->execution->stages() > 2 * 5) ++blocks;
      }
    }
  }
  CHECK(blocks > 2);
}

TEST_CASE("outputs between the kernels of wide strides, past the caches and not") {
  Random random(20261128);
  int compared = 0;
  for (int round = 0; round < 60; ++round) {
    Problem p;
    p.layer.in_channels = pick(random, 1, 20);
    p.layer.out_channels = pick(random, 1, 30);
    p.layer.has_bias = round % 3 != 0;
    for (int d = 0; d < kSpatialDims; ++d) {
      p.layer.kernel[d] = pick(random, 1, 2);
      p.layer.stride[d] = d == 0 && round % 4 != 0 ? 1 : pick(random, 2, 6);
      p.call.in[d] = d == 0 && round % 4 != 0 ? 1 : pick(random, 1, d == 2 ? 40 : 9);
      if (p.layer.stride[d] == 1) p.layer.kernel[d] = 1;
      p.call.pad_begin[d] = pick(random, 0, p.layer.kernel[d] - 1);
      p.call.out[d] = (p.call.in[d] - 1) * p.layer.stride[d] + p.layer.kernel[d] - p.call.pad_begin[d] +
                      pick(random, 0, p.layer.stride[d] - 1);
    }
    if (round % 5 == 0) p.call.post_ops = {Activation::kGelu};
    const Values v = random_values(random, p);
    const Expected expected = definition(p, v);
    INFO("problem " << describe(p));
    for (const Isa isa : cpu_info().supported) {
      CacheInfo caches;
      caches.l2 = 4096;
      std::shared_ptr<const Plan> plan;
      p.call.algorithm = AlgorithmChoice::kDirect;
      if (!make_plan_with(p, direct_wide(), WeightFacts{}, *kernel_table(isa), caches, &plan).ok()) continue;
      const std::vector<double> bounds = error_bounds(direct_wide(), p, v, expected, DataKind::kMixedSigns);
      for (const bool fresh : {false, true}) {
        std::vector<float> y(expected.y.size(), std::nanf(""));
        REQUIRE(run_plan(*plan, v, fresh, y.data()));
        REQUIRE(first_wrong_output(y, expected, bounds) == "");
        ++compared;
      }
    }
  }
  CHECK(compared > 60);
}

// A layer with one output through Layer itself.
std::vector<float> run_layer(const Problem& p, const Values& v, int threads = 1) {
  std::shared_ptr<Layer> layer;
  REQUIRE(Layer::create(p.layer, v.w.data(), p.layer.has_bias ? v.b.data() : nullptr, &layer).ok());
  std::vector<float> y(static_cast<std::size_t>(p.dst_elements()), -7.0f);
  const float* const residual = v.residual.empty() ? nullptr : v.residual.data();
  const Status status = layer->run(p.call, {v.x.data(), y.data(), residual, v.slopes.data()}, threads);
  REQUIRE_MESSAGE(status.ok(), status.message);
  return y;
}

Problem problem_2d(std::int64_t in_channels, std::int64_t out_channels, std::int64_t size, std::int64_t kernel,
                   std::int64_t stride, std::int64_t pad) {
  Problem p;
  p.layer.in_channels = in_channels;
  p.layer.out_channels = out_channels;
  p.layer.kernel = {1, kernel, kernel};
  p.layer.stride = {1, stride, stride};
  p.call.in = {1, size, size};
  p.call.pad_begin = {0, pad, pad};
  p.call.out = {1, (size - 1) * stride - 2 * pad + kernel, (size - 1) * stride - 2 * pad + kernel};
  return p;
}

Problem depthwise_2d(std::int64_t channels, std::int64_t multiplier, std::int64_t size, std::int64_t kernel,
                     std::int64_t stride, std::int64_t pad) {
  Problem p = problem_2d(channels, channels * multiplier, size, kernel, stride, pad);
  p.layer.groups = channels;
  return p;
}

TEST_CASE("outputs are not finite exactly where the definition's are") {
  Random random(7);
  const float special[] = {std::numeric_limits<float>::infinity(), -std::numeric_limits<float>::infinity(), std::nanf("")};
  int infinite = 0;
  for (int round = 0; round < 150; ++round) {
    Problem p = random_problem(random);
    p.call.post_ops = {};
    Values v = random_values(random, p);
    auto& target = round % 3 == 0 ? v.w : v.x;
    for (std::int64_t i = pick(random, 1, 3); i > 0; --i) {
      target[static_cast<std::size_t>(pick(random, 0, static_cast<std::int64_t>(target.size()) - 1))] =
          special[pick(random, 0, 2)];
    }
    if (round % 10 == 0) v.w[0] = special[0];
    const Expected expected = definition(p, v);
    INFO("problem " << describe(p));
    for (const AlgorithmChoice choice :
         {AlgorithmChoice::kAuto, AlgorithmChoice::kDirect, AlgorithmChoice::kDepthwise, AlgorithmChoice::kReference}) {
      p.call.algorithm = choice;
      if (choice == AlgorithmChoice::kDepthwise && p.in_channels_per_group() > 8) continue;
      const std::vector<float> y = run_layer(p, v);
      for (std::size_t i = 0; i < y.size(); ++i) {
        REQUIRE(same_kind(y[i], expected.y[i]));
        infinite += std::isfinite(y[i]) ? 0 : 1;
      }
    }
  }
  CHECK(infinite > 1000);
}

double root_mean_square(const std::vector<double>& values) {
  double sum = 0.0;
  for (const double value : values) sum += value * value;
  return std::sqrt(sum / static_cast<double>(values.size()));
}

// Of the errors, in RMS of the outputs.
double relative_error(const std::vector<float>& y, const Expected& expected) {
  std::vector<double> errors(y.size());
  for (std::size_t i = 0; i < y.size(); ++i) errors[i] = static_cast<double>(y[i]) - expected.y[i];
  return root_mean_square(errors) / root_mean_square(expected.y);
}

TEST_CASE("RMS errors: 'highest' no worse than the direct kernels, 'high' below 1e-5, 'medium' below 5e-3") {
  Random random(17);
  std::map<std::string, int> compared;
  const auto with = [](Problem p, std::int64_t batch, MemoryFormat format) {
    p.call.batch = batch;
    p.call.format = format;
    return p;
  };
  const MemoryFormat contiguous = MemoryFormat::kContiguous, last = MemoryFormat::kChannelsLast;
  Problem dilated = problem_2d(48, 32, 14, 3, 1, 2);
  dilated.layer.dilation = {1, 2, 2};
  dilated.call.out = {1, 14, 14};
  for (const Problem& problem :
       {with(problem_2d(64, 32, 16, 4, 2, 1), 1, contiguous), with(problem_2d(64, 64, 10, 3, 1, 1), 2, last),
        with(problem_2d(128, 32, 8, 2, 2, 0), 1, contiguous), with(problem_2d(2048, 16, 4, 4, 2, 1), 1, contiguous),
        with(problem_2d(600, 16, 5, 5, 2, 2), 17, last), with(problem_2d(600, 48, 2, 5, 2, 2), 18, contiguous),
        with(problem_2d(32, 16, 20, 9, 1, 4), 1, contiguous), with(problem_2d(512, 32, 7, 1, 1, 0), 1, contiguous),
        with(problem_2d(64, 1, 24, 9, 2, 4), 1, contiguous), with(problem_2d(1100, 3, 10, 4, 2, 1), 1, contiguous),
        with(problem_2d(96, 2, 17, 2, 2, 0), 2, contiguous), with(dilated, 1, contiguous),
        with(problem_2d(512, 16, 8, 4, 2, 1), 2, contiguous), with(problem_2d(512, 32, 3, 4, 2, 1), 9, last),
        with(problem_2d(320, 16, 12, 3, 1, 1), 1, contiguous)}) {
    Problem p = problem;
    Values v = random_values(random, p);
    v.residual.clear();
    const Expected expected = definition(p, v);
    INFO("problem " << describe(p));
    for (const Isa isa : cpu_info().supported) {
      const KernelTable& table = *kernel_table(isa);
      const auto error_of = [&](const Algorithm& algorithm) {
        p.call.algorithm = algorithm.choice();
        std::shared_ptr<const Plan> plan;
        if (!make_plan_with(p, algorithm, WeightFacts{}, table, cpu_info().caches, &plan).ok()) return -1.0;
        std::vector<float> y(expected.y.size());
        REQUIRE(run_plan(*plan, v, false, y.data()));
        return relative_error(y, expected);
      };
      p.call.precision = Precision::kHighest;
      const double direct = error_of(direct_wide());
      REQUIRE(direct > 0.0);
      for (const Algorithm* algorithm : {&winograd(), &amx(), &amx_overlap()}) {
        for (const Precision precision : {Precision::kHighest, Precision::kHigh, Precision::kMedium}) {
          p.call.precision = precision;
          const double error = error_of(*algorithm);
          if (error < 0.0) continue;
          const double promised = precision == Precision::kHighest ? direct : precision == Precision::kHigh ? 1e-5 : 5e-3;
          const std::string what = std::string(algorithm->name()) + " on " + table.isa + " precision " +
                                   std::to_string(static_cast<int>(precision)) + ": ";
          CHECK_MESSAGE(error <= promised, what << error << ", promised " << promised);
          ++compared[std::string(algorithm->name()) + std::to_string(static_cast<int>(precision))];
        }
      }
    }
  }
  for (const Algorithm* algorithm : {&winograd(), &amx(), &amx_overlap()}) {
    if (algorithm->choice() == AlgorithmChoice::kAmx && !terms_here()) continue;
    for (const char* precision : {"0", "1", "2"}) CHECK(compared[algorithm->name() + std::string(precision)] >= 5);
  }
}

bool same_bits(const std::vector<float>& a, const std::vector<float>& b) {
  return a.size() == b.size() && std::memcmp(a.data(), b.data(), a.size() * sizeof(float)) == 0;
}

std::vector<float> run_asynchronously(const Problem& p, const Values& v, int threads) {
  std::shared_ptr<Layer> layer;
  REQUIRE(Layer::create(p.layer, v.w.data(), p.layer.has_bias ? v.b.data() : nullptr, &layer).ok());
  std::vector<float> y(static_cast<std::size_t>(p.dst_elements()), -7.0f);
  std::promise<Status> settled;
  const float* const residual = v.residual.empty() ? nullptr : v.residual.data();
  const std::shared_ptr<Job> job = Layer::start(layer, p.call, true, {v.x.data(), y.data(), residual, v.slopes.data()},
                                                threads, [&settled](const Status& status) { settled.set_value(status); });
  const Status status = settled.get_future().get();
  REQUIRE_MESSAGE(status.ok(), status.message);
  return y;
}

Explanation explained(const Problem& p, const Values& v) {
  std::shared_ptr<Layer> layer;
  REQUIRE(Layer::create(p.layer, v.w.data(), p.layer.has_bias ? v.b.data() : nullptr, &layer).ok());
  Explanation explanation;
  REQUIRE(layer->explain(p.call, &explanation).ok());
  return explanation;
}

TEST_CASE("input that an algorithm refuses: the bits of algorithm 'direct', at once or asynchronously") {
  constexpr float kInfinity = std::numeric_limits<float>::infinity();
  Random random(23);
  std::map<std::string, int> refused;
  for (Problem p : {problem_2d(64, 48, 12, 4, 2, 1), problem_2d(256, 256, 5, 4, 2, 1), problem_2d(64, 64, 9, 3, 1, 1),
                    problem_2d(64, 2, 70, 4, 2, 1), problem_2d(160, 5, 17, 4, 3, 0)}) {
    p.layer.has_bias = true;
    for (const MemoryFormat format : {MemoryFormat::kContiguous, MemoryFormat::kChannelsLast}) {
      // With few outputs the matrices of channels last would be almost empty: nothing that refuses runs them.
      if (format == MemoryFormat::kChannelsLast && p.layer.out_channels < 16) continue;
      for (const Precision precision : {Precision::kHighest, Precision::kHigh, Precision::kMedium}) {
        p.call.format = format;
        p.call.precision = precision;
        Values v = random_values(random, p);
        if (precision == Precision::kHigh) v.residual.clear();
        const std::vector<float> usual = v.x;
        for (const float special : {std::nanf(""), kInfinity, -kInfinity, 0x1p30f, -0x1.8p100f}) {
          v.x = usual;
          v.x[static_cast<std::size_t>(pick(random, 0, static_cast<std::int64_t>(v.x.size()) - 1))] = special;
          p.call.algorithm = AlgorithmChoice::kDirect;
          const std::vector<float> expected = run_layer(p, v);
          for (const AlgorithmChoice choice : {AlgorithmChoice::kAuto, AlgorithmChoice::kWinograd, AlgorithmChoice::kAmx}) {
            if (choice == AlgorithmChoice::kAmx && active_kernels().terms == nullptr) continue;
            p.call.algorithm = choice;
            const Explanation e = explained(p, v);
            const std::string runs = e.algorithm;
            const bool products = size_of(e.blocking, "matrices") == 1;
            const bool by_terms = runs == "amx" || runs == "amx-overlap" || products;
            if (!by_terms && (runs != "winograd" || std::isfinite(special))) continue;
            INFO(describe(p) << " " << choice_word(choice) << " by " << runs << ": " << special);
            CHECK(same_bits(run_layer(p, v, 2), expected));
            CHECK(same_bits(run_asynchronously(p, v, 2), expected));
            ++refused[std::string(choice_word(choice)) + "/" + runs];
            if (products) ++refused["products of terms"];
          }
          // Just below the line nothing is refused.
          if (special != 0x1p30f || active_kernels().terms == nullptr) continue;
          for (float& value : v.x) {
            if (value == special) value = 0x1.fffffep29f;
          }
          p.call.algorithm = AlgorithmChoice::kDirect;
          CHECK(!same_bits(run_layer(p, v), expected));
          p.call.algorithm = AlgorithmChoice::kAmx;
          const Expected close = definition(p, v);
          CHECK(first_wrong_output(run_layer(p, v), close, error_bounds(amx(), p, v, close, DataKind::kAny)) == "");
        }
      }
    }
  }
  CHECK(refused["winograd/winograd"] > 0);
  if (active_kernels().terms == nullptr) return;
  CHECK(refused["amx/amx"] > 0);
  CHECK(refused["auto/amx"] > 0);
  CHECK(refused["products of terms"] > 0);
  CHECK(refused["amx/amx-overlap"] > 0);
  CHECK(refused["auto/amx-overlap"] > 0);
}

TEST_CASE("amx: numbers of every size keep the bound, weights that terms cannot hold are declined") {
  if (active_kernels().terms == nullptr) return;
  Random random(29);
  const auto scaled = [](std::vector<float> values, float factor) {
    for (float& value : values) value *= factor;
    return values;
  };
  for (const MemoryFormat format : {MemoryFormat::kContiguous, MemoryFormat::kChannelsLast}) {
    for (Problem p : {problem_2d(64, 48, 6, 4, 2, 1), problem_2d(40, 32, 8, 3, 1, 1)}) {
      p.call.format = format;
      for (const Precision precision : {Precision::kHighest, Precision::kHigh, Precision::kMedium}) {
        p.call.precision = precision;
        INFO(describe(p) << " precision " << static_cast<int>(precision));
        Values v = random_values(random, p);
        v.residual.clear();
        const Values usual = v;
        const auto keeps_bound = [&](const Algorithm& algorithm, const std::vector<float>& y) {
          const Expected expected = definition(p, v);
          return first_wrong_output(y, expected, error_bounds(algorithm, p, v, expected, DataKind::kAny));
        };
        const auto check_terms = [&] {
          const WeightFacts facts = find_weight_facts(v.w.data(), p.weights_elements());
          for (const Algorithm* algorithm : {&amx(), &amx_overlap()}) {
            std::shared_ptr<const Plan> plan;
            const Status status = make_plan_with(p, *algorithm, facts, active_kernels(), cpu_info().caches, &plan);
            if (!status.ok() && algorithm == &amx_overlap()) {
              CHECK(format == MemoryFormat::kChannelsLast);
              continue;
            }
            REQUIRE(status.ok());
            std::vector<float> y(static_cast<std::size_t>(p.dst_elements()));
            REQUIRE(run_plan(*plan, v, false, y.data()));
            CHECK_MESSAGE(keeps_bound(*algorithm, y) == "", algorithm->name());
          }
        };
        // Subnormal inputs, by weights that bring the products far from the end of the numbers.
        for (const float factor : {1e-38f, 0x1p-130f, 0x1p-144f, 0x1p25f}) {
          v.x = scaled(usual.x, factor);
          for (const float weight : {1.0f, 0x1p13f, 0x1p-45f}) {
            v.w = scaled(usual.w, weight);
            check_terms();
          }
        }
        v = usual;
        std::fill(v.w.begin(), v.w.end(), 0.0f);
        check_terms();
        // Each output channel has weights of another size.
        for (const int top : {-45, 0, 14, 30, 48}) {
          v = usual;
          const std::int64_t outputs = p.layer.out_channels, points = p.weights_elements() / (p.layer.in_channels * outputs);
          for (std::size_t i = 0; i < v.w.size(); ++i) {
            const std::int64_t output = static_cast<std::int64_t>(i) / points % outputs;
            v.w[i] = std::ldexp(v.w[i], top - static_cast<int>(output * 4));
          }
          v.x = scaled(usual.x, 0x1p26f);
          p.call.algorithm = AlgorithmChoice::kAmx;
          std::shared_ptr<Layer> layer;
          REQUIRE(Layer::create(p.layer, v.w.data(), nullptr, &layer).ok());
          if (!layer->prepare(p.call).ok()) continue;
          INFO("the largest weights near 2^" << top);
          check_terms();
        }
        for (const float factor : {0x1p60f, 0x1p-60f, 0x1p-140f, 0x1p120f}) {
          v = usual;
          v.w = scaled(usual.w, factor);
          p.call.algorithm = AlgorithmChoice::kAmx;
          std::shared_ptr<Layer> layer;
          REQUIRE(Layer::create(p.layer, v.w.data(), nullptr, &layer).ok());
          const Status status = layer->prepare(p.call);
          CHECK(status.code == StatusCode::kUnsupported);
          CHECK(status.message.find("the largest weight is near 2^") != std::string::npos);
          p.call.algorithm = AlgorithmChoice::kAuto;
          CHECK(explained(p, v).algorithm.rfind("amx", 0) != 0);
          CHECK(keeps_bound(direct_wide(), run_layer(p, v)) == "");
        }
      }
    }
  }
}

#if defined(__x86_64__)
// Whether the registers of the unit for matrices, or their shapes, hold anything on this thread.
bool holds_matrices() {
  constexpr std::uint32_t kInUse = 1, kShapes = 1u << 17, kData = 1u << 18;  // of XINUSE, where there is AMX
  std::uint32_t low, high;
  __asm__ volatile("xgetbv" : "=a"(low), "=d"(high) : "c"(kInUse));
  return (low & (kShapes | kData)) != 0;
}

TEST_CASE("amx: a thread that has run a task holds no matrices, refused or not") {
  const KernelTable* const kernels = terms_here();
  if (kernels == nullptr) return;
  kernels->terms->begin();
  CHECK(holds_matrices());
  kernels->terms->end();
  CHECK(!holds_matrices());
  Random random(31);
  Problem p = problem_2d(64, 48, 12, 4, 2, 1);
  p.call.algorithm = AlgorithmChoice::kAmx;
  Values v = random_values(random, p);
  v.residual.clear();
  for (const bool refused : {false, true}) {
    if (refused) v.x.back() = std::nanf("");
    std::shared_ptr<const Plan> plan;
    REQUIRE(make_plan_with(p, amx(), WeightFacts{}, *kernels, cpu_info().caches, &plan).ok());
    std::vector<float> y(static_cast<std::size_t>(p.dst_elements()));
    CHECK(run_plan(*plan, v, false, y.data()) == !refused);
    CHECK(!holds_matrices());
  }
}
#endif

TEST_CASE("depthwise of a few channels, channels last, by lanes: past the caches and not, from a line on and not") {
  Random random(20261201);
  Tally tally;
  for (int round = 0; round < 80; ++round) {
    Problem p;
    LayerSpec& l = p.layer;
    l.rank = static_cast<int>(pick(random, 1, 3));
    l.in_channels = l.out_channels = l.groups = pick(random, 2, 8);
    if (round % 3 == 0) l.in_channels = l.groups = pick(random, 1, 2);
    if (round % 3 == 0) l.out_channels = l.groups * pick(random, 2, 4);
    l.has_bias = round % 3 != 0;
    p.call.batch = pick(random, 1, 3);
    for (int d = kSpatialDims - l.rank; d < kSpatialDims; ++d) {
      l.stride[d] = pick(random, 1, 4);
      l.kernel[d] = pick(random, 0, 3) > 0 ? l.stride[d] * pick(random, 1, 3) : pick(random, 1, 5);
      l.dilation[d] = pick(random, 0, 4) == 0 ? 2 : 1;
      p.call.in[d] = d < 2 ? pick(random, 1, l.rank == 3 ? 4 : 9) : pick(random, 1, round % 8 == 0 ? 600 : 50);
      p.call.pad_begin[d] = pick(random, -1, 3);
      const std::int64_t natural = (p.call.in[d] - 1) * l.stride[d] + l.dilation[d] * (l.kernel[d] - 1) + 1;
      p.call.out[d] = std::max<std::int64_t>(natural - p.call.pad_begin[d] - pick(random, -2, 3), 1);
    }
    p.call.algorithm = AlgorithmChoice::kDepthwise;
    p.call.format = MemoryFormat::kChannelsLast;
    p.call.invariant = true;  // one order of products, whatever runs
    if (round % 5 == 0) p.call.post_ops = {Activation::kGelu};
    const Values v = random_values(random, p);
    const Expected expected = definition(p, v);
    const std::vector<double> bounds = error_bounds(depthwise(), p, v, expected, DataKind::kMixedSigns);
    INFO("problem " << describe(p));
    for (const Isa isa : cpu_info().supported) {
      const KernelTable& table = *kernel_table(isa);
      INFO("instruction set " << std::string(table.isa));
      std::vector<float> first;
      for (const std::size_t l2 : {std::size_t{4} << 10, std::size_t{1} << 20}) {
        CacheInfo caches;
        caches.l2 = l2;
        std::shared_ptr<const Plan> plan;
        REQUIRE(make_plan_with(p, depthwise(), WeightFacts{}, table, caches, &plan).ok());
        const bool by_lanes =
            table.lane.fn != nullptr && plan->execution->kernels.test(static_cast<std::size_t>(lane_number(table)));
        for (const bool fresh : {false, true}) {
          for (const std::int64_t beside : {0, 3}) {  // floats: the output begins at a line, or not
            const std::vector<float> got = run_beside(*plan, v, fresh, beside);
            REQUIRE(first_wrong_output(got, expected, bounds) == "");
            if (first.empty()) first = got;
            REQUIRE(got == first);
            const bool past = passes_by(*plan, fresh, l2);
            ++tally[!by_lanes ? "by rows" : !past ? "cached" : beside == 0 ? "from a line on" : "not from a line on"];
            if (by_lanes && blocking_of(*plan, "columns") * l.stride[2] < p.call.out[2])
              ++tally["several blocks of columns"];
            if (by_lanes && l.out_channels > l.groups) ++tally["several outputs of an input"];
            if (by_lanes && blocking_of(*plan, "rows") * l.stride[1] < p.call.out[1]) ++tally["several blocks of rows"];
          }
        }
      }
    }
  }
  for (const std::string reached : {"by rows", "cached", "from a line on", "not from a line on",
                                    "several outputs of an input", "several blocks of columns", "several blocks of rows"}) {
    const bool lanes = kernel_table(cpu_info().supported.back())->lane.fn != nullptr;
    CHECK_MESSAGE((tally[reached] > 2 || !lanes), reached << " " << tally[reached]);
  }
}

// Runs a problem by `algorithm` on every instruction set on which it accepts it, with a second-level cache of `least_l2`
// bytes or up to 32 times as many, in memory that begins at a line or not, and holds the outputs against the bound. Then
// calls visit(plan, caches, table). `fresh`: as of RunArgs.
template <typename Visit>
void check_bound(Random& random, const Algorithm& algorithm, const Problem& p, const Values& v, std::size_t least_l2,
                 bool fresh, const Visit& visit) {
  const Expected expected = definition(p, v);
  INFO("problem " << describe(p));
  for (const Isa isa : cpu_info().supported) {
    const KernelTable& table = *kernel_table(isa);
    CacheInfo caches;
    caches.l2 = least_l2 << pick(random, 0, 5);
    std::shared_ptr<const Plan> plan;
    if (!make_plan_with(p, algorithm, WeightFacts{}, table, caches, &plan).ok()) continue;
    INFO(caches.l2 << " bytes of cache on " << std::string(table.isa));
    const std::vector<float> y = run_beside(*plan, v, fresh, pick(random, 0, 1) * 4);
    REQUIRE(first_wrong_output(y, expected, error_bounds(algorithm, p, v, expected, DataKind::kMixedSigns)) == "");
    visit(*plan, caches, table);
  }
}

TEST_CASE("direct-overlap keeps the bound, whatever it cuts a problem into") {
  Random random(20261205);
  Tally tally;
  for (int round = 0; round < 150; ++round) {
    Problem p;
    LayerSpec& l = p.layer;
    l.rank = static_cast<int>(pick(random, 1, 2));
    l.in_channels = round % 4 == 0 ? pick(random, 200, 300) : pick(random, 1, 40);
    l.out_channels = pick(random, 1, 4);
    l.has_bias = round % 3 != 0;
    p.call.batch = pick(random, 1, 2);
    p.call.format = round % 2 == 0 ? MemoryFormat::kChannelsLast : MemoryFormat::kContiguous;
    const bool many = round % 10 == 0;  // enough for several stripes
    if (round % 6 == 1) {               // a single plane of three dimensions, to which the input may give nothing
      l.rank = 3;
      l.stride[0] = pick(random, 1, 2);
      p.call.pad_begin[0] = pick(random, 0, 2);
    }
    for (int d = l.rank == 1 ? 2 : 1; d < kSpatialDims; ++d) {
      l.stride[d] = pick(random, d == 2 ? 2 : 1, 3);
      l.kernel[d] = pick(random, 1, 5);
      if (d == 1 && round % 3 == 0) l.dilation[d] = pick(random, 2, 3);
      p.call.in[d] = many ? pick(random, 30, 40) : pick(random, 1, l.rank == 1 ? 150 : 12);
      const std::int64_t natural = (p.call.in[d] - 1) * l.stride[d] + l.dilation[d] * (l.kernel[d] - 1) + 1;
      p.call.pad_begin[d] = pick(random, 0, round % 5 == 0 ? (natural - 1) / 2 : std::min<std::int64_t>(2, natural - 1));
      p.call.out[d] = std::max<std::int64_t>(1, natural - p.call.pad_begin[d] + pick(random, -2, l.stride[d] - 1));
    }
    if (round % 7 == 0) p.call.post_ops = {Activation::kGelu};
    p.call.algorithm = AlgorithmChoice::kDirect;
    const Values v = random_values(random, p);
    const auto count = [&](const std::string& what, bool reached) { tally[what] += reached ? 1 : 0; };
    check_bound(
        random, direct_overlap(), p, v, 16 * 1024, false, [&](const Plan& plan, const CacheInfo&, const KernelTable&) {
          ++tally[p.call.format == MemoryFormat::kContiguous ? "contiguous" : "channelsLast"];
          count("several stripes", blocking_of(plan, "stripes") > 1);
          count("several tasks along the width", plan.execution->tasks(0) > p.call.batch * blocking_of(plan, "stripes"));
          count("several chunks of channels", l.in_channels > blocking_of(plan, "channelChunk"));
          count("residual", !v.residual.empty());
          count("a single plane", l.rank == 3);
          count("cut taps", l.kernel[2] % l.stride[2] != 0);
          count("fewer taps than the stride", l.kernel[2] < l.stride[2]);
          count("dilated along the height", l.dilation[1] > 1);
        });
  }
  for (const std::string reached :
       {"contiguous", "channelsLast", "several stripes", "several tasks along the width", "several chunks of channels",
        "residual", "a single plane", "cut taps", "fewer taps than the stride", "dilated along the height"}) {
    CHECK_MESSAGE(tally[reached] > 2, reached << " " << tally[reached]);
  }
}

TEST_CASE("direct-channels of small images, in parts by the taps that read the input and not") {
  Random random(20261206);
  Tally tally;
  for (int round = 0; round < 160; ++round) {
    Problem p;
    LayerSpec& l = p.layer;
    l.rank = static_cast<int>(pick(random, 1, 3));
    l.groups = round % 5 == 0 ? 2 : 1;
    l.in_channels = l.groups * (round % 4 == 0 ? pick(random, 200, 300) : pick(random, 1, 40));
    l.out_channels = l.groups * pick(random, 12, 120);
    l.has_bias = round % 3 != 0;
    p.call.batch = pick(random, 1, 4);
    p.call.format = round % 2 == 0 ? MemoryFormat::kContiguous : MemoryFormat::kChannelsLast;
    for (int d = kSpatialDims - l.rank; d < kSpatialDims; ++d) {
      l.stride[d] = pick(random, 1, 3);
      l.kernel[d] = pick(random, 2, l.rank == 3 ? 4 : 6);
      l.dilation[d] = round % 9 == 0 ? pick(random, 7, 9) : pick(random, 1, 3);
      p.call.in[d] = pick(random, 1, l.rank == 3 ? 4 : 7);
      const std::int64_t natural = (p.call.in[d] - 1) * l.stride[d] + l.dilation[d] * (l.kernel[d] - 1) + 1;
      p.call.pad_begin[d] = pick(random, round % 7 == 0 ? -1 : 0, round % 6 == 0 ? natural / 2 : 2);
      p.call.out[d] = std::max<std::int64_t>(1, natural - p.call.pad_begin[d] + pick(random, -2, l.stride[d] - 1));
    }
    if (round % 8 == 0) p.call.post_ops = {Activation::kGelu};
    p.call.algorithm = AlgorithmChoice::kDirect;
    const Values v = random_values(random, p);
    const auto count = [&](const std::string& what, bool reached) { tally[what] += reached ? 1 : 0; };
    check_bound(random, direct_channels(), p, v, 64 * 1024, round % 3 == 0,
                [&](const Plan& plan, const CacheInfo& caches, const KernelTable& table) {
                  const bool parted = blocking_of(plan, "parts") > 0;
                  const std::int64_t images = blocking_of(plan, "images");
                  count("whole", !parted);
                  count("in parts", parted);
                  count("in many parts", blocking_of(plan, "parts") >= 9);
                  count("several images", parted && images > 1);
                  count("fewer images in the last block", parted && p.call.batch % images != 0);
                  count("several phases", parted && l.stride[2] > 1);
                  count("several chunks of channels",
                        parted && p.in_channels_per_group() > blocking_of(plan, "channelChunk"));
                  const std::int64_t stored = round_up(p.out_channels_per_group(), std::int64_t{table.lanes});
                  count("panels of two widths", parted && stored % blocking_of(plan, "panel") != 0);
                  const std::int64_t weights = p.weights_elements() / l.groups * static_cast<std::int64_t>(sizeof(float));
                  count("weights that the cache does not hold", parted && weights > static_cast<std::int64_t>(caches.l2));
                  count("groups", parted && l.groups > 1);
                  count("a part for each phase", blocking_of(plan, "parts") == plan.execution->phases);
                  count("three dimensions", parted && l.rank == 3);
                  count("channelsLast", parted && p.call.format == MemoryFormat::kChannelsLast);
                });
  }
  for (const std::string reached :
       {"whole", "in parts", "in many parts", "several images", "fewer images in the last block", "several phases",
        "several chunks of channels", "panels of two widths", "weights that the cache does not hold", "groups",
        "a part for each phase", "three dimensions", "channelsLast"}) {
    CHECK_MESSAGE(tally[reached] > 2, reached << " " << tally[reached]);
  }
}

TEST_CASE("a smaller workspace means smaller blocks and the same bits") {
  Random random(11);
  for (const MemoryFormat format : {MemoryFormat::kContiguous, MemoryFormat::kChannelsLast}) {
    for (Problem p : {problem_2d(64, 64, 40, 4, 2, 1), problem_2d(64, 48, 40, 2, 2, 0), problem_2d(32, 2, 50, 4, 2, 1),
                      depthwise_2d(40, 1, 50, 4, 2, 1), depthwise_2d(20, 3, 40, 3, 2, 1)}) {
      p.call.format = format;
      p.call.invariant = true;  // else another algorithm may be the cheapest, or other blocks of Winograd
      const Values v = random_values(random, p);
      const std::vector<float> expected = run_layer(p, v);
      for (const std::int64_t kib : {4096, 1024, 512, 256}) {
        p.call.workspace_limit = kib * 1024;
        std::shared_ptr<Layer> layer;
        REQUIRE(Layer::create(p.layer, v.w.data(), nullptr, &layer).ok());
        Explanation e;
        REQUIRE(layer->explain(p.call, &e).ok());
        CHECK(e.workspace_bytes <= kib * 1024);
        CHECK(e.algorithm != "reference");
        REQUIRE(run_layer(p, v) == expected);
      }
      p.call.workspace_limit = 256;  // not even one pixel
      std::shared_ptr<Layer> layer;
      REQUIRE(Layer::create(p.layer, v.w.data(), nullptr, &layer).ok());
      const Status status = layer->prepare(p.call);
      INFO(describe(p));
      CHECK(status.code == StatusCode::kUnsupported);
      CHECK(std::string(status.argument) == "workspaceLimit");
    }
  }
}

TEST_CASE("calls whose inputs have other dimensions of size 1 each get the weights that they were planned with") {
  Random random(31);
  int overlapped = 0;
  for (const AlgorithmChoice choice : {AlgorithmChoice::kAuto, AlgorithmChoice::kDirect, AlgorithmChoice::kAmx}) {
    if (choice == AlgorithmChoice::kAmx && active_kernels().terms == nullptr) continue;
    Problem p = problem_2d(32, 8, 12, 4, 2, 1);
    p.layer.kernel = {1, 3, 5};
    p.call.algorithm = choice;
    const Values weights = random_values(random, p);
    std::shared_ptr<Layer> layer;
    REQUIRE(Layer::create(p.layer, weights.w.data(), nullptr, &layer).ok());
    for (const Dims in : {Dims{1, 12, 12}, Dims{1, 1, 12}, Dims{1, 12, 1}, Dims{1, 1, 1}, Dims{1, 12, 12}}) {
      p.call.in = in;
      for (int d = 1; d < kSpatialDims; ++d) p.call.out[d] = (in[d] - 1) * 2 + p.layer.kernel[d] - 2;
      Values v = random_values(random, p);
      v.w = weights.w;
      v.residual.clear();
      Explanation e;
      REQUIRE(layer->explain(p.call, &e).ok());
      overlapped += e.algorithm == "amx-overlap";
      std::vector<float> y(static_cast<std::size_t>(p.dst_elements()));
      REQUIRE(layer->run(p.call, {v.x.data(), y.data()}, 1).ok());
      INFO(describe(p) << " by " << e.algorithm);
      const Expected expected = definition(p, v);
      for (const Algorithm* algorithm : algorithm_list()) {
        if (algorithm->name() != e.algorithm) continue;
        CHECK(first_wrong_output(y, expected, error_bounds(*algorithm, p, v, expected, DataKind::kMixedSigns)) == "");
      }
    }
  }
  if (active_kernels().terms != nullptr) CHECK(overlapped > 3);
}

TEST_CASE("a layer whose blocks are large runs on fast kernels all the same") {
  Problem p = problem_2d(1024, 64, 64, 3, 1, 32);
  p.layer.dilation = {1, 32, 32};
  p.call.out = {1, 64, 64};
  const std::vector<float> w(static_cast<std::size_t>(p.weights_elements()), 0.5f);
  std::shared_ptr<Layer> layer;
  REQUIRE(Layer::create(p.layer, w.data(), nullptr, &layer).ok());
  Explanation e;
  REQUIRE(layer->explain(p.call, &e).ok());
  CHECK(e.choice != "reference");
}

TEST_CASE("packed forms of a layer stay within two and a half times its weights") {
  Problem p = problem_2d(64, 67, 8, 4, 2, 1);
  Random random(3);
  const Values v = random_values(random, problem_2d(64, 67, 40, 4, 2, 1));
  std::shared_ptr<Layer> layer;
  REQUIRE(Layer::create(p.layer, v.w.data(), nullptr, &layer).ok());
  std::vector<float> y(1 << 20);
  for (int round = 0; round < 2; ++round) {
    for (const std::int64_t height : {1, 5, 20}) {
      for (const std::int64_t width : {1, 3, 20}) {
        for (const MemoryFormat format : {MemoryFormat::kContiguous, MemoryFormat::kChannelsLast}) {
          p.call.in = {1, height, width};
          p.call.out = {1, 2 * height, 2 * width};
          p.call.format = format;
          REQUIRE(layer->run(p.call, {v.x.data(), y.data()}, 2).ok());
          CHECK(layer->packed_bytes() <= p.weights_elements() * 10);
        }
      }
    }
  }
}

TEST_CASE("extreme parameters are planned at once") {
  const auto explain = [](Problem p) {
    const std::vector<float> w(static_cast<std::size_t>(p.weights_elements()), 1.0f);
    std::shared_ptr<Layer> layer;
    REQUIRE(Layer::create(p.layer, w.data(), nullptr, &layer).ok());
    Explanation e;
    REQUIRE(layer->explain(p.call, &e).ok());
    return e.algorithm;
  };
  Problem wide = problem_2d(16, 16, 8, 4, 2, 1);
  wide.call.out = {1, 16, std::int64_t{1} << 40};
  CHECK(!explain(wide).empty());
  Problem row = problem_2d(32, 2, 1, 4, 2, 1);
  row.layer.kernel[1] = row.layer.stride[1] = row.call.out[1] = 1;
  row.call.pad_begin[1] = 0;
  row.call.in[2] = std::int64_t{1} << 36;
  row.call.out[2] = std::int64_t{1} << 37;
  for (const MemoryFormat format : {MemoryFormat::kContiguous, MemoryFormat::kChannelsLast}) {
    for (const std::int64_t groups : {1, 2, 4, 16, 32}) {
      row.call.format = format;
      row.layer.groups = groups;
      row.layer.out_channels = groups == 1 ? 2 : 32;
      CHECK(!explain(row).empty());
    }
  }
  for (const std::int64_t stride : {std::int64_t{1}, std::int64_t{3000}, std::int64_t{60000}, std::int64_t{1} << 40}) {
    Problem p;
    p.layer.rank = 1;
    p.layer.kernel = {1, 1, 1000000};
    p.layer.stride = {1, 1, stride};
    p.call.in = {1, 1, 4};
    p.call.out = {1, 1, 3 * stride + 1000000};
    CHECK(!explain(p).empty());
    p.layer.kernel = {1, 1, 3};
    p.layer.dilation = {1, 1, 1000000000};
    p.call.out = {1, 1, 3 * stride + 2000000001};
    CHECK(!explain(p).empty());
  }
  // Rows so far apart, or so long, that sizes of blocks would not fit 64 bits.
  for (const int shift : {20, 21, 30, 37}) {
    for (const std::int64_t out : {std::int64_t{1} << 16, std::int64_t{1} << 40}) {
      Problem apart = problem_2d(32, 4, 2, 2, 1, 0);
      apart.layer.stride = {1, shift < 30 ? 1 : 65536, 1};
      apart.layer.dilation = {1, std::int64_t{1} << shift, 1};
      apart.call.out = {1, 1, out};
      CHECK(!explain(apart).empty());
      if (const KernelTable* const table = terms_here(); table != nullptr) {
        std::shared_ptr<const Plan> plan;
        const Status status = make_plan_with(apart, amx_overlap(), WeightFacts{}, *table, CacheInfo{}, &plan);
        CHECK_MESSAGE(status.message.find("bytes of workspace") != std::string::npos, status.message);
      }
    }
  }
  Problem long_rows = problem_2d(32, 4, 1 << 20, 4, 2, 1);
  long_rows.call.in[1] = 1;
  long_rows.call.out = {1, 2, std::int64_t{1} << 40};
  CHECK(!explain(long_rows).empty());
  Problem phases = problem_2d(4, 1024, 2, 256, 256, 0);
  CHECK(!explain(phases).empty());
  for (const std::int64_t kernel : {64, 4096}) {
    for (const std::int64_t stride : {1, 7, 64}) {
      Problem frame = depthwise_2d(7, 1, 8, 4, 2, 1);
      frame.call.format = MemoryFormat::kChannelsLast;
      frame.layer.kernel[2] = kernel;
      frame.layer.stride[2] = stride;
      frame.call.in[2] = std::int64_t{1} << 24;
      frame.call.out[2] = (frame.call.in[2] - 1) * stride + kernel - 1;
      CHECK(!explain(frame).empty());
    }
  }
  Problem none = problem_2d(0, 8, 4, 2, 2, 0);
  CHECK(explain(none) == "reference");
}

}  // namespace
}  // namespace convtranspose
