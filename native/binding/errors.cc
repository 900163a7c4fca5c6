#include "binding/errors.h"

namespace convtranspose::binding {
namespace {

napi_value make_string(napi_env env, const std::string& text) {
  napi_value value = nullptr;
  napi_create_string_utf8(env, text.data(), text.size(), &value);
  return value;
}

const char* code_of(StatusCode code) {
  switch (code) {
    case StatusCode::kOk:
      return nullptr;
    case StatusCode::kInvalidArgument:
      return kInvalidValue;
    case StatusCode::kUnsupported:
      return kUnsupported;
    case StatusCode::kOutOfMemory:
      return kOutOfMemory;
    case StatusCode::kAborted:
      return kAborted;
  }
  return kInvalidValue;
}

}  // namespace

Failure to_failure(const Status& status) {
  if (status.ok()) return {};
  return {code_of(status.code), status.argument, status.message};
}

napi_value make_error(napi_env env, const Failure& failure) {
  const std::string text = failure.argument.empty() ? failure.message : failure.argument + ": " + failure.message;
  napi_value error = nullptr;
  if (napi_create_error(env, make_string(env, failure.code), make_string(env, text), &error) != napi_ok) return nullptr;
  napi_set_named_property(env, error, "argument", make_string(env, failure.argument));
  return error;
}

napi_value throw_failure(napi_env env, const Failure& failure) {
  const napi_value error = make_error(env, failure);
  if (error != nullptr) napi_throw(env, error);
  return nullptr;
}

}  // namespace convtranspose::binding
