// The asynchronous calls of one environment, from the JavaScript call to the callback.
//
//   waiting      holds references only
//   copying in   at most threads + 1 calls have left the queue; foreign inputs are copied to blocks of this package
//   running      a job of the pool
//   copying out  a foreign `out` is filled
//   settling     the callback is due
//
// Order. The oldest call that waits is the next one, except that one place is kept free of long calls: a short one
// (is_short() of layer.h) never waits for a place behind long ones. Long ones wait only for calls that came before them.
// Among the calls that run the pool takes turns.
//
// Threads. Everything runs on the JavaScript thread of the environment except job_finished(), which pool threads call.
// The pool never sees a napi_env, and no lock is held while JavaScript runs or a job is handed over.
//
// Turns of the event loop. Pool threads reach the JavaScript thread through the thread-safe function `completions_`. Copying
// is limited to kSlice bytes a turn, and a thread-safe function cannot measure turns by calling itself: Node goes on
// emptying its queue within one turn. So a turn is asked for by posting to `completions_`, whose handler posts to `turns_`:
// as nothing else posts to the latter, its handler runs once in a turn.
//
// Life. The thread-safe functions are made by the first asynchronous call and keep the process alive only while calls are
// pending. When the environment ends (exit, terminate() of a worker), teardown() runs before Node closes them, because
// cleanup hooks run in the reverse order of their registration: it aborts the jobs, waits until the last task has returned
// and the last completion has been posted, and only then lets go of memory. Callbacks that are due then are never called.
#pragma once

#include <napi.h>

#include <array>
#include <condition_variable>
#include <cstddef>
#include <cstdint>
#include <deque>
#include <memory>
#include <mutex>
#include <unordered_map>
#include <vector>

#include "binding/errors.h"
#include "binding/layer_handle.h"
#include "binding/operand.h"
#include "layer/layer.h"
#include "problem/problem.h"
#include "runtime/thread_pool.h"

namespace convtranspose::binding {

class OutputMemory;

// One asynchronous call. Made, settled and destroyed on the JavaScript thread.
struct AsyncCall {
  AsyncCall(napi_env env, napi_value done);
  ~AsyncCall();
  AsyncCall(const AsyncCall&) = delete;
  AsyncCall& operator=(const AsyncCall&) = delete;

  enum class State { kWaiting, kCopyingIn, kRunning, kCopyingOut, kSettling };

  // What to do.
  LayerSpec layer_spec;  // of the functional form
  CallSpec call;
  bool run = true;        // false: only plan and pack
  bool is_short = false;  // set by submit()
  int threads = 0;
  std::shared_ptr<Layer> layer;                // the functional form makes it when its weights are in place
  LayerHandle* handle = nullptr;               // nullptr in the functional form; kept alive by handle_object
  Napi::Reference<Napi::Value> handle_object;  // so that V8 hears of the weights that the call packs
  Operand src, weights, bias, residual, slopes, dst;

  std::array<Operand*, 5> inputs() { return {&src, &weights, &bias, &residual, &slopes}; }

  // How far it has come.
  std::uint64_t ticket = 0;
  State state = State::kWaiting;
  bool has_place = false;
  bool aborted = false;
  std::shared_ptr<Job> job;
  Status status;    // written by the pool thread that finishes the job, read after it has been posted
  Failure failure;  // what the callback gets

  Napi::Reference<Napi::Value> done;
  napi_env env;
  napi_async_context context = nullptr;  // of the code that made the call: what AsyncLocalStorage shows to the callback
};

class AsyncQueue {
 public:
  explicit AsyncQueue(OutputMemory& outputs) : outputs_(outputs) {}
  AsyncQueue(const AsyncQueue&) = delete;
  AsyncQueue& operator=(const AsyncQueue&) = delete;

  // Takes the call and returns its ticket; 0 with a failure, also when limit() calls are in flight. Never calls back before
  // it returns.
  std::uint64_t submit(napi_env env, std::unique_ptr<AsyncCall> call, Failure* failure);

  // The call settles as aborted: at once if it is not running, else when its running tasks have ended.
  void abort(std::uint64_t ticket);

  // Has OutputMemory::turn_passed() called in the next turn of the event loop. Does not keep the process alive.
  void request_turn(napi_env env);

  // Calls that have not settled: those that wait for a place and those that have one.
  std::size_t depth() const { return calls_.size(); }
  std::size_t queued() const { return calls_.size() - placed_; }
  std::size_t staged() const { return placed_; }

  // Most calls in flight; SIZE_MAX: no limit.
  std::size_t limit() const { return limit_; }
  void set_limit(std::size_t limit) { limit_ = limit; }

 private:
  static constexpr std::size_t kSlice = std::size_t{1} << 20;

  bool open(napi_env env);
  void post();
  AsyncCall* first_waiting(std::deque<std::uint64_t>& line);
  AsyncCall* next_waiting();
  void start_waiting(napi_env env);
  bool advance(napi_env env, AsyncCall& call);
  void begin_copying(napi_env env, AsyncCall& call);
  void launch(AsyncCall& call);
  void settle_later(AsyncCall& call, Failure failure);
  void settle_due(napi_env env);
  void settle(napi_env env, std::uint64_t ticket);
  void on_completions(napi_env env);
  void on_turn(napi_env env);
  void finish_tick(napi_env env);
  void job_finished(AsyncCall* call, const Status& status);
  void teardown();

  OutputMemory& outputs_;
  napi_threadsafe_function completions_ = nullptr;
  napi_threadsafe_function turns_ = nullptr;

  // JavaScript thread only. Lists hold tickets: one that is no longer in calls_ is passed over.
  std::unordered_map<std::uint64_t, std::unique_ptr<AsyncCall>> calls_;
  std::deque<std::uint64_t> waiting_short_;
  std::deque<std::uint64_t> waiting_long_;
  std::deque<std::uint64_t> copying_;
  std::vector<std::uint64_t> due_;
  std::uint64_t last_ticket_ = 0;
  std::size_t limit_ = SIZE_MAX;
  std::size_t placed_ = 0;       // calls that have left the queue
  std::size_t placed_long_ = 0;  // the long ones of them
  std::size_t budget_ = kSlice;  // bytes that may still be copied in this turn
  bool turn_requested_ = false;  // on its way through completions_ to turns_
  bool turn_posted_ = false;
  bool in_tick_ = false;  // inside on_completions() or on_turn(), which settle what is due by themselves

  // Shared with pool threads.
  std::mutex mutex_;
  std::condition_variable idle_;
  std::vector<AsyncCall*> completed_;  // jobs finished, not yet seen by the JavaScript thread
  std::size_t running_ = 0;            // jobs whose job_finished() has not returned
};

}  // namespace convtranspose::binding
