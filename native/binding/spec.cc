#include "binding/spec.h"

#include <cmath>
#include <cstddef>
#include <cstdio>
#include <cstring>
#include <iterator>
#include <limits>
#include <string>

namespace convtranspose::binding {
namespace {

enum class Kind { kInteger, kReal };

template <class Spec>
struct Field {
  const char* name;
  Kind kind;
  double min;  // the value is refused below min and above max; NaN always
  double max;
  void (*assign)(Spec& spec, double value);
};

constexpr double kMaxInteger = 9007199254740991.0;  // 2^53 - 1: every one up to here is exact in a double
constexpr double kInfinity = std::numeric_limits<double>::infinity();

template <std::int64_t LayerSpec::*Member>
constexpr Field<LayerSpec> layer_size(const char* name) {
  return {name, Kind::kInteger, -kMaxInteger, kMaxInteger,
          [](LayerSpec& spec, double value) { spec.*Member = static_cast<std::int64_t>(value); }};
}

template <class Spec, Dims Spec::*Member, int Index>
constexpr Field<Spec> dim(const char* name) {
  return {name, Kind::kInteger, -kMaxInteger, kMaxInteger,
          [](Spec& spec, double value) { (spec.*Member)[Index] = static_cast<std::int64_t>(value); }};
}

template <class Spec, bool Spec::*Member>
constexpr Field<Spec> flag(const char* name) {
  return {name, Kind::kInteger, 0, 1, [](Spec& spec, double value) { spec.*Member = value != 0; }};
}

template <class Enum, Enum CallSpec::*Member>
constexpr Field<CallSpec> choice(const char* name, Enum last) {
  return {name, Kind::kInteger, 0, static_cast<double>(last),
          [](CallSpec& spec, double value) { spec.*Member = static_cast<Enum>(static_cast<int>(value)); }};
}

template <std::int64_t CallSpec::*Member>
constexpr Field<CallSpec> call_size(const char* name) {
  return {name, Kind::kInteger, -kMaxInteger, kMaxInteger,
          [](CallSpec& spec, double value) { spec.*Member = static_cast<std::int64_t>(value); }};
}

template <float PostOps::*Member>
constexpr Field<CallSpec> bound(const char* name) {
  return {name, Kind::kReal, -kInfinity, kInfinity,
          [](CallSpec& spec, double value) { spec.post_ops.*Member = static_cast<float>(value); }};
}

constexpr Field<LayerSpec> kLayerFields[] = {
    {"rank", Kind::kInteger, 1, kSpatialDims, [](LayerSpec& spec, double value) { spec.rank = static_cast<int>(value); }},
    layer_size<&LayerSpec::groups>("groups"),
    layer_size<&LayerSpec::in_channels>("inChannels"),
    layer_size<&LayerSpec::out_channels>("outChannels"),
    dim<LayerSpec, &LayerSpec::kernel, 0>("kernel0"),
    dim<LayerSpec, &LayerSpec::kernel, 1>("kernel1"),
    dim<LayerSpec, &LayerSpec::kernel, 2>("kernel2"),
    dim<LayerSpec, &LayerSpec::stride, 0>("stride0"),
    dim<LayerSpec, &LayerSpec::stride, 1>("stride1"),
    dim<LayerSpec, &LayerSpec::stride, 2>("stride2"),
    dim<LayerSpec, &LayerSpec::dilation, 0>("dilation0"),
    dim<LayerSpec, &LayerSpec::dilation, 1>("dilation1"),
    dim<LayerSpec, &LayerSpec::dilation, 2>("dilation2"),
    flag<LayerSpec, &LayerSpec::has_bias>("hasBias"),
};

constexpr Field<CallSpec> kCallFields[] = {
    call_size<&CallSpec::batch>("batch"),
    dim<CallSpec, &CallSpec::in, 0>("in0"),
    dim<CallSpec, &CallSpec::in, 1>("in1"),
    dim<CallSpec, &CallSpec::in, 2>("in2"),
    dim<CallSpec, &CallSpec::pad_begin, 0>("padBegin0"),
    dim<CallSpec, &CallSpec::pad_begin, 1>("padBegin1"),
    dim<CallSpec, &CallSpec::pad_begin, 2>("padBegin2"),
    dim<CallSpec, &CallSpec::out, 0>("out0"),
    dim<CallSpec, &CallSpec::out, 1>("out1"),
    dim<CallSpec, &CallSpec::out, 2>("out2"),
    choice<MemoryFormat, &CallSpec::format>("format", MemoryFormat::kChannelsLast),
    {"activation", Kind::kInteger, 0, static_cast<double>(Activation::kElu),
     [](CallSpec& spec, double value) { spec.post_ops.activation = static_cast<Activation>(static_cast<int>(value)); }},
    bound<&PostOps::lower>("lower"),
    bound<&PostOps::upper>("upper"),
    bound<&PostOps::alpha>("alpha"),
    choice<Precision, &CallSpec::precision>("precision", Precision::kMedium),
    choice<AlgorithmChoice, &CallSpec::algorithm>("algorithm", AlgorithmChoice::kReference),
    flag<CallSpec, &CallSpec::invariant>("invariant"),
    flag<CallSpec, &CallSpec::weights_reused>("weightsReused"),
    call_size<&CallSpec::workspace_limit>("workspaceLimit"),
};

std::string text(double value) {
  char digits[32];
  std::snprintf(digits, sizeof(digits), "%.17g", value);
  return digits;
}

template <class Spec, std::size_t N>
napi_value names(napi_env env, const Field<Spec> (&fields)[N]) {
  napi_value array = nullptr;
  napi_create_array_with_length(env, N, &array);
  for (std::size_t i = 0; i < N; ++i) {
    napi_value name = nullptr;
    napi_create_string_utf8(env, fields[i].name, NAPI_AUTO_LENGTH, &name);
    napi_set_element(env, array, static_cast<std::uint32_t>(i), name);
  }
  return array;
}

// Copies the slots of a Float64Array of that many.
template <std::size_t N>
bool copy_slots(napi_env env, napi_value slots, const char* argument, double (&values)[N], Failure* failure) {
  napi_typedarray_type type;
  std::size_t length = 0;
  void* data = nullptr;
  if (napi_get_typedarray_info(env, slots, &type, &length, &data, nullptr, nullptr) != napi_ok ||
      type != napi_float64_array || length != N) {
    *failure = {kInvalidType, argument, "expected a Float64Array of " + std::to_string(N) + " slots"};
    return false;
  }
  std::memcpy(values, data, sizeof(values));
  return true;
}

template <class Spec, std::size_t N>
bool assign(const double (&values)[N], const Field<Spec> (&fields)[N], const char* argument, Spec* spec, Failure* failure) {
  for (std::size_t i = 0; i < N; ++i) {
    const Field<Spec>& field = fields[i];
    const double value = values[i];
    const bool in_range = value >= field.min && value <= field.max;  // false for NaN
    if (!in_range || (field.kind == Kind::kInteger && value != std::trunc(value))) {
      *failure = {kInvalidValue, std::string(argument) + "." + field.name,
                  std::string("expected ") + (field.kind == Kind::kInteger ? "an integer" : "a number") + " from " +
                      text(field.min) + " to " + text(field.max) + ", got " + text(value)};
      return false;
    }
    field.assign(*spec, value);
  }
  return true;
}

template <class Spec, std::size_t N>
bool read(napi_env env, napi_value slots, const Field<Spec> (&fields)[N], const char* argument, Spec* spec,
          Failure* failure) {
  double values[N];
  return copy_slots(env, slots, argument, values, failure) && assign(values, fields, argument, spec, failure);
}

}  // namespace

napi_value layer_field_names(napi_env env) { return names(env, kLayerFields); }
napi_value call_field_names(napi_env env) { return names(env, kCallFields); }

bool read_layer_spec(napi_env env, napi_value slots, LayerSpec* spec, Failure* failure) {
  return read(env, slots, kLayerFields, "layer", spec, failure);
}

bool read_call_spec(napi_env env, napi_value slots, CallSpec* spec, Failure* failure) {
  return read(env, slots, kCallFields, "call", spec, failure);
}

const CallSpec* read_valid_call(napi_env env, napi_value slots, const LayerSpec& layer, CallMemo* memo, Failure* failure) {
  double values[std::size(kCallFields)];
  if (!copy_slots(env, slots, "call", values, failure)) return nullptr;
  if (!memo->slots.empty() && std::memcmp(values, memo->slots.data(), sizeof(values)) == 0) return &memo->call;
  CallSpec call;
  if (!assign(values, kCallFields, "call", &call, failure)) return nullptr;
  if (*failure = to_failure(validate(layer, call)); *failure) return nullptr;
  memo->slots.assign(std::begin(values), std::end(values));
  memo->call = call;
  return &memo->call;
}

}  // namespace convtranspose::binding
