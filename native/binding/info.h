// What the addon tells about the machine, about a plan, and about itself.
#pragma once

#include <napi.h>

namespace convtranspose::binding {

Napi::Value cpu_info(const Napi::CallbackInfo& info);
Napi::Value get_num_threads(const Napi::CallbackInfo& info);
void set_num_threads(const Napi::CallbackInfo& info);
// queueDepth(), getQueueLimit(), setQueueLimit(limit): of this environment; Infinity: no limit.
Napi::Value queue_depth(const Napi::CallbackInfo& info);
Napi::Value get_queue_limit(const Napi::CallbackInfo& info);
void set_queue_limit(const Napi::CallbackInfo& info);
// explain(layer: NativeLayer, call: Float64Array): NativeExplanation
Napi::Value explain(const Napi::CallbackInfo& info);
Napi::Value read_counters(const Napi::CallbackInfo& info);
void reset_counters(const Napi::CallbackInfo& info);
Napi::Value memory(const Napi::CallbackInfo& info);

}  // namespace convtranspose::binding
