// Calls that compute before they return. Raw Node-API without any object of its own: page-sized layers take microseconds.
#pragma once

#include <node_api.h>

namespace convtranspose::binding {

// `fresh`: true if `out` was allocated for this call; results do not depend on it.
//
// forward(layer, call, input, out, threads, residual, slopes, fresh): void
napi_value forward(napi_env env, napi_callback_info info);
// forwardJoined(layer, call, held, kept, added, from, chunk, to, out, threads, slopes, fresh): void; joins all rows as
// joinRows() does, and takes them as the input
napi_value forward_joined(napi_env env, napi_callback_info info);
// prepare(layer, call): void
napi_value prepare(napi_env env, napi_callback_info info);
// run(layer: Float64Array, call, input, weight, bias, out, threads, residual, slopes, fresh): void
napi_value run(napi_env env, napi_callback_info info);

}  // namespace convtranspose::binding
