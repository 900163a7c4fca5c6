// Calls that compute on pool threads: they check everything, note where the operands are, and join the queue.
#pragma once

#include <node_api.h>

namespace convtranspose::binding {

// `residual` and `slopes` (of prelu) may be left out. `done` gets null and the result, if `out` was null, or what went
// wrong.

// forwardAsync(layer, call, input, out, threads, done, residual, slopes): ticket
napi_value forward_async(napi_env env, napi_callback_info info);
// prepareAsync(layer, call, done): ticket
napi_value prepare_async(napi_env env, napi_callback_info info);
// runAsync(layer: Float64Array, call, input, weight, bias, out, threads, done, residual, slopes): ticket
napi_value run_async(napi_env env, napi_callback_info info);
// abort(ticket): void
napi_value abort(napi_env env, napi_callback_info info);

}  // namespace convtranspose::binding
