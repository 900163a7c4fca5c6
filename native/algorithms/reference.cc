// The definition itself, output by output. Chosen only where nothing else can run, or when asked for by name.
#include <algorithm>
#include <memory>
#include <string>

#include "algorithms/algorithm.h"
#include "algorithms/definition.h"
#include "algorithms/finisher.h"

namespace convtranspose {
namespace {

constexpr double kSecondsPerProduct = 2.0e-9;
constexpr double kSecondsPerOutput = 2.0e-8;
constexpr double kProductsPerTask = 1e6;  // about a millisecond: an abort waits for no more
constexpr double kMaxOutputsPerTask = 4096;

class ReferenceExecution final : public Execution {
 public:
  explicit ReferenceExecution(const PlanRequest& request)
      : problem_(request.original),
        definition_(request.original),
        finisher_(request.original, *request.kernels),
        biases_(problem_.src_elements() == 0 && problem_.call.algorithm != AlgorithmChoice::kReference) {
    const Problem& problem = problem_;
    const double outputs = static_cast<double>(problem.dst_elements());
    const double products = problem.in_points() == 0 ? 0.0 : definition_.products_per_output();
    outputs_per_task_ =
        static_cast<std::int64_t>(std::clamp(kProductsPerTask / std::max(products, 1.0), 1.0, kMaxOutputsPerTask));
    estimated_seconds = outputs * (products * kSecondsPerProduct + kSecondsPerOutput);
    phases = 1;
    blocking = {{"outputs", outputs_per_task_}};
  }

  const PackedForm* packed_form() const override { return nullptr; }
  std::int64_t tasks(int) const override { return (problem_.dst_elements() + outputs_per_task_ - 1) / outputs_per_task_; }
  std::size_t workspace_bytes() const override { return 0; }

  void run_task(const RunArgs& args, int, std::int64_t task, Workspace) const noexcept override {
    const std::int64_t begin = task * outputs_per_task_;
    const std::int64_t end = std::min(begin + outputs_per_task_, problem_.dst_elements());
    const bool last = problem_.call.format == MemoryFormat::kChannelsLast;
    for (std::int64_t index = begin; index < end; ++index) {
      std::int64_t rest = index;
      const auto take = [&rest](std::int64_t size) {
        const std::int64_t value = rest % size;
        rest /= size;
        return value;
      };
      std::int64_t channel = 0;
      Dims o;
      if (last) channel = take(problem_.layer.out_channels);
      for (int d = kSpatialDims - 1; d >= 0; --d) o[d] = take(problem_.call.out[d]);
      if (!last) channel = take(problem_.layer.out_channels);
      if (biases_) {
        finisher_.unreached(args, channel, index);
      } else {
        args.dst[index] = definition_.output(args, rest, channel, o);
      }
    }
  }

 private:
  Problem problem_;
  Definition definition_;
  Finisher finisher_;
  bool biases_;  // there are no products, and nobody asked for the definition by name
  std::int64_t outputs_per_task_;
};

class Reference final : public Algorithm {
 public:
  const char* name() const override { return "reference"; }
  AlgorithmChoice choice() const override { return AlgorithmChoice::kReference; }
  SumOrder order() const override { return SumOrder::kExact; }
  std::unique_ptr<Execution> plan(const PlanRequest& request, Decline*) const override {
    return std::make_unique<ReferenceExecution>(request);
  }
};

}  // namespace

const Algorithm& reference() {
  static const Reference algorithm;
  return algorithm;
}

}  // namespace convtranspose
