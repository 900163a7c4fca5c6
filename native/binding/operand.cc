#include "binding/operand.h"

#include <algorithm>
#include <cstring>

#include "binding/views.h"

namespace convtranspose::binding {

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
  if (!foreign_) return true;
  block_ = allocate_buffer(bytes_);
  if (block_ == nullptr) {
    *failure = {kOutOfMemory, name_, "not enough memory for a copy of " + std::to_string(bytes_) + " bytes"};
    return false;
  }
  data_ = reinterpret_cast<float*>(block_->data());
  return true;
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
