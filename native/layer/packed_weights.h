// One packed form of a layer's weights, filled by whoever needs it.
//
// Jobs that need the same form at the same time share its tasks instead of waiting for one another: each takes the next task
// that nobody has begun. What an aborted job has packed is there for the next one. Only the tasks in other threads' hands at
// the very end have to be waited for.
#pragma once

#include <atomic>
#include <condition_variable>
#include <cstdint>
#include <functional>
#include <memory>
#include <mutex>
#include <string>
#include <vector>

#include "pack/packed_form.h"
#include "runtime/buffer_pool.h"

namespace convtranspose {

// Thread-safe.
class PackedWeights {
 public:
  // nullptr when there is no memory.
  static std::shared_ptr<PackedWeights> create(std::shared_ptr<const PackedForm> form);

  const std::string& key() const { return form_->key(); }
  std::int64_t elements() const { return elements_; }

  // To be read once complete() has been seen.
  const float* data() const { return data_; }
  bool complete() const { return done_.load(std::memory_order_acquire) == tasks_; }

  // Number of tasks that nobody has begun.
  std::int64_t waiting_tasks() const;

  // Packs one of them, if there is any left. `weights` are the layer's.
  void pack_next(const float* weights) noexcept;

  // For when no task waits. True: `then` will be called once, when the form is complete, on the thread that completes it.
  // False: it is complete. May throw std::bad_alloc.
  bool when_complete(std::function<void()> then);

  // For when no task waits: sleeps until the form is complete.
  void wait();

 private:
  PackedWeights(std::shared_ptr<const PackedForm> form, std::shared_ptr<Buffer> memory);

  const std::shared_ptr<const PackedForm> form_;
  const std::shared_ptr<Buffer> memory_;
  float* const data_;
  const std::int64_t elements_;
  const std::int64_t tasks_;
  std::atomic<std::int64_t> begun_{0};  // may exceed tasks_
  std::atomic<std::int64_t> done_{0};
  std::mutex mutex_;
  std::condition_variable completed_;
  std::vector<std::function<void()>> then_;  // guarded by the mutex
};

}  // namespace convtranspose
