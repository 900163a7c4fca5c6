// The layer end to end, without Node: every algorithm on every instruction set against the definition, over random problems.
#include "layer/layer.h"

#include <doctest/doctest.h>

#include <cmath>
#include <random>
#include <string>
#include <vector>

#include "include/convtranspose.h"
#include "plan/planner.h"

namespace convtranspose {
namespace {

// The scatter definition in double, with the number of products and the sum of their magnitudes at each output.
struct Expected {
  std::vector<double> y, magnitude, products;
};

struct Values {
  std::vector<float> x, w, b;
};

std::int64_t element(const CallSpec& call, std::int64_t channels, const Dims& size, std::int64_t n, std::int64_t c,
                     std::int64_t d, std::int64_t h, std::int64_t w) {
  if (call.format == MemoryFormat::kChannelsLast) return (((n * size[0] + d) * size[1] + h) * size[2] + w) * channels + c;
  return (((n * channels + c) * size[0] + d) * size[1] + h) * size[2] + w;
}

Expected definition(const Problem& p, const Values& v) {
  const LayerSpec& l = p.layer;
  const CallSpec& c = p.call;
  Expected e;
  const std::size_t count = static_cast<std::size_t>(p.dst_elements());
  e.y.assign(count, 0.0);
  e.magnitude.assign(count, 0.0);
  e.products.assign(count, 1.0);
  const std::int64_t ig = p.in_channels_per_group(), og = p.out_channels_per_group();
  for (std::int64_t n = 0; n < c.batch; ++n)
    for (std::int64_t co = 0; co < l.out_channels; ++co)
      for (std::int64_t d = 0; d < c.out[0]; ++d)
        for (std::int64_t h = 0; h < c.out[1]; ++h)
          for (std::int64_t w = 0; w < c.out[2]; ++w) {
            const std::size_t at = static_cast<std::size_t>(element(c, l.out_channels, c.out, n, co, d, h, w));
            e.y[at] = l.has_bias ? v.b[static_cast<std::size_t>(co)] : 0.0;
            e.magnitude[at] = std::fabs(e.y[at]);
          }
  for (std::int64_t n = 0; n < c.batch; ++n)
    for (std::int64_t ci = 0; ci < l.in_channels; ++ci)
      for (std::int64_t d = 0; d < c.in[0]; ++d)
        for (std::int64_t h = 0; h < c.in[1]; ++h)
          for (std::int64_t w = 0; w < c.in[2]; ++w) {
            const double x = v.x[static_cast<std::size_t>(element(c, l.in_channels, c.in, n, ci, d, h, w))];
            for (std::int64_t kd = 0; kd < l.kernel[0]; ++kd)
              for (std::int64_t kh = 0; kh < l.kernel[1]; ++kh)
                for (std::int64_t kw = 0; kw < l.kernel[2]; ++kw) {
                  const std::int64_t od = d * l.stride[0] - c.pad_begin[0] + kd * l.dilation[0];
                  const std::int64_t oh = h * l.stride[1] - c.pad_begin[1] + kh * l.dilation[1];
                  const std::int64_t ow = w * l.stride[2] - c.pad_begin[2] + kw * l.dilation[2];
                  if (od < 0 || oh < 0 || ow < 0 || od >= c.out[0] || oh >= c.out[1] || ow >= c.out[2]) continue;
                  for (std::int64_t co = 0; co < og; ++co) {
                    const double weight = v.w[static_cast<std::size_t>(
                        (((ci * og + co) * l.kernel[0] + kd) * l.kernel[1] + kh) * l.kernel[2] + kw)];
                    const std::size_t at =
                        static_cast<std::size_t>(element(c, l.out_channels, c.out, n, ci / ig * og + co, od, oh, ow));
                    e.y[at] += x * weight;
                    e.magnitude[at] += std::fabs(x * weight);
                    e.products[at] += 1.0;
                  }
                }
          }
  for (double& y : e.y) {
    y = std::max(y, static_cast<double>(c.post_ops.lower));
    y = std::min(y, static_cast<double>(c.post_ops.upper));
  }
  return e;
}

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
  return p;
}

Values random_values(Random& random, const Problem& p) {
  std::normal_distribution<float> normal;
  Values v;
  v.x.resize(static_cast<std::size_t>(p.src_elements()));
  v.w.resize(static_cast<std::size_t>(p.weights_elements()));
  v.b.resize(static_cast<std::size_t>(p.layer.out_channels));
  for (auto* values : {&v.x, &v.w, &v.b}) {
    for (float& value : *values) value = normal(random);
  }
  return v;
}

std::string describe(const Problem& p) {
  std::string text;
  text.append("g").append(std::to_string(p.layer.groups)).append(" c").append(std::to_string(p.layer.in_channels));
  text.append(" o").append(std::to_string(p.layer.out_channels)).append(" n").append(std::to_string(p.call.batch));
  const auto add = [&text](const char* name, const Dims& dims) {
    text.append(" ").append(name);
    for (const std::int64_t value : dims) text.append(" ").append(std::to_string(value));
  };
  add("i", p.call.in);
  add("k", p.layer.kernel);
  add("s", p.layer.stride);
  add("d", p.layer.dilation);
  add("p", p.call.pad_begin);
  add("out", p.call.out);
  return text.append(p.call.format == MemoryFormat::kChannelsLast ? " last" : "");
}

// Runs every task of a plan on this thread, with a fresh workspace each time and guards behind it.
void run_plan(const Plan& plan, const Values& v, std::vector<float>* y) {
  const Execution& execution = *plan.execution;
  const PackedForm* form = execution.packed_form();
  FloatArray packed(form == nullptr ? 1 : form->elements());
  if (form != nullptr) form->pack(v.w.data(), packed.data());
  const std::int64_t floats = static_cast<std::int64_t>(execution.workspace_bytes() / sizeof(float));
  FloatArray workspace(floats + 64);
  const float guard = 12345.0f;
  for (std::int64_t i = 0; i < floats; ++i) workspace.data()[i] = std::nanf("");
  for (std::int64_t i = 0; i < 64; ++i) workspace.data()[floats + i] = guard;
  RunArgs args{v.x.data(),
               y->data(),
               plan.problem.layer.has_bias ? v.b.data() : nullptr,
               form == nullptr ? v.w.data() : packed.data(),
               v.w.data(),
               nullptr};
  std::uint64_t used = 0;
  std::int64_t tag = -1;
  for (int stage = 0; stage < execution.stages(); ++stage) {
    for (std::int64_t task = 0; task < execution.tasks(stage); ++task) {
      if (task % 3 == 0) tag = -1;
      execution.run_task(args, stage, task, {reinterpret_cast<std::byte*>(workspace.data()), &tag, &used});
    }
  }
  for (std::int64_t i = 0; i < 64; ++i) REQUIRE(workspace.data()[floats + i] == guard);
  CHECK_MESSAGE((used & ~execution.kernels) == 0, "a kernel ran that the plan does not name");
}

TEST_CASE("every algorithm on every instruction set keeps the bound, and the direct ones agree to the bit") {
  Random random(20261122);
  int compared = 0;
  for (int round = 0; round < 400; ++round) {
    Problem problem = random_problem(random);
    const Values v = random_values(random, problem);
    const Expected expected = definition(problem, v);
    INFO("problem " << describe(problem));
    for (const Isa isa : cpu_info().supported) {
      const KernelTable* table = kernel_table(isa);
      REQUIRE(table != nullptr);
      std::vector<float> first;
      for (const Algorithm* algorithm : algorithm_list()) {
        INFO(std::string(algorithm->name()) << " on " << std::string(table->isa));
        // A tiny cache makes many blocks of a small problem.
        CacheInfo caches;
        caches.l2 = round % 2 == 0 ? 16 * 1024 : 1024 * 1024;
        problem.call.algorithm = algorithm->choice();
        std::shared_ptr<const Plan> plan;
        if (!make_plan_with(problem, *algorithm, WeightFacts{}, *table, caches, &plan).ok()) continue;
        std::vector<float> y(expected.y.size(), std::nanf(""));
        run_plan(*plan, v, &y);
        for (std::size_t i = 0; i < y.size(); ++i) {
          const double bound =
              0x1p-22 * std::sqrt(expected.products[i]) * expected.magnitude[i] + expected.products[i] * 0x1p-126;
          REQUIRE(std::fabs(y[i] - expected.y[i]) <= bound);
        }
        ++compared;
        if (algorithm->choice() == AlgorithmChoice::kReference) continue;
        if (first.empty()) {
          first = y;
        } else {
          REQUIRE(first == y);
        }
      }
    }
  }
  CHECK(compared > 1000 * static_cast<int>(cpu_info().supported.size()));
}

}  // namespace
}  // namespace convtranspose
