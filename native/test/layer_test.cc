// The layer end to end, without Node: every algorithm on every instruction set against the definition, over random problems.
#include "layer/layer.h"

#include <doctest/doctest.h>

#include <cmath>
#include <limits>
#include <map>
#include <random>
#include <string>
#include <vector>

#include "bounds.h"
#include "definition.h"
#include "include/convtranspose.h"
#include "plan/planner.h"

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
  c.batch = pick(random, 1, 3);
  const bool square = pick(random, 0, 3) == 0;  // kernel == stride, no padding
  for (int d = kSpatialDims - l.rank; d < kSpatialDims; ++d) {
    l.kernel[d] = pick(random, 1, 5);
    l.stride[d] = square ? l.kernel[d] : pick(random, 1, 4);
    l.dilation[d] = square || pick(random, 0, 2) > 0 ? 1 : pick(random, 2, 3);
    c.in[d] = pick(random, 1, l.rank == 1 ? 90 : l.rank == 2 ? 20 : 7);
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

// Runs every task of a plan on this thread, with a new workspace each time and guards behind it. `fresh`: as of RunArgs.
void run_plan(const Plan& plan, const Values& v, bool fresh, std::vector<float>* y) {
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
               y->data(),
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
    for (std::int64_t task = 0; task < execution.tasks(stage); ++task) {
      if (task % 3 == 0) tag = -1;
      execution.run_task(args, stage, task, {reinterpret_cast<std::byte*>(workspace.data()), &tag, &used});
    }
  }
  for (std::int64_t i = 0; i < 64; ++i) REQUIRE(workspace.data()[floats + i] == guard);
  CHECK(!refused);
  CHECK_MESSAGE((used & ~execution.kernels).none(), "a kernel ran that the plan does not name");
}

TEST_CASE("every algorithm on every instruction set keeps the bound, and those of one order agree to the bit") {
  Random random(20261122);
  int compared = 0;
  for (int round = 0; round < 400; ++round) {
    Problem problem = random_problem(random);
    problem.call.precision = round % 4 < 2 ? Precision::kHighest : Precision::kHigh;
    const Values v = random_values(random, problem);
    const Expected expected = definition(problem, v);
    INFO("problem " << describe(problem));
    for (const Isa isa : cpu_info().supported) {
      const KernelTable* table = kernel_table(isa);
      REQUIRE(table != nullptr);
      std::map<SumOrder, std::vector<float>> first;
      for (const Algorithm* algorithm : algorithm_list()) {
        INFO(std::string(algorithm->name()) << " on " << std::string(table->isa));
        // A tiny cache makes many blocks of a small problem.
        CacheInfo caches;
        caches.l2 = round % 2 == 0 ? 16 * 1024 : 1024 * 1024;
        problem.call.algorithm = algorithm->choice();
        std::shared_ptr<const Plan> plan;
        if (!make_plan_with(problem, *algorithm, WeightFacts{}, *table, caches, &plan).ok()) continue;
        std::vector<float> y(expected.y.size(), std::nanf(""));
        run_plan(*plan, v, compared % 2 == 0, &y);
        const std::vector<double> bounds = error_bounds(*algorithm, problem, v, expected, DataKind::kMixedSigns);
        REQUIRE(first_wrong_output(y, expected, bounds) == "");
        ++compared;
        const auto [known, is_new] = first.try_emplace(algorithm->order(), y);
        if (!is_new) REQUIRE(known->second == y);
      }
    }
  }
  CHECK(compared > 1000 * static_cast<int>(cpu_info().supported.size()));
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
  Problem phases = problem_2d(4, 1024, 2, 256, 256, 0);
  CHECK(!explain(phases).empty());
  Problem none = problem_2d(0, 8, 4, 2, 2, 0);
  CHECK(explain(none) == "reference");
}

}  // namespace
}  // namespace convtranspose
