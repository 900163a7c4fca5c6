#include "plan/planner.h"

#include <algorithm>
#include <cmath>
#include <cstdio>
#include <initializer_list>
#include <utility>

#include "algorithms/cost_model.h"
#include "algorithms/exact_border.h"
#include "algorithms/limits.h"
#include "problem/canonical.h"
#include "problem/checked.h"

namespace convtranspose {
namespace {

constexpr std::int64_t kHeaderBytes = 64;             // of a workspace, in front of what the algorithm sees
constexpr std::int64_t kWorkspaceLimit = 16 << 20;    // bytes per thread, unless the caller sets one
constexpr std::int64_t kLastResortLimit = 256 << 20;  // rather than the reference, where even the smallest block is larger
constexpr std::int64_t kProductsPerChunk = 512;  // summed in registers: a panel's chunk of weights stays in the first cache
constexpr std::int64_t kMinChannelChunk = 16;

// Channels per chunk of accumulation: by the most taps that a phase of the layer has, whatever the sizes of the call.
std::int64_t channel_chunk(const LayerSpec& layer) {
  std::int64_t taps = 1;
  for (int d = 0; d < kSpatialDims; ++d) {
    std::int64_t a = layer.stride[d], b = layer.dilation[d];
    while (b != 0) a = std::exchange(b, a % b);
    taps *= ceil_div(layer.kernel[d], layer.stride[d] / a);
    if (taps > kProductsPerChunk) break;
  }
  return std::max(kMinChannelChunk, kProductsPerChunk / taps / kMinChannelChunk * kMinChannelChunk);
}

std::string duration(double seconds) {
  char text[32];
  const bool is_short = seconds < 1e-3;
  std::snprintf(text, sizeof text, "%.3g %s", seconds * (is_short ? 1e6 : 1e3), is_short ? "\u00b5s" : "ms");
  return text;
}

// Cost of a plan for the choice: with weights that serve one call alone, packing counts.
double total_seconds(const Execution& execution, const Problem& problem) {
  double seconds = execution.estimated_seconds;
  if (!problem.call.weights_reused && execution.packed_form() != nullptr) {
    seconds += static_cast<double>(execution.packed_form()->elements()) * cost::kPackWeightPerFloat / cost::kClock;
  }
  return seconds;
}

// The execution of one algorithm, right also at the border if the weights are not finite.
std::unique_ptr<Execution> plan_one(const Algorithm& algorithm, const PlanRequest& request, Decline* decline) {
  std::unique_ptr<Execution> execution = algorithm.plan(request, decline);
  if (execution == nullptr || request.weights.finite || execution->packed_form() == nullptr) return execution;
  return with_exact_border(std::move(execution), request);
}

PlanRequest make_request(const Problem& problem, const WeightFacts& weights, const KernelTable& kernels,
                         const CacheInfo& caches) {
  PlanRequest request;
  request.original = problem;
  request.problem = canonical(problem, weights.finite);
  request.kernels = &kernels;
  request.caches = caches;
  request.weights = weights;
  request.channel_chunk = channel_chunk(problem.layer);
  request.workspace_limit =
      (problem.call.workspace_limit > 0 ? problem.call.workspace_limit : kWorkspaceLimit) - kHeaderBytes;
  return request;
}

}  // namespace

const char* choice_word(AlgorithmChoice choice) {
  switch (choice) {
    case AlgorithmChoice::kAuto:
      return "auto";
    case AlgorithmChoice::kDirect:
      return "direct";
    case AlgorithmChoice::kGemm:
      return "gemm";
    case AlgorithmChoice::kWinograd:
      return "winograd";
    case AlgorithmChoice::kAmx:
      return "amx";
    case AlgorithmChoice::kDepthwise:
      return "depthwise";
    case AlgorithmChoice::kReference:
      return "reference";
  }
  return "";
}

const char* precision_word(Precision precision) {
  switch (precision) {
    case Precision::kHighest:
      return "highest";
    case Precision::kHigh:
      return "high";
    case Precision::kMedium:
      return "medium";
  }
  return "";
}

std::string activation_text(const PostOps& post_ops) {
  const auto with = [](const char* name, std::initializer_list<float> parameters) {
    std::string text = name;
    for (const float parameter : parameters) {
      char digits[32];
      std::snprintf(digits, sizeof digits, " %.6g", static_cast<double>(parameter));
      text += digits;
    }
    return text;
  };
  switch (post_ops.activation) {
    case Activation::kClamp:
      if (post_ops.lower == 0.0f && std::isinf(post_ops.upper)) return "relu";
      if (std::isinf(post_ops.lower) && std::isinf(post_ops.upper)) return "";
      return with("clamp", {post_ops.lower, post_ops.upper});
    case Activation::kLeakyRelu:
      return with("leakyRelu", {post_ops.alpha});
    case Activation::kPrelu:
      return "prelu";
    case Activation::kTanh:
      return "tanh";
    case Activation::kSigmoid:
      return "sigmoid";
    case Activation::kGelu:
      return "gelu";
    case Activation::kGeluTanh:
      return "gelu tanh";
    case Activation::kSilu:
      return "silu";
    case Activation::kElu:
      return with("elu", {post_ops.alpha});
  }
  return "";
}

const std::vector<const Algorithm*>& algorithm_list() {
  static const std::vector<const Algorithm*> list{&gemm(),        &winograd(),        &amx_overlap(),    &amx(),
                                                  &depthwise(),   &direct_few(),      &direct_overlap(), &direct_residues(),
                                                  &direct_wide(), &direct_channels(), &reference()};
  return list;
}

namespace {

// The one order in which products are added under `invariant`: by the layer as it was made and the options, never by sizes.
SumOrder invariant_order(const PlanRequest& request, AlgorithmChoice forced) {
  const LayerSpec& layer = request.original.layer;
  if (forced == AlgorithmChoice::kDepthwise) return SumOrder::kTaps;
  if (forced == AlgorithmChoice::kGemm) return SumOrder::kChunks;
  const bool depthwise_layer = layer.in_channels == layer.groups && decline_depthwise(layer).empty();
  if (forced == AlgorithmChoice::kAuto && depthwise_layer) return SumOrder::kTaps;
  return few_outputs(layer) ? SumOrder::kStrips : SumOrder::kChunks;
}

// Fills algorithm, execution and rejected of the plan; returns the estimate of the one chosen.
double choose_algorithm(const PlanRequest& request, AlgorithmChoice forced, Plan* made) {
  const Problem& problem = request.original;
  const SumOrder wanted_order = invariant_order(request, forced);
  double best_seconds = 0.0;
  for (const Algorithm* algorithm : algorithm_list()) {
    if (forced != AlgorithmChoice::kAuto && algorithm->choice() != forced) {
      made->rejected.push_back({algorithm->name(), std::string("algorithm '") + choice_word(forced) + "' was asked for"});
      continue;
    }
    if (algorithm->choice() == AlgorithmChoice::kReference && made->execution != nullptr) {
      made->rejected.push_back({algorithm->name(), "others can run the problem"});
      continue;
    }
    if (problem.call.invariant && algorithm->order() != SumOrder::kExact && algorithm->order() != wanted_order) {
      made->rejected.push_back({algorithm->name(), "adds in another order than all invariant results of this layer"});
      continue;
    }
    Decline decline;
    std::unique_ptr<Execution> execution = plan_one(*algorithm, request, &decline);
    if (execution == nullptr) {
      made->rejected.push_back({algorithm->name(), decline.reason, decline.for_workspace});
      continue;
    }
    const double seconds = total_seconds(*execution, problem);
    if (made->execution != nullptr && seconds >= best_seconds) {
      made->rejected.push_back({algorithm->name(), "estimated " + duration(seconds) + ", more than " +
                                                       duration(best_seconds) + " of " + made->algorithm->name()});
      continue;
    }
    if (made->execution != nullptr) {
      made->rejected.push_back({made->algorithm->name(), "estimated " + duration(best_seconds) + ", more than " +
                                                             duration(seconds) + " of " + algorithm->name()});
    }
    made->algorithm = algorithm;
    made->execution = std::move(execution);
    best_seconds = seconds;
  }
  return best_seconds;
}

// Whether nothing but the reference can run the problem, for want of workspace alone.
bool needs_more_workspace(const PlanRequest& request, const Plan& made) {
  const bool reference_or_none = made.execution == nullptr || made.execution->packed_form() == nullptr;
  const AlgorithmChoice forced = request.original.call.algorithm;
  return reference_or_none && forced != AlgorithmChoice::kReference && decline_phased(request).empty() &&
         std::any_of(made.rejected.begin(), made.rejected.end(),
                     [](const Rejection& rejection) { return rejection.for_workspace; });
}

}  // namespace

Status make_plan_with(const Problem& problem, const Algorithm& algorithm, const WeightFacts& weights,
                      const KernelTable& kernels, const CacheInfo& caches, std::shared_ptr<const Plan>* plan) {
  const PlanRequest request = make_request(problem, weights, kernels, caches);
  Decline decline;
  auto made = std::make_shared<Plan>();
  made->problem = problem;
  made->canonical = request.problem;
  made->algorithm = &algorithm;
  made->execution = plan_one(algorithm, request, &decline);
  if (made->execution == nullptr) return Status::unsupported("algorithm", decline.reason);
  *plan = std::move(made);
  return {};
}

Status make_plan(const Problem& problem, const WeightFacts& weights, const KernelTable& kernels, const CacheInfo& caches,
                 std::shared_ptr<const Plan>* plan) {
  PlanRequest request = make_request(problem, weights, kernels, caches);

  // Without a product there is nothing to choose: whoever writes the bias, writes it right.
  const bool trivial = problem.dst_elements() == 0 || problem.src_elements() == 0;
  const AlgorithmChoice forced = trivial ? AlgorithmChoice::kAuto : problem.call.algorithm;
  auto made = std::make_shared<Plan>();
  made->problem = problem;
  made->canonical = request.problem;
  double best_seconds = choose_algorithm(request, forced, made.get());
  if (needs_more_workspace(request, *made)) {
    if (problem.call.workspace_limit > 0) {
      // The reference would add in another order, or take a thousand times as long.
      if (problem.call.invariant) {
        const auto wants = [](const Rejection& rejection) { return rejection.for_workspace; };
        return Status::unsupported("workspaceLimit",
                                   "too small for an invariant result: " +
                                       std::find_if(made->rejected.begin(), made->rejected.end(), wants)->reason);
      }
    } else {
      request.workspace_limit = kLastResortLimit;
      made->rejected.clear();
      made->algorithm = nullptr;
      made->execution = nullptr;
      best_seconds = choose_algorithm(request, forced, made.get());
      made->notes.push_back("the smallest block of this layer needs an unusually large workspace");
    }
  }
  if (made->execution == nullptr) {
    std::string message = "'";
    message.append(choice_word(forced)).append("' cannot run this problem: ");
    std::string why;
    for (const Algorithm* algorithm : algorithm_list()) {
      if (algorithm->choice() != forced) continue;
      for (const Rejection& rejection : made->rejected) {
        if (rejection.name == algorithm->name()) why = rejection.reason;
      }
    }
    if (why.empty()) why = "this version has no such kernels";
    return Status::unsupported("algorithm", message + why);
  }
  if (forced != AlgorithmChoice::kAuto) {
    made->reason = std::string("algorithm '") + choice_word(forced) + "' was asked for";
  } else if (made->algorithm->choice() == AlgorithmChoice::kReference) {
    made->reason = "no other algorithm can run the problem";
  } else {
    made->reason = "the lowest estimate, " + duration(best_seconds);
  }
  if (!weights.finite) {
    made->notes.push_back("the weights hold an infinity or a NaN: outputs at the border are computed by the definition");
  }
  if (made->execution->precision < problem.call.precision) {
    made->notes.push_back(std::string("precision '") + precision_word(problem.call.precision) + "' runs as '" +
                          precision_word(made->execution->precision) + "': nothing less precise is faster here");
  }
  for (const std::string& note : made->execution->notes) made->notes.push_back(note);
  *plan = std::move(made);
  return {};
}

}  // namespace convtranspose
