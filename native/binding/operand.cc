#include "binding/operand.h"

#include <algorithm>
#include <cstring>

#include "binding/memory.h"
#include "binding/views.h"

namespace convtranspose::binding {

void Operand::bind_result(const char* name, std::int64_t elements) {
  name_ = name;
  bytes_ = static_cast<std::size_t>(elements) * sizeof(float);
  is_result_ = true;
}

bool Operand::bind(napi_env env, napi_value array, const char* name, std::int64_t elements, Failure* failure) {
  FloatView view;
  if (!view_floats(env, array, name, elements, true, &view, failure)) return false;
  name_ = name;
  data_ = view.data;
  bytes_ = static_cast<std::size_t>(elements) * sizeof(float);
  if (bytes_ == 0) return true;
  block_ = find_buffer(view.data, bytes_);
  if (block_ != nullptr) return true;
  bool can_vanish = true;  // a SharedArrayBuffer is no ArrayBuffer
  napi_is_arraybuffer(env, view.buffer, &can_vanish);
  foreign_ = can_vanish;
  array_ = Napi::Reference<Napi::Value>::New(Napi::Value(env, array), 1);
  return true;
}

bool Operand::stage(Failure* failure) {
  if (!foreign_ && !is_result_) return true;
  block_ = allocate_buffer(bytes_);
  if (block_ == nullptr) {
    const char* const what = is_result_ ? "not enough memory for " : "not enough memory for a copy of ";
    *failure = {kOutOfMemory, name_, what + std::to_string(bytes_) + " bytes"};
    return false;
  }
  data_ = reinterpret_cast<float*>(block_->data());
  return true;
}

bool Operand::make_array(napi_env env, OutputMemory& outputs, Failure* failure) {
  if (!is_result_) return true;
  block_->set_touched();
  const double bytes = static_cast<double>(bytes_);
  napi_value buffer = nullptr;
  if (!outputs.wrap(env, block_, bytes, &buffer, failure)) return false;
  foreign_ = buffer == nullptr;
  if (foreign_) buffer = outputs.plain_buffer(env, bytes, failure);
  napi_value array = nullptr;
  if (buffer == nullptr) return false;
  if (napi_create_typedarray(env, napi_float32_array, bytes_ / sizeof(float), buffer, 0, &array) != napi_ok) {
    *failure = {kOutOfMemory, name_, "the environment cannot take another object"};
    return false;
  }
  array_ = Napi::Reference<Napi::Value>::New(Napi::Value(env, array), 1);
  return true;
}

napi_value Operand::result(napi_env env) const {
  napi_value value = nullptr;
  if (is_result_ && !array_.IsEmpty()) return array_.Value();
  napi_get_undefined(env, &value);
  return value;
}

bool Operand::copy(napi_env env, bool in, std::size_t* budget, Failure* failure) {
  if (!foreign_) return true;
  FloatView view;
  if (!view_floats(env, array_.Value(), name_, elements(), false, &view, failure)) return false;
  const std::size_t slice = std::min(*budget, bytes_ - done_);
  std::byte* const block = block_->data() + done_;
  std::byte* const array = reinterpret_cast<std::byte*>(view.data) + done_;
  std::memcpy(in ? block : array, in ? array : block, slice);
  done_ += slice;
  *budget -= slice;
  return true;
}

}  // namespace convtranspose::binding
