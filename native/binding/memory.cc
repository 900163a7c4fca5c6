#include "binding/memory.h"

#include <cmath>
#include <memory>
#include <new>
#include <string>
#include <utility>

#include "binding/async_queue.h"
#include "binding/instance.h"
#include "runtime/aligned_memory.h"
#include "runtime/buffer_pool.h"

namespace convtranspose::binding {
namespace {

constexpr double kMaxBytes = 9007199254740991.0;    // 2^53 - 1
constexpr double kMaxExternalBytes = 4294967295.0;  // the largest external block that every supported Node takes
constexpr double kBlockOverhead = 1024;             // of V8 and Node, roughly, for one external block

// Runs in a later turn of the event loop, or while the environment ends; on its JavaScript thread.
void release_block(napi_env, void*, void* hint) { delete static_cast<std::shared_ptr<Buffer>*>(hint); }

Failure no_memory_for(double bytes) {
  return {kOutOfMemory, "", "not enough memory for " + std::to_string(static_cast<std::uint64_t>(bytes)) + " bytes"};
}

}  // namespace

// Through the constructor, because napi_create_arraybuffer ends the process when there is no memory, where the constructor
// throws.
napi_value OutputMemory::plain_buffer(napi_env env, double bytes, Failure* failure) {
  napi_value global = nullptr;
  napi_value constructor = nullptr;
  napi_value length = nullptr;
  napi_value buffer = nullptr;
  if (napi_get_global(env, &global) == napi_ok &&
      napi_get_named_property(env, global, "ArrayBuffer", &constructor) == napi_ok &&
      napi_create_double(env, bytes, &length) == napi_ok &&
      napi_new_instance(env, constructor, 1, &length, &buffer) == napi_ok) {
    void* data = nullptr;
    std::size_t size = 0;
    if (napi_get_arraybuffer_info(env, buffer, &data, &size) == napi_ok) prefer_huge_pages(data, size);
    return buffer;
  }
  napi_value ignored = nullptr;
  napi_get_and_clear_last_exception(env, &ignored);
  *failure = no_memory_for(bytes);
  return nullptr;
}

napi_value OutputMemory::allocate(napi_env env, double bytes, Failure* failure) {
  if (!allows_external_ || bytes == 0 || bytes > kMaxExternalBytes) return plain_buffer(env, bytes, failure);
  if (handed_out_ + bytes > kTurnBytes && handed_out_ > 0) {
    queue_.request_turn(env);
    return plain_buffer(env, bytes, failure);
  }
  std::shared_ptr<Buffer> block = allocate_buffer(static_cast<std::size_t>(bytes));
  napi_value buffer = nullptr;
  if (block == nullptr) {
    *failure = no_memory_for(bytes);
    return nullptr;
  }
  block->set_touched();  // by who has asked for it
  if (!wrap(env, std::move(block), bytes, &buffer, failure)) return nullptr;
  return buffer != nullptr ? buffer : plain_buffer(env, bytes, failure);
}

bool OutputMemory::wrap(napi_env env, std::shared_ptr<Buffer> block, double bytes, napi_value* buffer, Failure* failure) {
  *buffer = nullptr;
  if (!allows_external_ || bytes > kMaxExternalBytes) return true;
  if (handed_out_ + bytes > kTurnBytes / 2) queue_.request_turn(env);
  std::byte* const data = block->data();
  auto* const held = new std::shared_ptr<Buffer>(std::move(block));
  const napi_status status =
      napi_create_external_arraybuffer(env, data, static_cast<std::size_t>(bytes), release_block, held, buffer);
  if (status == napi_ok) {
    handed_out_ += bytes + kBlockOverhead;
    return true;
  }
  *buffer = nullptr;
  if (status == napi_no_external_buffers_allowed) {
    delete held;
    return true;
  }
  // Only an environment that is ending gets here. Node may or may not have taken the block; leaving it is safe in both
  // cases.
  *failure = {kOutOfMemory, "", "the environment cannot take more memory"};
  return false;
}

napi_value allocate(napi_env env, napi_callback_info info) {
  std::size_t count = 1;
  napi_value value = nullptr;
  napi_get_cb_info(env, info, &count, &value, nullptr, nullptr);
  double bytes = 0;
  if (napi_get_value_double(env, value, &bytes) != napi_ok || !(bytes >= 0 && bytes <= kMaxBytes) ||
      bytes != std::trunc(bytes)) {
    return throw_failure(env, {kInvalidValue, "bytes", "expected an integer from 0 to 2^53 - 1"});
  }
  Failure failure;
  const napi_value buffer = instance_of(env).outputs.allocate(env, bytes, &failure);
  return buffer != nullptr ? buffer : throw_failure(env, failure);
}

napi_value allow_external_memory(napi_env env, napi_callback_info) {
  instance_of(env).outputs.allow_external();
  return nullptr;
}

}  // namespace convtranspose::binding
