#include "binding/async_queue.h"

#include <algorithm>
#include <span>
#include <utility>

#include "binding/memory.h"

namespace convtranspose::binding {

AsyncCall::AsyncCall(napi_env env, napi_value done)
    : done(Napi::Reference<Napi::Value>::New(Napi::Value(env, done), 1)), env(env) {
  // Node keeps a resource of its own alive until napi_async_destroy(); one made here, as Napi::AsyncContext does, it would
  // hold weakly, and the context would be lost with the next garbage collection.
  napi_value name = nullptr;
  if (napi_create_string_utf8(env, "convtranspose", NAPI_AUTO_LENGTH, &name) == napi_ok) {
    napi_async_init(env, nullptr, name, &context);
  }
}

AsyncCall::~AsyncCall() {
  if (context != nullptr) napi_async_destroy(env, context);
}

// ---- Pool threads

void AsyncQueue::job_finished(AsyncCall* call, const Status& status) {
  bool first = false;
  {
    const std::lock_guard<std::mutex> lock(mutex_);
    call->status = status;
    first = completed_.empty();
    completed_.push_back(call);
  }
  if (first) post();
  // teardown() waits for this: nothing of the queue is touched after the lock has been let go.
  const std::lock_guard<std::mutex> lock(mutex_);
  if (--running_ == 0) idle_.notify_all();
}

// Any thread.
void AsyncQueue::post() { napi_call_threadsafe_function(completions_, nullptr, napi_tsfn_nonblocking); }

// ---- JavaScript thread: in and out of the queue

std::uint64_t AsyncQueue::submit(napi_env env, std::unique_ptr<AsyncCall> call, Failure* failure) {
  if (!open(env)) {
    *failure = {kOutOfMemory, "", "the environment cannot start asynchronous work"};
    return 0;
  }
  if (calls_.size() >= limit_) {
    *failure = {kQueueFull, "", "expected fewer than " + std::to_string(limit_) + " asynchronous calls in flight"};
    return 0;
  }
  const std::uint64_t ticket = ++last_ticket_;
  call->ticket = ticket;
  const LayerSpec& spec = call->layer == nullptr ? call->layer_spec : call->layer->spec();
  call->is_short = is_short({spec, call->call});
  (call->is_short ? waiting_short_ : waiting_long_).push_back(ticket);
  if (calls_.empty()) napi_ref_threadsafe_function(env, completions_);
  calls_.emplace(ticket, std::move(call));
  start_waiting(env);
  return ticket;
}

void AsyncQueue::abort(std::uint64_t ticket) {
  const auto found = calls_.find(ticket);
  if (found == calls_.end()) return;
  AsyncCall& call = *found->second;
  switch (call.state) {
    case AsyncCall::State::kRunning:
      call.aborted = true;
      if (call.job != nullptr) call.job->abort();
      break;
    case AsyncCall::State::kSettling:
      break;
    case AsyncCall::State::kWaiting:
    case AsyncCall::State::kCopyingIn:
    case AsyncCall::State::kCopyingOut:
      settle_later(call, {kAborted, "signal", "the call was aborted"});
      break;
  }
}

bool AsyncQueue::open(napi_env env) {
  if (turns_ != nullptr) return true;
  napi_value name = nullptr;
  // Node calls these with env == nullptr for what is left in the queue when the environment ends.
  const auto on_completions = [](napi_env env, napi_value, void* queue, void*) {
    if (env != nullptr) static_cast<AsyncQueue*>(queue)->on_completions(env);
  };
  const auto on_turn = [](napi_env env, napi_value, void* queue, void*) {
    if (env != nullptr) static_cast<AsyncQueue*>(queue)->on_turn(env);
  };
  if (napi_create_string_utf8(env, "convtranspose", NAPI_AUTO_LENGTH, &name) != napi_ok) return false;
  if (completions_ == nullptr) {
    if (napi_create_threadsafe_function(env, nullptr, nullptr, name, 0, 1, nullptr, nullptr, this, on_completions,
                                        &completions_) != napi_ok) {
      return false;
    }
    napi_unref_threadsafe_function(env, completions_);
  }
  if (napi_create_threadsafe_function(env, nullptr, nullptr, name, 0, 1, nullptr, nullptr, this, on_turn, &turns_) !=
      napi_ok) {
    return false;
  }
  napi_unref_threadsafe_function(env, turns_);
  napi_add_env_cleanup_hook(
      env, [](void* queue) { static_cast<AsyncQueue*>(queue)->teardown(); }, this);
  return true;
}

// Runs once, on the JavaScript thread, after the last JavaScript of the environment.
void AsyncQueue::teardown() {
  for (const auto& [ticket, call] : calls_) {
    if (call->job != nullptr) call->job->abort();
  }
  {
    std::unique_lock<std::mutex> lock(mutex_);
    idle_.wait(lock, [this] { return running_ == 0; });
    completed_.clear();
  }
  calls_.clear();
}

void AsyncQueue::request_turn(napi_env env) {
  if (turn_requested_ || !open(env)) return;
  turn_requested_ = true;
  post();
}

// ---- JavaScript thread: the life of a call

// The first call of a line that still waits; drops those before it. nullptr if there is none.
AsyncCall* AsyncQueue::first_waiting(std::deque<std::uint64_t>& line) {
  for (; !line.empty(); line.pop_front()) {
    const auto found = calls_.find(line.front());
    if (found != calls_.end() && found->second->state == AsyncCall::State::kWaiting) return found->second.get();
  }
  return nullptr;
}

// The call that may leave the queue now, or nullptr.
AsyncCall* AsyncQueue::next_waiting() {
  const std::size_t places = static_cast<std::size_t>(ThreadPool::process().size()) + 1;
  if (placed_ >= places) return nullptr;
  AsyncCall* const short_one = first_waiting(waiting_short_);
  AsyncCall* const long_one = placed_long_ + 1 < places ? first_waiting(waiting_long_) : nullptr;
  if (short_one == nullptr || long_one == nullptr) return short_one == nullptr ? long_one : short_one;
  return short_one->ticket < long_one->ticket ? short_one : long_one;
}

void AsyncQueue::start_waiting(napi_env env) {
  while (AsyncCall* const next = next_waiting()) {
    AsyncCall& call = *next;
    call.state = AsyncCall::State::kCopyingIn;
    call.has_place = true;
    ++placed_;
    if (!call.is_short) ++placed_long_;
    Failure failure;
    const auto staged = [&failure](Operand* operand) { return operand->stage(&failure); };
    const auto inputs = call.inputs();
    if (std::all_of(inputs.begin(), inputs.end(), staged) && staged(&call.dst)) {
      begin_copying(env, call);
    } else {
      settle_later(call, std::move(failure));
    }
  }
}

// Copies as much as this turn allows (short calls: everything, it is little), and goes on to the next state when all is
// copied; false if something is left to copy.
bool AsyncQueue::advance(napi_env env, AsyncCall& call) {
  std::size_t unlimited = SIZE_MAX;
  std::size_t* const budget = call.is_short ? &unlimited : &budget_;
  const bool in = call.state == AsyncCall::State::kCopyingIn;
  const auto inputs = call.inputs();
  Operand* const outputs[] = {&call.dst};
  for (Operand* const operand : in ? std::span<Operand* const>(inputs) : std::span<Operand* const>(outputs)) {
    if (operand->copied()) continue;
    Failure failure;
    if (!(in ? operand->copy_in(env, budget, &failure) : operand->copy_out(env, budget, &failure))) {
      settle_later(call, std::move(failure));
      return true;
    }
    if (!operand->copied()) return false;
  }
  if (in) {
    launch(call);
  } else {
    settle_later(call, {});
  }
  return true;
}

// The same, and has later turns copy what is left.
void AsyncQueue::begin_copying(napi_env env, AsyncCall& call) {
  if (advance(env, call)) return;
  copying_.push_back(call.ticket);
  request_turn(env);
}

void AsyncQueue::launch(AsyncCall& call) {
  if (call.layer == nullptr) {
    const Status status = Layer::borrow(call.layer_spec, call.weights.data(), call.bias.data(), &call.layer);
    if (!status.ok()) return settle_later(call, to_failure(status));
  }
  AsyncCall* const pointer = &call;
  call.state = AsyncCall::State::kRunning;
  {
    const std::lock_guard<std::mutex> lock(mutex_);
    ++running_;
  }
  call.job = Layer::start(call.layer, call.call, call.run,
                          {call.src.data(), call.dst.data(), call.residual.data(), call.slopes.data(), call.dst.is_result(),
                           call.dst.untouched()},
                          call.threads, [this, pointer](const Status& status) { job_finished(pointer, status); });
}

// From now on the call only waits for its callback.
void AsyncQueue::settle_later(AsyncCall& call, Failure failure) {
  call.state = AsyncCall::State::kSettling;
  call.failure = std::move(failure);
  due_.push_back(call.ticket);
  if (!in_tick_ && due_.size() == 1) post();
}

void AsyncQueue::settle_due(napi_env env) {
  std::vector<std::uint64_t> due = std::move(due_);  // callbacks may make more of them
  due_.clear();
  for (const std::uint64_t ticket : due) settle(env, ticket);
}

void AsyncQueue::settle(napi_env env, std::uint64_t ticket) {
  const auto found = calls_.find(ticket);
  if (found == calls_.end()) return;
  const std::unique_ptr<AsyncCall> call = std::move(found->second);
  calls_.erase(found);
  if (call->has_place) {
    --placed_;
    if (!call->is_short) --placed_long_;
  }
  if (calls_.empty()) napi_unref_threadsafe_function(env, completions_);
  if (call->handle != nullptr && call->handle->layer != nullptr) report_memory(env, call->handle);

  napi_handle_scope scope = nullptr;
  if (napi_open_handle_scope(env, &scope) != napi_ok) return;
  napi_value arguments[2] = {nullptr, nullptr};
  napi_value global = nullptr;
  if (call->failure) {
    arguments[0] = make_error(env, call->failure);
    napi_get_undefined(env, &arguments[1]);
  } else {
    napi_get_null(env, &arguments[0]);
    arguments[1] = call->dst.result(env);
  }
  if (arguments[0] != nullptr && napi_get_global(env, &global) == napi_ok) {
    napi_value ignored = nullptr;  // Node would take a null pointer, Deno writes through it
    napi_make_callback(env, call->context, global, call->done.Value(), 2, arguments, &ignored);
    bool thrown = false;
    napi_value error = nullptr;
    if (napi_is_exception_pending(env, &thrown) == napi_ok && thrown &&
        napi_get_and_clear_last_exception(env, &error) == napi_ok) {
      napi_fatal_exception(env, error);  // to 'uncaughtException', like one from any other callback
    }
  }
  napi_close_handle_scope(env, scope);
}

// ---- JavaScript thread: called by the event loop

void AsyncQueue::on_completions(napi_env env) {
  in_tick_ = true;
  std::vector<AsyncCall*> completed;
  {
    const std::lock_guard<std::mutex> lock(mutex_);
    completed.swap(completed_);
  }
  for (AsyncCall* const call : completed) {
    call->job.reset();
    if (call->aborted) {
      settle_later(*call, {kAborted, "signal", "the call was aborted"});
    } else if (!call->status.ok()) {
      settle_later(*call, to_failure(call->status));
    } else if (Failure failure; !call->dst.make_array(env, outputs_, &failure)) {
      settle_later(*call, std::move(failure));
    } else {
      call->state = AsyncCall::State::kCopyingOut;
      begin_copying(env, *call);
    }
  }
  if (turn_requested_ && !turn_posted_) {
    turn_posted_ = true;
    napi_call_threadsafe_function(turns_, nullptr, napi_tsfn_nonblocking);
  }
  finish_tick(env);
}

void AsyncQueue::on_turn(napi_env env) {
  in_tick_ = true;
  turn_requested_ = false;
  turn_posted_ = false;
  outputs_.turn_passed();
  budget_ = kSlice;
  while (budget_ > 0 && !copying_.empty()) {
    const auto found = calls_.find(copying_.front());
    const bool gone = found == calls_.end() || found->second->state == AsyncCall::State::kSettling;
    if (gone || advance(env, *found->second)) copying_.pop_front();
  }
  finish_tick(env);
}

// Calls back, lets waiting calls in, and sees to it that what was copied in this turn is made good in the next.
void AsyncQueue::finish_tick(napi_env env) {
  settle_due(env);
  start_waiting(env);
  if (budget_ < kSlice || !copying_.empty()) request_turn(env);
  in_tick_ = false;
  if (!due_.empty()) post();
}

}  // namespace convtranspose::binding
