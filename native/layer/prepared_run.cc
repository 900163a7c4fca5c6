#include "layer/prepared_run.h"

#include <utility>

namespace convtranspose {
namespace {

// Tells whether what the last task left in a workspace is this run's.
struct alignas(kWorkspaceHeaderBytes) WorkspaceHeader {
  std::uint64_t run;
  std::int64_t tag;
};
static_assert(sizeof(WorkspaceHeader) == kWorkspaceHeaderBytes);

std::uint64_t next_run_id() {
  static std::atomic<std::uint64_t> next{1};
  return next.fetch_add(1, std::memory_order_relaxed);
}

}  // namespace

PreparedRun::PreparedRun(std::shared_ptr<const Prepared> prepared, const Operands& operands, bool compute)
    : prepared_(std::move(prepared)), id_(next_run_id()), compute_(compute) {
  args_.src = operands.src;
  args_.dst = operands.dst;
  args_.residual = operands.residual;
  args_.slopes = operands.slopes;
  args_.bias = operands.bias;
  args_.raw_weights = operands.raw_weights;
  args_.weights = prepared_->packed == nullptr ? operands.raw_weights : prepared_->packed->data();
  args_.shared = nullptr;
  args_.refused = &refused_;
  args_.fresh = operands.fresh;
}

PreparedRun::Next PreparedRun::next_stage(Stage* stage) {
  packing_ = prepared_->packed != nullptr && !prepared_->packed->complete();
  if (packing_) {
    *stage = {packed().waiting_tasks(), 0};
    return stage->tasks > 0 ? Next::kStage : Next::kWait;
  }
  if (refused_.load(std::memory_order_relaxed)) return Next::kRefused;
  if (!compute_ || stage_ + 1 >= execution().stages()) return Next::kEnd;
  if (stage_ < 0 && !reserve_shared()) return Next::kOutOfMemory;
  ++stage_;
  *stage = {execution().tasks(stage_), kWorkspaceHeaderBytes + execution().workspace_bytes()};
  return Next::kStage;
}

void PreparedRun::run_task(std::int64_t task, std::byte* workspace) const noexcept {
  if (packing_) {
    packed().pack_next(args_.raw_weights);
    return;
  }
  auto* header = reinterpret_cast<WorkspaceHeader*>(workspace);
  if (header->run != id_) *header = {id_, -1};
  KernelSet used;
  execution().run_task(args_, stage_, task, {workspace + kWorkspaceHeaderBytes, &header->tag, &used});
  if (execution().kernels.none()) used.set(0);
  for (const Prepared::KernelCount& counted : prepared_->kernel_counts) {
    if (used.test(counted.kernel)) counted.count->fetch_add(1, std::memory_order_relaxed);
  }
}

bool PreparedRun::reserve_shared() {
  const std::size_t bytes = execution().shared_bytes();
  if (bytes == 0) return true;
  shared_ = allocate_buffer(bytes);
  if (shared_ == nullptr) return false;
  args_.shared = shared_->data();
  return true;
}

}  // namespace convtranspose
