#include "binding/sync_call.h"

#include <initializer_list>
#include <memory>

#include "binding/instance.h"
#include "binding/join.h"
#include "binding/layer_handle.h"
#include "binding/spec.h"
#include "binding/views.h"
#include "pack/join.h"

namespace convtranspose::binding {
namespace {

// A run packs weights only for shapes that are new, the first of all above all; asking each time would cost a lock.
constexpr std::uint64_t kRunsPerReport = 64;

// What a call on a compiled layer is made of.
struct LayerCall {
  LayerHandle* handle;
  const CallSpec* call;
  int threads;

  Problem problem() const { return {handle->layer->spec(), *call}; }
};

bool read_layer_call(napi_env env, napi_value layer, napi_value slots, napi_value threads, LayerCall* made,
                     Failure* failure) {
  made->handle = open_layer(env, layer, failure);
  if (made->handle == nullptr || !read_threads(env, threads, &made->threads, failure)) return false;
  made->call = read_valid_call(env, slots, made->handle->layer->spec(), &made->handle->last, failure);
  return made->call != nullptr;
}

// Undefined, or the failure thrown.
napi_value run_layer(napi_env env, const LayerCall& made, const Layer::Pointers& operands) {
  const Failure failure = to_failure(made.handle->layer->run(*made.call, operands, made.threads));
  if (failure) return throw_failure(env, failure);
  if (made.handle->runs++ % kRunsPerReport == 0) report_memory(env, made.handle);
  return nullptr;
}

// What a call may bring for its post-operations. `residual` is nullptr where the form of the call has none.
struct PostOperands {
  FloatView residual, slopes;
};

bool view_post_operands(napi_env env, const Problem& problem, napi_value residual, napi_value slopes, PostOperands* operands,
                        Failure* failure) {
  if (residual != nullptr && !is_absent(env, residual) &&
      !view_floats(env, residual, "residual", problem.dst_elements(), false, &operands->residual, failure)) {
    return false;
  }
  return problem.call.post_ops.activation != Activation::kPrelu ||
         view_floats(env, slopes, "activation.weight", problem.layer.out_channels, false, &operands->slopes, failure);
}

bool is_true(napi_env env, napi_value value) {
  bool given = false;
  return napi_get_value_bool(env, value, &given) == napi_ok && given;
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

// In both forms no JavaScript runs from the first view to the end of the run, so that the pointers hold.
napi_value forward(napi_env env, napi_callback_info info) {
  std::size_t count = 8;
  napi_value args[8];
  napi_get_cb_info(env, info, &count, args, nullptr, nullptr);
  Failure failure;
  LayerCall made;
  if (!read_layer_call(env, args[0], args[1], args[4], &made, &failure)) return throw_failure(env, failure);
  const Problem problem = made.problem();
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
  return run_layer(env, made, {src.data, dst.data, post.residual.data, post.slopes.data, is_true(env, args[7])});
}

napi_value forward_joined(napi_env env, napi_callback_info info) {
  std::size_t count = 12;
  napi_value args[12];
  napi_get_cb_info(env, info, &count, args, nullptr, nullptr);
  Failure failure;
  LayerCall made;
  if (!read_layer_call(env, args[0], args[1], args[9], &made, &failure)) return throw_failure(env, failure);
  const Problem problem = made.problem();
  JoinViews join;
  FloatView dst;
  PostOperands post;
  if (!read_join(env, args + 2, problem.src_elements(), &join, &failure) ||
      !view_floats(env, args[8], "out", problem.dst_elements(), false, &dst, &failure) ||
      !view_post_operands(env, problem, /*residual=*/nullptr, args[10], &post, &failure)) {
    return throw_failure(env, failure);
  }
  if (overlap(join.chunk.data, join.rows * join.widths.added, dst.data, problem.dst_elements()) ||
      overlap(join.to.data, problem.src_elements(), dst.data, problem.dst_elements())) {
    return throw_failure(env, overlap_failure("chunk"));
  }
  join_rows(join.widths, join.from.data, join.chunk.data, join.to.data, 0, join.rows);
  return run_layer(env, made, {join.to.data, dst.data, nullptr, post.slopes.data, is_true(env, args[11])});
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
  std::size_t count = 10;
  napi_value args[10];
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
  const Layer::Pointers operands{src.data, dst.data, post.residual.data, post.slopes.data, is_true(env, args[9])};
  if (!failure) failure = to_failure(layer->run(call, operands, threads));
  return failure ? throw_failure(env, failure) : nullptr;
}

}  // namespace convtranspose::binding
