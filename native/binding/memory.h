// Memory handed to JavaScript: external ArrayBuffers over blocks of the recycling pool.
#pragma once

#include <node_api.h>

#include <cstdint>
#include <memory>

#include "binding/errors.h"
#include "runtime/buffer_pool.h"

namespace convtranspose::binding {

class AsyncQueue;

// The outputs of one environment. All on its JavaScript thread.
//
// Node gives an external block back through a finalizer that runs in a later turn of the event loop, never inside the
// running one. A loop that never yields would thus hold on to every block that V8 has long collected, so that within one
// turn only kTurnBytes are handed out as external memory, and plain ArrayBuffers, which V8 frees itself, after that.
//
// A limit of Node that nothing here can lift: when a worker thread ends, the finalizers of all its external blocks run, also
// of one that has been moved to another thread: postMessage() refuses such memory, but not after transfer() or a stream of
// bytes has put it into another ArrayBuffer. Memory moved that way must not be used once the thread it came from has ended.
// (Cleanup hooks of our own come too late to tell: Node 20 runs its finalizers before them, with the ArrayBuffers detached.)
class OutputMemory {
 public:
  static constexpr double kTurnBytes = 256.0 * 1024 * 1024;

  explicit OutputMemory(AsyncQueue& queue) : queue_(queue) {}

  // A new ArrayBuffer of that many bytes, contents unspecified; nullptr with a failure or a pending exception.
  napi_value allocate(napi_env env, double bytes, Failure* failure);

  // An external ArrayBuffer over a block that has been filled; *buffer is nullptr where only memory of V8 itself will do.
  // The bound of a turn is not looked at: what asynchronous calls compute comes in few at a time, in turns of its own. False
  // with a failure.
  bool wrap(napi_env env, std::shared_ptr<Buffer> block, double bytes, napi_value* buffer, Failure* failure);

  // An ArrayBuffer that V8 owns, filled with zeros; nullptr with a failure.
  static napi_value plain_buffer(napi_env env, double bytes, Failure* failure);

  // Called once in each turn of the event loop after this has asked the queue for it.
  void turn_passed() { handed_out_ = 0; }

 private:
  AsyncQueue& queue_;
  double handed_out_ = 0;  // bytes of external memory in this turn, with what each block costs besides
};

// allocate(bytes: number): ArrayBuffer
napi_value allocate(napi_env env, napi_callback_info info);

}  // namespace convtranspose::binding
