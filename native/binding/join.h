// The input window of a stream, put together on the JavaScript thread.
#pragma once

#include <node_api.h>

#include <cstdint>

#include "binding/errors.h"
#include "binding/views.h"
#include "pack/join.h"

namespace convtranspose::binding {

// What is joined, as join_rows() wants it.
struct JoinViews {
  RowJoin widths;
  std::int64_t rows;
  FloatView from;
  FloatView chunk;
  FloatView to;
};

// Reads the arguments held, kept, added, from, chunk, to; all rows of `to` together are `elements` floats. Refuses arrays
// that are too short for them or share memory. Runs no JavaScript.
bool read_join(napi_env env, const napi_value* args, std::int64_t elements, JoinViews* join, Failure* failure);

// joinRows(held, kept, added, from: Float32Array, chunk: Float32Array, to: Float32Array, rows, first, count): void: the rows
// from `first` to `first + count` of `rows`
napi_value join_rows(napi_env env, napi_callback_info info);

}  // namespace convtranspose::binding
