#include "layer/packed_weights.h"

#include <algorithm>
#include <cstddef>
#include <new>
#include <utility>

namespace convtranspose {

std::shared_ptr<PackedWeights> PackedWeights::create(std::shared_ptr<const PackedForm> form) {
  std::shared_ptr<Buffer> memory = allocate_buffer(static_cast<std::size_t>(form->elements()) * sizeof(float));
  if (memory == nullptr) return nullptr;
  return std::shared_ptr<PackedWeights>(new PackedWeights(std::move(form), std::move(memory)));
}

PackedWeights::PackedWeights(std::shared_ptr<const PackedForm> form, std::shared_ptr<Buffer> memory)
    : form_(std::move(form)),
      memory_(std::move(memory)),
      data_(reinterpret_cast<float*>(memory_->data())),
      elements_(form_->elements()),
      tasks_(form_->tasks()) {}

std::int64_t PackedWeights::waiting_tasks() const {
  return std::max<std::int64_t>(tasks_ - begun_.load(std::memory_order_relaxed), 0);
}

void PackedWeights::pack_next(const float* weights) noexcept {
  const std::int64_t task = begun_.fetch_add(1, std::memory_order_relaxed);
  if (task >= tasks_) return;
  form_->pack_task(weights, task, data_);
  if (done_.fetch_add(1, std::memory_order_acq_rel) + 1 < tasks_) return;
  std::vector<std::function<void()>> then;
  {
    const std::lock_guard<std::mutex> lock(mutex_);
    then.swap(then_);
    completed_.notify_all();
  }
  for (const auto& each : then) each();
}

bool PackedWeights::when_complete(std::function<void()> then) {
  const std::lock_guard<std::mutex> lock(mutex_);
  if (complete()) return false;
  then_.push_back(std::move(then));
  return true;
}

void PackedWeights::wait() {
  std::unique_lock<std::mutex> lock(mutex_);
  completed_.wait(lock, [this] { return complete(); });
}

}  // namespace convtranspose
