#include "binding/async_call.h"

#include <memory>
#include <utility>

#include "binding/instance.h"
#include "binding/spec.h"
#include "binding/views.h"

namespace convtranspose::binding {
namespace {

// A call that will report to `done`; nullptr with a failure if that is no function.
std::unique_ptr<AsyncCall> make_call(napi_env env, napi_value done, Failure* failure) {
  napi_valuetype type = napi_undefined;
  napi_typeof(env, done, &type);
  if (type != napi_function) {
    *failure = {kInvalidType, "done", "expected a function"};
    return nullptr;
  }
  return std::make_unique<AsyncCall>(env, done);
}

// Takes note of `out`, or of null: a result is then to be made. Call when all other operands are bound.
bool bind_out(napi_env env, napi_value out, std::int64_t elements, AsyncCall* call, Failure* failure) {
  napi_valuetype type = napi_undefined;
  napi_typeof(env, out, &type);
  if (type == napi_null) {
    if (elements > 0) call->dst.bind_result("input", elements);
    return true;
  }
  if (!call->dst.bind(env, out, "out", elements, failure)) return false;
  for (const Operand* operand : {&call->src, &call->weights, &call->bias, &call->residual}) {
    if (overlap(operand->data(), operand->elements(), call->dst.data(), call->dst.elements())) {
      *failure = overlap_failure(operand->name());
      return false;
    }
  }
  return true;
}

// Takes note of what a call may bring for its post-operations.
bool bind_post_operands(napi_env env, const Problem& problem, napi_value residual, napi_value slopes, AsyncCall* call,
                        Failure* failure) {
  if (!is_absent(env, residual) && !call->residual.bind(env, residual, "residual", problem.dst_elements(), failure)) {
    return false;
  }
  return problem.call.post_ops.activation != Activation::kPrelu ||
         call->slopes.bind(env, slopes, "activation.weight", problem.layer.out_channels, failure);
}

// The ticket, or the failure thrown.
napi_value enqueue(napi_env env, std::unique_ptr<AsyncCall> call, Failure* failure) {
  const std::uint64_t ticket = instance_of(env).queue.submit(env, std::move(call), failure);
  if (ticket == 0) return throw_failure(env, *failure);
  napi_value result = nullptr;
  napi_create_double(env, static_cast<double>(ticket), &result);
  return result;
}

// What the forms on a compiled layer have in common.
bool read_layer_call(napi_env env, napi_value layer, napi_value slots, AsyncCall* call, Failure* failure) {
  call->handle = open_layer(env, layer, failure);
  if (call->handle == nullptr || !read_call_spec(env, slots, &call->call, failure)) return false;
  call->layer = call->handle->layer;
  call->handle_object = Napi::Reference<Napi::Value>::New(Napi::Value(env, layer), 1);
  *failure = to_failure(validate(call->layer->spec(), call->call));
  return !*failure;
}

}  // namespace

napi_value forward_async(napi_env env, napi_callback_info info) {
  std::size_t count = 8;
  napi_value args[8];
  napi_get_cb_info(env, info, &count, args, nullptr, nullptr);
  Failure failure;
  std::unique_ptr<AsyncCall> call = make_call(env, args[5], &failure);
  if (call == nullptr || !read_layer_call(env, args[0], args[1], call.get(), &failure) ||
      !read_threads(env, args[4], &call->threads, &failure)) {
    return throw_failure(env, failure);
  }
  const Problem problem{call->layer->spec(), call->call};
  if (!call->src.bind(env, args[2], "input", problem.src_elements(), &failure) ||
      !bind_post_operands(env, problem, args[6], args[7], call.get(), &failure) ||
      !bind_out(env, args[3], problem.dst_elements(), call.get(), &failure)) {
    return throw_failure(env, failure);
  }
  return enqueue(env, std::move(call), &failure);
}

napi_value prepare_async(napi_env env, napi_callback_info info) {
  std::size_t count = 3;
  napi_value args[3];
  napi_get_cb_info(env, info, &count, args, nullptr, nullptr);
  Failure failure;
  std::unique_ptr<AsyncCall> call = make_call(env, args[2], &failure);
  if (call == nullptr || !read_layer_call(env, args[0], args[1], call.get(), &failure)) return throw_failure(env, failure);
  call->run = false;
  return enqueue(env, std::move(call), &failure);
}

napi_value run_async(napi_env env, napi_callback_info info) {
  std::size_t count = 10;
  napi_value args[10];
  napi_get_cb_info(env, info, &count, args, nullptr, nullptr);
  Failure failure;
  std::unique_ptr<AsyncCall> call = make_call(env, args[7], &failure);
  if (call == nullptr || !check_settings(&failure) || !read_layer_spec(env, args[0], &call->layer_spec, &failure) ||
      !read_call_spec(env, args[1], &call->call, &failure) || !read_threads(env, args[6], &call->threads, &failure)) {
    return throw_failure(env, failure);
  }
  const LayerSpec& spec = call->layer_spec;
  if (failure = to_failure(validate(spec, call->call)); failure) return throw_failure(env, failure);
  const Problem problem{spec, call->call};
  if (!call->src.bind(env, args[2], "input", problem.src_elements(), &failure) ||
      !call->weights.bind(env, args[3], "weight", problem.weights_elements(), &failure) ||
      (spec.has_bias && !call->bias.bind(env, args[4], "bias", spec.out_channels, &failure)) ||
      !bind_post_operands(env, problem, args[8], args[9], call.get(), &failure) ||
      !bind_out(env, args[5], problem.dst_elements(), call.get(), &failure)) {
    return throw_failure(env, failure);
  }
  return enqueue(env, std::move(call), &failure);
}

napi_value abort(napi_env env, napi_callback_info info) {
  std::size_t count = 1;
  napi_value value = nullptr;
  napi_get_cb_info(env, info, &count, &value, nullptr, nullptr);
  double ticket = 0;
  if (napi_get_value_double(env, value, &ticket) == napi_ok && ticket >= 1 && ticket <= 9007199254740991.0) {
    instance_of(env).queue.abort(static_cast<std::uint64_t>(ticket));
  }
  return nullptr;
}

}  // namespace convtranspose::binding
