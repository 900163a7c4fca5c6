#include "binding/views.h"

#include <string>

namespace convtranspose::binding {
namespace {

alignas(64) float no_elements[16];  // what a view of no elements points at: V8 may give nullptr, or nullptr plus an offset

}  // namespace

bool view_floats(napi_env env, napi_value value, const char* argument, std::int64_t elements, bool with_buffer,
                 FloatView* view, Failure* failure) {
  napi_typedarray_type type;
  void* data = nullptr;
  if (napi_get_typedarray_info(env, value, &type, &view->length, &data, with_buffer ? &view->buffer : nullptr, nullptr) !=
          napi_ok ||
      type != napi_float32_array) {
    *failure = {kInvalidType, argument, "expected a Float32Array"};
    return false;
  }
  if (view->length < static_cast<std::uint64_t>(elements)) {
    *failure = {kDetached, argument,
                "expected " + std::to_string(elements) + " elements, got " + std::to_string(view->length) +
                    "; its buffer has been detached or has shrunk"};
    return false;
  }
  if (elements == 0) {
    view->data = no_elements;
    return true;
  }
  if (reinterpret_cast<std::uintptr_t>(data) % alignof(float) != 0) {
    *failure = {kInvalidValue, argument, "expected memory aligned to 4 bytes, got an external buffer at an odd address"};
    return false;
  }
  view->data = static_cast<float*>(data);
  return true;
}

bool overlap(const float* a, std::int64_t a_elements, const float* b, std::int64_t b_elements) {
  const auto a_begin = reinterpret_cast<std::uintptr_t>(a);
  const auto b_begin = reinterpret_cast<std::uintptr_t>(b);
  const std::uintptr_t a_bytes = static_cast<std::uintptr_t>(a_elements) * sizeof(float);
  const std::uintptr_t b_bytes = static_cast<std::uintptr_t>(b_elements) * sizeof(float);
  return a_bytes != 0 && b_bytes != 0 && a_begin < b_begin + b_bytes && b_begin < a_begin + a_bytes;
}

Failure overlap_failure(const char* argument) {
  return {kOverlap, "out", std::string("expected memory of its own, got an array that overlaps ") + argument};
}

bool read_threads(napi_env env, napi_value value, int* threads, Failure* failure) {
  double number = 0;
  if (napi_get_value_double(env, value, &number) != napi_ok || !(number >= 0 && number <= 2147483647.0)) {
    *failure = {kInvalidValue, "numThreads", "expected an integer from 0 to 2147483647"};
    return false;
  }
  *threads = static_cast<int>(number);
  return true;
}

bool is_absent(napi_env env, napi_value value) {
  napi_valuetype type = napi_undefined;
  napi_typeof(env, value, &type);
  return type == napi_undefined || type == napi_null;
}

}  // namespace convtranspose::binding
