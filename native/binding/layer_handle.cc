#include "binding/layer_handle.h"

#include <algorithm>
#include <mutex>
#include <unordered_set>
#include <utility>

#include "binding/instance.h"
#include "binding/spec.h"
#include "binding/views.h"

namespace convtranspose::binding {
namespace {

// All handles that are alive: they tell an external of ours from that of any other addon, in a fifth of the time of a type
// tag.
struct Handles {
  std::mutex mutex;
  std::unordered_set<const void*> alive;
};

Handles& handles() {
  static Handles* const made = new Handles;  // environments may end after static objects
  return *made;
}

void report(napi_env env, LayerHandle* handle, std::int64_t bytes) {
  std::int64_t total = 0;
  if (bytes != handle->reported) napi_adjust_external_memory(env, bytes - handle->reported, &total);
  handle->reported = bytes;
}

std::int64_t raw_bytes(const Layer& layer) {
  const LayerSpec& spec = layer.spec();
  const Problem problem{spec, {}};
  return (problem.weights_elements() + (spec.has_bias ? spec.out_channels : 0)) * static_cast<std::int64_t>(sizeof(float));
}

// JavaScript thread; a later turn of the event loop, or the end of the environment.
void finalize(napi_env env, void* data, void*) {
  auto* const handle = static_cast<LayerHandle*>(data);
  {
    const std::lock_guard<std::mutex> lock(handles().mutex);
    handles().alive.erase(handle);
  }
  report(env, handle, 0);
  delete handle;
}

LayerHandle* find_handle(napi_env env, napi_value value, Failure* failure) {
  void* data = nullptr;
  bool ours = false;
  if (napi_get_value_external(env, value, &data) == napi_ok) {
    const std::lock_guard<std::mutex> lock(handles().mutex);
    ours = handles().alive.contains(data);
  }
  if (!ours) {
    *failure = {kInvalidType, "layer", "expected a handle made by createLayer"};
    return nullptr;
  }
  return static_cast<LayerHandle*>(data);
}

}  // namespace

LayerHandle* open_layer(napi_env env, napi_value value, Failure* failure) {
  LayerHandle* const handle = find_handle(env, value, failure);
  if (handle != nullptr && handle->layer == nullptr) {
    *failure = {kDisposed, "", "the layer has been disposed of"};
    return nullptr;
  }
  return handle;
}

void report_memory(napi_env env, LayerHandle* handle) {
  report(env, handle, raw_bytes(*handle->layer) + handle->layer->packed_bytes());
}

napi_value create_layer(napi_env env, napi_callback_info info) {
  std::size_t count = 4;
  napi_value args[4];
  napi_get_cb_info(env, info, &count, args, nullptr, nullptr);

  Failure failure;
  LayerSpec spec;
  if (!check_settings(&failure) || !read_layer_spec(env, args[0], &spec, &failure)) return throw_failure(env, failure);
  if (failure = to_failure(validate(spec)); failure) return throw_failure(env, failure);

  FloatView weights;
  FloatView bias;
  const Problem problem{spec, {}};
  // With a seed, what is null is drawn.
  double seed = 0;
  const bool seeded = napi_get_value_double(env, args[3], &seed) == napi_ok;
  if (seeded && !(seed >= 0 && seed <= 4294967295.0)) {
    return throw_failure(env, {kInvalidValue, "seed", "expected an integer from 0 to 2^32 - 1"});
  }
  const bool has_weights = !seeded || !is_absent(env, args[1]);
  const bool has_bias = spec.has_bias && (!seeded || !is_absent(env, args[2]));
  if ((has_weights && !view_floats(env, args[1], "weight", problem.weights_elements(), false, &weights, &failure)) ||
      (has_bias && !view_floats(env, args[2], "bias", spec.out_channels, false, &bias, &failure))) {
    return throw_failure(env, failure);
  }
  std::shared_ptr<Layer> layer;
  failure = to_failure(Layer::create_seeded(spec, weights.data, bias.data, static_cast<std::uint32_t>(seed), &layer));
  if (failure) return throw_failure(env, failure);

  auto handle = std::make_unique<LayerHandle>();
  handle->layer = std::move(layer);
  {
    const std::lock_guard<std::mutex> lock(handles().mutex);
    handles().alive.insert(handle.get());
  }
  napi_value external = nullptr;
  if (napi_create_external(env, handle.get(), finalize, nullptr, &external) != napi_ok) {
    finalize(env, handle.release(), nullptr);
    return throw_failure(env, {kOutOfMemory, "", "the environment cannot take another object"});
  }
  report_memory(env, handle.release());
  return external;
}

napi_value read_layer(napi_env env, napi_callback_info info) {
  std::size_t count = 3;
  napi_value args[3];
  napi_get_cb_info(env, info, &count, args, nullptr, nullptr);
  Failure failure;
  LayerHandle* const handle = open_layer(env, args[0], &failure);
  if (handle == nullptr) return throw_failure(env, failure);
  const Layer& layer = *handle->layer;
  const Problem problem{layer.spec(), {}};
  FloatView weights;
  FloatView bias;
  if (!view_floats(env, args[1], "weight", problem.weights_elements(), false, &weights, &failure) ||
      (layer.bias() != nullptr && !view_floats(env, args[2], "bias", layer.spec().out_channels, false, &bias, &failure))) {
    return throw_failure(env, failure);
  }
  std::copy_n(layer.weights(), problem.weights_elements(), weights.data);
  if (layer.bias() != nullptr) std::copy_n(layer.bias(), layer.spec().out_channels, bias.data);
  return nullptr;
}

napi_value dispose_layer(napi_env env, napi_callback_info info) {
  std::size_t count = 1;
  napi_value value = nullptr;
  napi_get_cb_info(env, info, &count, &value, nullptr, nullptr);
  Failure failure;
  LayerHandle* const handle = find_handle(env, value, &failure);
  if (handle == nullptr) return throw_failure(env, failure);
  handle->layer.reset();
  report(env, handle, 0);
  return nullptr;
}

}  // namespace convtranspose::binding
