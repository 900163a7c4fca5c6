// How a failure of the core or of a check here becomes a JavaScript error.
#pragma once

#include <node_api.h>

#include <string>

#include "problem/status.h"

namespace convtranspose::binding {

inline constexpr char kInvalidType[] = "ERR_CONVTRANSPOSE_INVALID_TYPE";
inline constexpr char kInvalidValue[] = "ERR_CONVTRANSPOSE_INVALID_VALUE";
inline constexpr char kUnsupported[] = "ERR_CONVTRANSPOSE_UNSUPPORTED";
inline constexpr char kOutOfMemory[] = "ERR_CONVTRANSPOSE_OUT_OF_MEMORY";
inline constexpr char kAborted[] = "ERR_CONVTRANSPOSE_ABORTED";
inline constexpr char kDetached[] = "ERR_CONVTRANSPOSE_DETACHED";
inline constexpr char kDisposed[] = "ERR_CONVTRANSPOSE_DISPOSED";
inline constexpr char kQueueFull[] = "ERR_CONVTRANSPOSE_QUEUE_FULL";
inline constexpr char kOverlap[] = "ERR_CONVTRANSPOSE_OVERLAP";

// Nothing went wrong while `code` is nullptr.
struct Failure {
  const char* code = nullptr;  // static string
  std::string argument;        // public name of what is wrong; empty if none
  std::string message;         // without the argument's name

  explicit operator bool() const { return code != nullptr; }
};

// An ok status becomes no failure.
Failure to_failure(const Status& status);

// An Error object with `code`, `argument` and the message "argument: ...". JavaScript thread. nullptr if V8 is terminating.
napi_value make_error(napi_env env, const Failure& failure);

// Throws it; returns nullptr, so that callbacks can `return throw_failure(...)`. JavaScript thread.
napi_value throw_failure(napi_env env, const Failure& failure);

}  // namespace convtranspose::binding
