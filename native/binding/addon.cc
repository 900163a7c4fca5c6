// Registration. Runs once in each environment that loads the binary: the main thread and every worker thread.
#include <napi.h>

#include "binding/async_call.h"
#include "binding/info.h"
#include "binding/instance.h"
#include "binding/join.h"
#include "binding/layer_handle.h"
#include "binding/memory.h"
#include "binding/spec.h"
#include "binding/sync_call.h"
#include "runtime/cpu.h"
#include "runtime/thread_pool.h"

namespace convtranspose::binding {

Instance& instance_of(napi_env env) {
  void* data = nullptr;
  napi_get_instance_data(env, &data);
  return *static_cast<Instance*>(data);
}

bool check_settings(Failure* failure) {
  Isa isa;
  *failure = to_failure(active_isa(&isa));
  if (!*failure) *failure = to_failure(thread_environment_status());
  return !*failure;
}

namespace {

Napi::Object init(Napi::Env env, Napi::Object exports) {
  // Node destroys it after all cleanup hooks have run, and thus after AsyncQueue::teardown().
  const auto destroy = [](napi_env, void* instance, void*) { delete static_cast<Instance*>(instance); };
  napi_set_instance_data(env, new Instance, destroy, nullptr);

  const struct {
    const char* name;
    napi_callback function;
  } functions[] = {
      {"allocate", allocate},
      {"createLayer", create_layer},
      {"disposeLayer", dispose_layer},
      {"forward", forward},
      {"forwardAsync", forward_async},
      {"prepare", prepare},
      {"prepareAsync", prepare_async},
      {"run", run},
      {"runAsync", run_async},
      {"abort", abort},
      {"readLayer", read_layer},
      {"joinRows", join_rows},
      {"forwardJoined", forward_joined},
      {"allowExternalMemory", allow_external_memory},
  };
  for (const auto& [name, function] : functions) {
    napi_value value = nullptr;
    napi_create_function(env, name, NAPI_AUTO_LENGTH, function, nullptr, &value);
    exports.Set(name, value);
  }
  exports.Set("cpuInfo", Napi::Function::New(env, cpu_info, "cpuInfo"));
  exports.Set("getNumThreads", Napi::Function::New(env, get_num_threads, "getNumThreads"));
  exports.Set("setNumThreads", Napi::Function::New(env, set_num_threads, "setNumThreads"));
  exports.Set("queueDepth", Napi::Function::New(env, queue_depth, "queueDepth"));
  exports.Set("getQueueLimit", Napi::Function::New(env, get_queue_limit, "getQueueLimit"));
  exports.Set("setQueueLimit", Napi::Function::New(env, set_queue_limit, "setQueueLimit"));
  exports.Set("explain", Napi::Function::New(env, explain, "explain"));
  exports.Set("counters", Napi::Function::New(env, read_counters, "counters"));
  exports.Set("resetCounters", Napi::Function::New(env, reset_counters, "resetCounters"));
  exports.Set("memory", Napi::Function::New(env, memory, "memory"));
  exports.Set("version", CONVTRANSPOSE_VERSION);
  exports.Set("layerFields", layer_field_names(env));
  exports.Set("callFields", call_field_names(env));
  return exports;
}

}  // namespace
}  // namespace convtranspose::binding

using convtranspose::binding::init;
NODE_API_MODULE(convtranspose, init)
