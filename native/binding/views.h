// Typed arrays as native code sees them, and the checks that keep a wrong one from corrupting memory.
#pragma once

#include <node_api.h>

#include <cstddef>
#include <cstdint>

#include "binding/errors.h"

namespace convtranspose::binding {

// The elements behind a Float32Array. Valid until JavaScript runs again: a later turn may have detached or resized it.
struct FloatView {
  float* data = nullptr;        // aligned for float; never nullptr
  std::size_t length = 0;       // elements
  napi_value buffer = nullptr;  // only if asked for: its ArrayBuffer or SharedArrayBuffer
};

// Refuses anything but a Float32Array of at least `elements` elements; `argument` is its public name. Runs no JavaScript.
// With `with_buffer` the view's buffer is filled in.
bool view_floats(napi_env env, napi_value value, const char* argument, std::int64_t elements, bool with_buffer,
                 FloatView* view, Failure* failure);

// Whether two runs of floats share memory: also through two SharedArrayBuffer objects, which JavaScript cannot see.
bool overlap(const float* a, std::int64_t a_elements, const float* b, std::int64_t b_elements);

// The error for an `out` that overlaps `argument`.
Failure overlap_failure(const char* argument);

// A whole number of threads from 0 (the default number) to 2^31 - 1.
bool read_threads(napi_env env, napi_value value, int* threads, Failure* failure);

// Whether the value is null or undefined.
bool is_absent(napi_env env, napi_value value);

}  // namespace convtranspose::binding
