// Memory handed to JavaScript: external ArrayBuffers over blocks of the recycling pool on the main thread, memory of V8 in
// worker threads.
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
// Only the main thread, whose end is the end of the process, hands out external memory. When a worker thread ends, Node runs
// the finalizers of all its external blocks, also of one that has been moved to a thread that goes on: postMessage() refuses
// such memory, but not after transfer() or a stream of bytes has put it into another ArrayBuffer, and nobody is told when
// that dies. Memory of V8 is counted by V8 itself wherever it goes, and postMessage() moves it without a copy.
class OutputMemory {
 public:
  static constexpr double kTurnBytes = 256.0 * 1024 * 1024;

  explicit OutputMemory(AsyncQueue& queue) : queue_(queue) {}

  // From now on external memory may be handed out.
  void allow_external() { allows_external_ = true; }

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
  bool allows_external_ = false;
  double handed_out_ = 0;  // bytes of external memory in this turn, with what each block costs besides
};

// allocate(bytes: number): ArrayBuffer
napi_value allocate(napi_env env, napi_callback_info info);
// allowExternalMemory(): void; for an environment that lives as long as the process
napi_value allow_external_memory(napi_env env, napi_callback_info info);

}  // namespace convtranspose::binding
