// One run of a planned call: packs what nobody has packed yet, then the stages of the plan.
#pragma once

#include <atomic>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <vector>

#include "layer/packed_weights.h"
#include "plan/planner.h"
#include "runtime/buffer_pool.h"
#include "runtime/thread_pool.h"

namespace convtranspose {

// In front of every workspace.
inline constexpr std::size_t kWorkspaceHeaderBytes = 64;

// A plan with what a run of it needs at hand.
struct Prepared {
  std::shared_ptr<const Plan> plan;
  std::shared_ptr<PackedWeights> packed;  // null if not asked for yet, or if the plan wants raw weights

  struct KernelCount {
    std::size_t kernel;  // its number
    std::atomic<std::uint64_t>* count;
  };
  std::vector<KernelCount> kernel_counts;  // of those that may run

  bool lacks_weights() const { return packed == nullptr && plan->execution->packed_form() != nullptr; }
};

// For one Job at a time.
class PreparedRun {
 public:
  // As of RunArgs; the raw weights are the layer's.
  struct Operands {
    const float* raw_weights;
    const float* bias;
    const float* src;
    float* dst;
    const float* residual;
    const float* slopes;
    bool fresh;
  };

  // With `compute` false it ends when the weights are packed.
  PreparedRun(std::shared_ptr<const Prepared> prepared, const Operands& operands, bool compute);

  enum class Next {
    kStage,
    kEnd,
    kRefused,      // the input is not for this algorithm: run it again with the direct ones
    kWait,         // others have the last tasks of packing in hand: ask again when packed() is complete
    kOutOfMemory,  // for what the stages share
  };

  // As Job::next_stage() and Job::run_task().
  Next next_stage(Stage* stage);
  void run_task(std::int64_t task, std::byte* workspace) const noexcept;

  PackedWeights& packed() const { return *prepared_->packed; }

 private:
  const Execution& execution() const { return *prepared_->plan->execution; }
  bool reserve_shared();

  std::shared_ptr<const Prepared> prepared_;
  std::uint64_t id_;
  bool compute_;
  bool packing_ = false;
  RunArgs args_;
  std::atomic<bool> refused_{false};
  std::shared_ptr<Buffer> shared_;
  int stage_ = -1;
};

}  // namespace convtranspose
