#include "binding/info.h"

#include <cstdint>
#include <limits>
#include <string>
#include <utility>
#include <vector>

#include "binding/instance.h"
#include "binding/layer_handle.h"
#include "binding/spec.h"
#include "binding/views.h"
#include "runtime/buffer_pool.h"
#include "runtime/counters.h"
#include "runtime/cpu.h"
#include "runtime/thread_pool.h"

namespace convtranspose::binding {
namespace {

Napi::Value number(Napi::Env env, std::int64_t value) { return Napi::Number::New(env, static_cast<double>(value)); }

template <class Item, class Convert>
Napi::Array array(Napi::Env env, const std::vector<Item>& items, Convert convert) {
  Napi::Array result = Napi::Array::New(env, items.size());
  for (std::size_t i = 0; i < items.size(); ++i) result.Set(static_cast<std::uint32_t>(i), convert(items[i]));
  return result;
}

Napi::Array strings(Napi::Env env, const std::vector<std::string>& items) {
  return array(env, items, [&](const std::string& item) { return Napi::String::New(env, item); });
}

template <class Integer>
Napi::Object record(Napi::Env env, const std::vector<std::pair<std::string, Integer>>& entries) {
  Napi::Object result = Napi::Object::New(env);
  for (const auto& [name, value] : entries) result.Set(name, number(env, static_cast<std::int64_t>(value)));
  return result;
}

}  // namespace

Napi::Value cpu_info(const Napi::CallbackInfo& info) {
  const Napi::Env env = info.Env();
  Isa isa;
  const Failure failure = to_failure(active_isa(&isa));
  if (failure) return {env, throw_failure(env, failure)};
  const CpuInfo& cpu = convtranspose::cpu_info();

  Napi::Object caches = Napi::Object::New(env);
  caches.Set("l1d", number(env, static_cast<std::int64_t>(cpu.caches.l1d)));
  caches.Set("l2", number(env, static_cast<std::int64_t>(cpu.caches.l2)));
  caches.Set("l3", number(env, static_cast<std::int64_t>(cpu.caches.l3)));
  caches.Set("line", number(env, static_cast<std::int64_t>(cpu.caches.line)));

  Napi::Object result = Napi::Object::New(env);
  result.Set("vendor", cpu.vendor);
  result.Set("model", cpu.model);
  result.Set("arch", cpu.arch);
  result.Set("features", strings(env, cpu.features));
  result.Set("supported", array(env, cpu.supported, [&](Isa each) { return Napi::String::New(env, isa_name(each)); }));
  result.Set("isa", isa_name(isa));
  result.Set("caches", caches);
  result.Set("processors", number(env, cpu.processors));
  result.Set("quota", Napi::Number::New(env, cpu.quota));
  result.Set("defaultThreads", number(env, cpu.default_threads));
  return result;
}

Napi::Value get_num_threads(const Napi::CallbackInfo& info) {
  const Napi::Env env = info.Env();
  const Failure failure = to_failure(thread_environment_status());
  if (failure) return {env, throw_failure(env, failure)};
  return number(env, ThreadPool::process().size());
}

void set_num_threads(const Napi::CallbackInfo& info) {
  const Napi::Env env = info.Env();
  Failure failure = to_failure(thread_environment_status());
  int threads = 0;
  if (failure || !read_threads(env, info[0], &threads, &failure)) {
    throw_failure(env, failure);
    return;
  }
  ThreadPool::process().set_size(threads);
}

Napi::Value queue_depth(const Napi::CallbackInfo& info) {
  return number(info.Env(), static_cast<std::int64_t>(instance_of(info.Env()).queue.depth()));
}

Napi::Value get_queue_limit(const Napi::CallbackInfo& info) {
  const std::size_t limit = instance_of(info.Env()).queue.limit();
  const double none = std::numeric_limits<double>::infinity();
  return Napi::Number::New(info.Env(), limit == SIZE_MAX ? none : static_cast<double>(limit));
}

void set_queue_limit(const Napi::CallbackInfo& info) {
  const Napi::Env env = info.Env();
  double limit = 0;
  if (napi_get_value_double(env, info[0], &limit) != napi_ok || !(limit >= 1)) {
    throw_failure(env, {kInvalidValue, "limit", "expected an integer of at least 1, or Infinity"});
    return;
  }
  constexpr double kMost = 9007199254740991.0;  // 2^53 - 1
  instance_of(env).queue.set_limit(limit <= kMost ? static_cast<std::size_t>(limit) : SIZE_MAX);
}

Napi::Value explain(const Napi::CallbackInfo& info) {
  const Napi::Env env = info.Env();
  Failure failure;
  CallSpec call;
  LayerHandle* const handle = open_layer(env, info[0], &failure);
  if (handle == nullptr || !read_call_spec(env, info[1], &call, &failure)) return {env, throw_failure(env, failure)};
  Explanation plan;
  failure = to_failure(validate(handle->layer->spec(), call));
  if (!failure) failure = to_failure(handle->layer->explain(call, &plan));
  if (failure) return {env, throw_failure(env, failure)};
  report_memory(env, handle);

  Napi::Object result = Napi::Object::New(env);
  result.Set("algorithm", plan.algorithm);
  result.Set("choice", plan.choice);
  result.Set("isa", plan.isa);
  result.Set("kernels", strings(env, plan.kernels));
  result.Set("reason", plan.reason);
  result.Set("rejected", array(env, plan.rejected, [&](const RejectedAlgorithm& each) {
               Napi::Object item = Napi::Object::New(env);
               item.Set("name", each.name);
               item.Set("reason", each.reason);
               return item;
             }));
  result.Set("precision", plan.precision);
  result.Set("fused", strings(env, plan.fused));
  result.Set("notes", strings(env, plan.notes));
  result.Set("flops", Napi::Number::New(env, plan.flops));
  result.Set("estimatedSeconds", Napi::Number::New(env, plan.estimated_seconds));
  result.Set("phases", number(env, plan.phases));
  result.Set("tasks", number(env, plan.tasks));
  result.Set("workspaceBytes", number(env, plan.workspace_bytes));
  result.Set("sharedBytes", number(env, plan.shared_bytes));
  result.Set("packedWeights", record(env, plan.packed_weights));
  result.Set("blocking", record(env, plan.blocking));
  return result;
}

Napi::Value read_counters(const Napi::CallbackInfo& info) { return record(info.Env(), convtranspose::read_counters()); }

void reset_counters(const Napi::CallbackInfo&) { convtranspose::reset_counters(); }

Napi::Value memory(const Napi::CallbackInfo& info) {
  const Napi::Env env = info.Env();
  const BufferStats stats = buffer_stats();
  const AsyncQueue& queue = instance_of(env).queue;
  Napi::Object result = Napi::Object::New(env);
  result.Set("liveBytes", number(env, static_cast<std::int64_t>(stats.live_bytes)));
  result.Set("recycledBytes", number(env, static_cast<std::int64_t>(stats.recycled_bytes)));
  result.Set("allocations", number(env, static_cast<std::int64_t>(stats.allocations)));
  result.Set("queued", number(env, static_cast<std::int64_t>(queue.queued())));
  result.Set("staged", number(env, static_cast<std::int64_t>(queue.staged())));
  return result;
}

}  // namespace convtranspose::binding
