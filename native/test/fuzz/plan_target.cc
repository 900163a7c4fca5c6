#include <cmath>

#include "include/convtranspose.h"
#include "plan/planner.h"
#include "problem/checked.h"
#include "small_problem.h"
#include "targets.h"

namespace convtranspose {
namespace {

constexpr std::int64_t kMostWorkspace = 256 << 20;
constexpr std::int64_t kMostTasks = std::int64_t{1} << 47;    // that the pool can count
constexpr std::int64_t kMostFloats = std::int64_t{1} << 45;   // of input or output: what an address space can hold
constexpr std::int64_t kMostWeights = std::int64_t{1} << 12;  // planning is linear in the layer, which must exist

// A positive number, most often ordinary, sometimes of any magnitude.
std::int64_t size_of_any(Bytes& bytes, std::int64_t ordinary) {
  if (!bytes.chance(4)) return bytes.pick(1, ordinary);
  return std::int64_t{1} + bytes.byte() * (std::int64_t{1} << bytes.pick(0, 44)) + bytes.byte();
}

// Not always valid.
Problem any_problem(Bytes& bytes) {
  Problem p;
  LayerSpec& l = p.layer;
  CallSpec& c = p.call;
  l.rank = static_cast<int>(bytes.pick(1, 3));
  l.groups = bytes.chance(4) ? size_of_any(bytes, 64) : 1;
  const Checked in = Checked(l.groups) * (bytes.chance(16) ? 0 : size_of_any(bytes, 200));
  const Checked out = Checked(l.groups) * size_of_any(bytes, 200);
  l.in_channels = in.ok ? in.value : l.groups;
  l.out_channels = out.ok ? out.value : l.groups;
  l.has_bias = bytes.chance(2);
  c.batch = size_of_any(bytes, 8);
  for (int d = kSpatialDims - l.rank; d < kSpatialDims; ++d) {
    l.kernel[d] = size_of_any(bytes, 7);
    l.stride[d] = bytes.chance(3) ? l.kernel[d] : size_of_any(bytes, 7);
    l.dilation[d] = bytes.chance(3) ? size_of_any(bytes, 4) : 1;
    c.in[d] = size_of_any(bytes, 100);
    const bool padded = bytes.chance(2);
    if (padded) c.pad_begin[d] = size_of_any(bytes, 5) * (bytes.chance(4) ? -1 : 1);
    Checked natural = Checked(c.in[d] - 1) * l.stride[d] + Checked(l.dilation[d]) * (l.kernel[d] - 1) + 1 - c.pad_begin[d];
    if (padded) natural = natural - bytes.pick(-3, 5);
    c.out[d] = natural.ok && !bytes.chance(8) ? natural.value : size_of_any(bytes, 200);
  }
  if (bytes.chance(2)) c.format = MemoryFormat::kChannelsLast;
  if (bytes.chance(4)) c.invariant = true;
  if (bytes.chance(4)) c.weights_reused = false;
  if (bytes.chance(3)) c.workspace_limit = size_of_any(bytes, 256) * 64;
  c.algorithm = static_cast<AlgorithmChoice>(bytes.chance(2) ? bytes.pick(0, 6) : 0);
  c.precision = static_cast<Precision>(bytes.pick(0, 2));
  return p;
}

std::string check_plan(const Plan& plan, const Problem& p) {
  const Execution* execution = plan.execution.get();
  if (plan.algorithm == nullptr || execution == nullptr) return "a plan without an algorithm";
  const std::int64_t limit = p.call.workspace_limit > 0 ? p.call.workspace_limit : kMostWorkspace;
  const auto workspace = static_cast<std::int64_t>(execution->workspace_bytes());
  const bool reference = plan.algorithm->choice() == AlgorithmChoice::kReference;
  if (workspace < 0 || (workspace > limit && !reference)) return "the workspace is beyond its limit";
  if (execution->stages() < 1) return "no stage";
  for (int stage = 0; stage < execution->stages(); ++stage) {
    const std::int64_t tasks = execution->tasks(stage);
    if (tasks < 0 || tasks >= kMostTasks) return "the pool cannot count so many tasks";
    if (tasks == 0 && stage == 0 && p.dst_elements() > 0) return "no task, but outputs";
  }
  if (const PackedForm* form = execution->packed_form(); form != nullptr) {
    if (form->elements() < 0 || form->key().empty()) return "the packed form has no size or no name";
  }
  if (!std::isfinite(execution->estimated_seconds) || execution->estimated_seconds < 0) return "the estimate is no time";
  for (const auto& [name, value] : execution->blocking) {
    if (name.empty() || value < 0) return "a block of no size";
  }
  for (const Rejection& rejection : plan.rejected) {
    if (rejection.name.empty() || rejection.reason.empty()) return "an algorithm declined without a reason";
  }
  return "";
}

}  // namespace

std::string fuzz_plan(const std::uint8_t* data, std::size_t size) {
  Bytes bytes(data, size);
  const KernelTable& kernels = any_kernels(bytes);
  CacheInfo caches;
  caches.l1d = std::size_t{4096} << bytes.pick(0, 5);
  caches.l2 = caches.l1d << bytes.pick(0, 6);
  const int weights = bytes.byte();
  const WeightFacts facts{weights % 6 != 5, weights < 224 ? 0 : (weights - 240) * 7};
  const Problem p = any_problem(bytes);
  if (!validate(p.layer, p.call).ok()) return "";
  if (p.weights_elements() > kMostWeights || p.layer.out_channels > kMostWeights) return "";
  if (p.src_elements() > kMostFloats || p.dst_elements() > kMostFloats) return "";

  std::shared_ptr<const Plan> plan;
  Status status = make_plan(p, facts, kernels, caches, &plan);
  if (status.ok()) {
    if (const std::string failure = check_plan(*plan, p); !failure.empty()) return failure + ": " + describe(p);
  } else if (status.code != StatusCode::kUnsupported || status.message.empty()) {
    return "no plan, and no reason: " + describe(p);
  } else if (p.call.algorithm == AlgorithmChoice::kAuto && p.call.workspace_limit == 0) {
    return "nothing can run " + describe(p) + ": " + status.message;
  }
  for (const Algorithm* algorithm : algorithm_list()) {
    status = make_plan_with(p, *algorithm, facts, kernels, caches, &plan);
    if (!status.ok()) {
      if (status.message.empty()) return std::string(algorithm->name()) + " declines without a reason: " + describe(p);
      continue;
    }
    if (plan->algorithm != algorithm) return "another algorithm than asked for";
    if (const std::string failure = check_plan(*plan, p); !failure.empty()) {
      return std::string(algorithm->name()) + ": " + failure + ": " + describe(p);
    }
  }
  return "";
}

}  // namespace convtranspose
