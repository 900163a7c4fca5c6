#include "algorithms/exact_border.h"

#include <utility>

#include "algorithms/definition.h"
#include "algorithms/finisher.h"

namespace convtranspose {
namespace {

class ExactBorderExecution final : public Execution {
 public:
  ExactBorderExecution(std::unique_ptr<Execution> inner, const PlanRequest& request)
      : inner_(std::move(inner)),
        problem_(request.problem),
        definition_(request.problem),
        finisher_(request.problem, *request.kernels) {
    estimated_seconds = inner_->estimated_seconds;
    kernels = inner_->kernels;
    blocking = inner_->blocking;
    phases = inner_->phases;
    precision = inner_->precision;
    notes = inner_->notes;
  }

  const PackedForm* packed_form() const override { return inner_->packed_form(); }
  int stages() const override { return inner_->stages() + 1; }
  std::int64_t tasks(int stage) const override {
    if (stage < inner_->stages()) return inner_->tasks(stage);
    return problem_.call.batch * problem_.layer.out_channels * problem_.call.out[0] * problem_.call.out[1];  // rows
  }
  std::size_t workspace_bytes() const override { return inner_->workspace_bytes(); }
  std::size_t shared_bytes() const override { return inner_->shared_bytes(); }

  void run_task(const RunArgs& args, int stage, std::int64_t task, Workspace workspace) const noexcept override {
    if (stage < inner_->stages()) {
      inner_->run_task(args, stage, task, workspace);
      return;
    }
    const Dims& out = problem_.call.out;
    const std::int64_t channels = problem_.layer.out_channels;
    Dims o{task / out[1] % out[0], task % out[1], 0};
    const std::int64_t channel = task / (out[0] * out[1]) % channels;
    const std::int64_t image = task / (out[0] * out[1]) / channels;
    for (; o[2] < out[2]; ++o[2]) {
      if (!definition_.at_border(o)) continue;
      const std::int64_t index = definition_.index(image, channel, o);
      if (definition_.reached(o)) {
        args.dst[index] = definition_.output(args, image, channel, o);
      } else {
        finisher_.unreached(args, channel, index);
      }
    }
  }

 private:
  std::unique_ptr<Execution> inner_;
  Problem problem_;
  Definition definition_;
  Finisher finisher_;
};

}  // namespace

std::unique_ptr<Execution> with_exact_border(std::unique_ptr<Execution> inner, const PlanRequest& request) {
  return std::make_unique<ExactBorderExecution>(std::move(inner), request);
}

}  // namespace convtranspose
