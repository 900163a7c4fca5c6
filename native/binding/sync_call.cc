#include "binding/sync_call.h"

#include <initializer_list>
#include <memory>

#include "binding/instance.h"
#include "binding/layer_handle.h"
#include "binding/spec.h"
#include "binding/views.h"

namespace convtranspose::binding {
namespace {

// A run packs weights only for shapes that are new, the first of all above all; asking each time would cost a lock.
constexpr std::uint64_t kRunsPerReport = 64;

// What a call may bring for its post-operations.
struct PostOperands {
  FloatView residual, slopes;
};

bool view_post_operands(napi_env env, const Problem& problem, napi_value residual, napi_value slopes, PostOperands* operands,
                        Failure* failure) {
  if (!is_absent(env, residual) &&
      !view_floats(env, residual, "residual", problem.dst_elements(), false, &operands->residual, failure)) {
    return false;
  }
  return problem.call.post_ops.activation != Activation::kPrelu ||
         view_floats(env, slopes, "activation.weight", problem.layer.out_channels, false, &operands->slopes, failure);
}

struct ReadOperand {
  const char* name;
  FloatView view;
  std::int64_t elements;
};

// A failure if `dst` shares memory with anything that is read.
Failure check_overlap(const FloatView& dst, std::int64_t elements, std::initializer_list<ReadOperand> read) {
  for (const ReadOperand& operand : read) {
    const bool given = operand.view.data != nullptr;
    if (given && overlap(operand.view.data, operand.elements, dst.data, elements)) return overlap_failure(operand.name);
  }
  return {};
}

}  // namespace

napi_value forward(napi_env env, napi_callback_info info) {
  std::size_t count = 7;
  napi_value args[7];
  napi_get_cb_info(env, info, &count, args, nullptr, nullptr);

  // From the first view to the end of the run no JavaScript runs, so that the pointers hold.
  Failure failure;
  CallSpec call;
  int threads = 0;
  LayerHandle* const handle = open_layer(env, args[0], &failure);
  if (handle == nullptr || !read_call_spec(env, args[1], &call, &failure) ||
      !read_threads(env, args[4], &threads, &failure)) {
    return throw_failure(env, failure);
  }
  Layer& layer = *handle->layer;
  if (failure = to_failure(validate(layer.spec(), call)); failure) return throw_failure(env, failure);
  const Problem problem{layer.spec(), call};
  FloatView src;
  FloatView dst;
  PostOperands post;
  if (!view_floats(env, args[2], "input", problem.src_elements(), false, &src, &failure) ||
      !view_floats(env, args[3], "out", problem.dst_elements(), false, &dst, &failure) ||
      !view_post_operands(env, problem, args[5], args[6], &post, &failure)) {
    return throw_failure(env, failure);
  }
  failure = check_overlap(dst, problem.dst_elements(),
                          {{"input", src, problem.src_elements()}, {"residual", post.residual, problem.dst_elements()}});
  if (failure) return throw_failure(env, failure);
  failure = to_failure(layer.run(call, {src.data, dst.data, post.residual.data, post.slopes.data}, threads));
  if (failure) return throw_failure(env, failure);
  if (handle->runs++ % kRunsPerReport == 0) report_memory(env, handle);
  return nullptr;
}

napi_value prepare(napi_env env, napi_callback_info info) {
  std::size_t count = 2;
  napi_value args[2];
  napi_get_cb_info(env, info, &count, args, nullptr, nullptr);
  Failure failure;
  CallSpec call;
  LayerHandle* const handle = open_layer(env, args[0], &failure);
  if (handle == nullptr || !read_call_spec(env, args[1], &call, &failure)) return throw_failure(env, failure);
  if (failure = to_failure(validate(handle->layer->spec(), call)); failure) return throw_failure(env, failure);
  if (failure = to_failure(handle->layer->prepare(call)); failure) return throw_failure(env, failure);
  report_memory(env, handle);
  return nullptr;
}

napi_value run(napi_env env, napi_callback_info info) {
  std::size_t count = 9;
  napi_value args[9];
  napi_get_cb_info(env, info, &count, args, nullptr, nullptr);

  Failure failure;
  LayerSpec spec;
  CallSpec call;
  int threads = 0;
  if (!check_settings(&failure) || !read_layer_spec(env, args[0], &spec, &failure) ||
      !read_call_spec(env, args[1], &call, &failure) || !read_threads(env, args[6], &threads, &failure)) {
    return throw_failure(env, failure);
  }
  if (failure = to_failure(validate(spec, call)); failure) return throw_failure(env, failure);
  const Problem problem{spec, call};
  FloatView src;
  FloatView weights;
  FloatView bias;
  FloatView dst;
  PostOperands post;
  if (!view_floats(env, args[2], "input", problem.src_elements(), false, &src, &failure) ||
      !view_floats(env, args[3], "weight", problem.weights_elements(), false, &weights, &failure) ||
      (spec.has_bias && !view_floats(env, args[4], "bias", spec.out_channels, false, &bias, &failure)) ||
      !view_floats(env, args[5], "out", problem.dst_elements(), false, &dst, &failure) ||
      !view_post_operands(env, problem, args[7], args[8], &post, &failure)) {
    return throw_failure(env, failure);
  }
  failure = check_overlap(dst, problem.dst_elements(),
                          {{"input", src, problem.src_elements()},
                           {"weight", weights, problem.weights_elements()},
                           {"bias", bias, spec.out_channels},
                           {"residual", post.residual, problem.dst_elements()}});
  if (failure) return throw_failure(env, failure);
  std::shared_ptr<Layer> layer;
  failure = to_failure(Layer::borrow(spec, weights.data, bias.data, &layer));
  if (!failure) failure = to_failure(layer->run(call, {src.data, dst.data, post.residual.data, post.slopes.data}, threads));
  return failure ? throw_failure(env, failure) : nullptr;
}

}  // namespace convtranspose::binding
