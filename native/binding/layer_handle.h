// The external that stands for a compiled layer in JavaScript. Anything else is refused.
#pragma once

#include <node_api.h>

#include <cstdint>
#include <memory>

#include "binding/errors.h"
#include "binding/spec.h"
#include "layer/layer.h"

namespace convtranspose::binding {

struct LayerHandle {
  std::shared_ptr<Layer> layer;  // empty after disposeLayer; calls in flight hold their own reference
  std::int64_t reported = 0;     // bytes that V8 has been told of
  std::uint64_t runs = 0;        // synchronous ones
  CallMemo last;                 // of these
};

// The handle behind `value`, alive as long as the object is; refuses forged, foreign and disposed ones. Runs no JavaScript.
LayerHandle* open_layer(napi_env env, napi_value value, Failure* failure);

// Tells V8 how much memory the layer holds now. JavaScript thread.
void report_memory(napi_env env, LayerHandle* handle);

// createLayer(layer: Float64Array, weight: Float32Array | null, bias: Float32Array | null, seed?: number): NativeLayer
napi_value create_layer(napi_env env, napi_callback_info info);
// readLayer(layer: NativeLayer, weight: Float32Array, bias: Float32Array | null): void
napi_value read_layer(napi_env env, napi_callback_info info);
// disposeLayer(layer: NativeLayer): void
napi_value dispose_layer(napi_env env, napi_callback_info info);

}  // namespace convtranspose::binding
