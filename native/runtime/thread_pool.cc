// How it works.
//
// A job in flight has one word of state: tasks still to be handed out, participants (threads inside the current stage), and
// whether memory ran short. A thread enters by adding itself while tasks are left, takes tasks by counting them down, and
// leaves by taking itself out. Whoever would leave as the last participant of a stage without tasks left stays instead and
// holds the job alone: nobody can enter, so it may call next_stage, publish the next stage, or finish the job. All of it is
// compare-and-swap on that word, one a task; the word is also what makes the writes of the tasks visible to the next stage.
//
// Which task a thread takes: the tasks of a stage are cut into as many ranges as threads may take part (kMostRanges at
// most), and each participant takes those of one range in order, then helps with the others. So a thread computes
// neighbours, which often share what it has packed, and in each stage about the same part: its second-level cache holds the
// weights of that part alone, and what it wrote itself. (Two threads, in turn by one list: up to 30 % more time.)
//
// The mutex guards the lists of jobs and who sleeps. Pool threads take it once a turn: to choose a job, enter it, and leave
// it. The thread in run() takes it only to announce a stage that others can help with, and to sleep.
//
// Turns: while one job is in flight a pool thread stays with it. With several, a turn is at least one task and lasts about
// kTurn; then the thread takes the next job. Jobs that have had no turn yet go first at every other choice, so that a new
// job begins within about one task of the others, and a flood of new ones leaves half of the turns to the rest.
//
// Submitted jobs: after a task, once every kOffer, the thread offers its processor to others. Their tasks take all
// processors that there are, and the thread that submitted them goes on with something else meanwhile: an event loop, woken
// for a moment at a time. Without the offer it waits for the end of a time slice, milliseconds, often enough to be felt.
#include "runtime/thread_pool.h"

#include <algorithm>
#include <bit>
#include <chrono>
#include <condition_variable>
#include <cstdlib>
#include <initializer_list>
#include <iterator>
#include <mutex>
#include <new>
#include <thread>
#include <utility>

#include "runtime/arena.h"
#include "runtime/cpu.h"
#include "runtime/environment.h"
#include "runtime/os_thread.h"

namespace convtranspose {
namespace {

using Clock = std::chrono::steady_clock;

constexpr std::chrono::microseconds kTurn{50};
// A thread that runs out of work looks out for more this long before it sleeps: about what sleeping and being woken cost.
// Two tasks of 20 us on two threads take 21 us if the other thread still looks out, 47 us if it has to be woken.
constexpr std::chrono::microseconds kSpin{50};
constexpr std::chrono::microseconds kOffer{50};
// A pool thread that has slept this long gives back the large workspaces that rested as long.
constexpr std::chrono::seconds kIdle{5};

// Job::Schedule::state.
constexpr std::uint64_t kOneParticipant = 1;
constexpr std::uint64_t kParticipants = 0xffff;
// A participant got no workspace: nobody enters, and nobody leaves while tasks are left.
constexpr std::uint64_t kShort = 0x10000;
constexpr std::uint64_t kOneTask = 0x20000;
constexpr int kTaskShift = 17;

std::int64_t tasks_left(std::uint64_t state) { return static_cast<std::int64_t>(state >> kTaskShift); }

int clamp_threads(int threads) { return std::clamp(threads, 1, kMaxThreads); }

struct EnvironmentThreads {
  int threads;
  Status status;
};

const EnvironmentThreads& environment_threads() {
  static const EnvironmentThreads* const read = [] {
    auto* made = new EnvironmentThreads{clamp_threads(cpu_info().default_threads), {}};
    made->status = parse_thread_count(std::getenv("CONVTRANSPOSE_NUM_THREADS"), &made->threads);
    return made;
  }();
  return *read;
}

// Looks at condition() until it holds or kSpin is over; on a single processor just once.
template <typename Condition>
bool spin_until(Condition condition) {
  if (condition()) return true;
  if (cpu_info().default_threads == 1) return false;
  const Clock::time_point end = Clock::now() + kSpin;
  do {
    for (int i = 0; i < 32; ++i) {
      cpu_relax();
      if (condition()) return true;
    }
  } while (Clock::now() < end);
  return false;
}

// One thread waits, any other wakes it; a wake that comes first is kept.
class Parker {
 public:
  // Sleeps until woken, at most for `most` if that is not zero. False if nothing came within the time.
  bool park(Clock::duration most) {
    std::unique_lock<std::mutex> lock(mutex_);
    int expected = kAwake;
    if (state_.compare_exchange_strong(expected, kAsleep, std::memory_order_relaxed)) {
      if (most == Clock::duration::zero()) {
        condition_.wait(lock, [this] { return is_woken(); });
      } else if (!condition_.wait_for(lock, most, [this] { return is_woken(); })) {
        state_.store(kAwake, std::memory_order_relaxed);  // only waking changes kAsleep, and that takes the mutex
        return false;
      }
    }
    state_.exchange(kAwake, std::memory_order_acquire);
    return true;
  }

  // Whether park() would return at once.
  bool is_woken() const { return state_.load(std::memory_order_relaxed) == kWoken; }

  void unpark() {
    int expected = kAwake;
    if (state_.compare_exchange_strong(expected, kWoken, std::memory_order_release)) return;
    const std::lock_guard<std::mutex> lock(mutex_);
    state_.store(kWoken, std::memory_order_release);
    condition_.notify_one();
  }

 private:
  static constexpr int kAwake = 0, kAsleep = 1, kWoken = 2;
  std::atomic<int> state_{kAwake};
  std::mutex mutex_;
  std::condition_variable condition_;
};

}  // namespace

struct ThreadPool::Impl {
  struct Worker {
    Impl* pool;
    int index;
    Parker parker;
  };

  // The thread that waits in run().
  struct Caller {
    Parker parker;
    bool asleep = false;            // guarded by the mutex
    std::atomic<bool> done{false};  // set under the mutex, by the pool thread that finished the job
  };

  // Linked through the jobs.
  struct JobList {
    Job* first = nullptr;
    Job* last = nullptr;

    void push_back(Job& job) {
      job.schedule_.next = nullptr;
      job.schedule_.previous = last;
      (last == nullptr ? first : last->schedule_.next) = &job;
      last = &job;
    }
    void remove(Job& job) {
      Job::Schedule& s = job.schedule_;
      (s.previous == nullptr ? first : s.previous->schedule_.next) = s.next;
      (s.next == nullptr ? last : s.next->schedule_.previous) = s.previous;
    }
  };

  // Workers to be woken once the mutex is free.
  struct Wakes {
    static constexpr int kMost = 2;  // each of them wakes or starts two more: the rest follow as a tree
    Worker* workers[kMost];
    int count = 0;
    int started = 0;  // these need no waking
    bool full() const { return count + started == kMost; }
    void send() {
      for (int i = 0; i < count; ++i) workers[i]->parker.unpark();
    }
  };

  using Lock = std::unique_lock<std::mutex>;

  std::atomic<int> size{environment_threads().threads};
  std::atomic<int> in_flight{0};    // jobs in the two lists; written under the mutex
  std::atomic<int> looking_out{0};  // workers that spin

  std::mutex mutex;  // guards all below
  JobList fresh;     // no turn yet
  JobList served;    // the next turn goes to the first
  bool fresh_first = true;
  WorkspaceStock stock;
  int started = 0;  // workers 0 .. started-1 run
  Worker* workers[kMaxThreads] = {};
  std::uint64_t idle[kMaxThreads / 64] = {};  // workers that wait, one bit each

  // ---- Participants of a stage ----------------------------------------------------------------------------------------

  static bool may_enter(std::uint64_t state) { return tasks_left(state) != 0 && (state & kShort) == 0; }

  static bool try_enter(Job& job) {
    std::atomic<std::uint64_t>& word = job.schedule_.state;
    std::uint64_t state = word.load(std::memory_order_relaxed);
    do {
      if (!may_enter(state)) return false;
    } while (
        !word.compare_exchange_weak(state, state + kOneParticipant, std::memory_order_acquire, std::memory_order_relaxed));
    return true;
  }

  enum class Leave {
    kLeft,   // nothing of the job may be touched any more, unless something else keeps it
    kAlone,  // the stage is over and this thread holds the job
    kStays,  // tasks are left that nobody else may take
  };

  static Leave leave(Job& job) {
    std::atomic<std::uint64_t>& word = job.schedule_.state;
    std::uint64_t state = word.load(std::memory_order_acquire);
    do {
      if (tasks_left(state) == 0 && (state & kParticipants) == 1) return Leave::kAlone;
      if (tasks_left(state) != 0 && (state & kShort) != 0) return Leave::kStays;
    } while (
        !word.compare_exchange_weak(state, state - kOneParticipant, std::memory_order_acq_rel, std::memory_order_acquire));
    return Leave::kLeft;
  }

  // For a participant that gets no workspace: the others go on without it; with no others the job is out of memory.
  static Leave leave_without_workspace(Job& job) {
    std::atomic<std::uint64_t>& word = job.schedule_.state;
    std::uint64_t state = word.load(std::memory_order_acquire);
    for (;;) {
      if ((state & kParticipants) != 1) {
        if (word.compare_exchange_weak(state, (state | kShort) - kOneParticipant, std::memory_order_acq_rel,
                                       std::memory_order_acquire)) {
          return Leave::kLeft;
        }
      } else if (word.compare_exchange_weak(state, kOneParticipant, std::memory_order_acq_rel, std::memory_order_acquire)) {
        if (tasks_left(state) != 0) job.fail_out_of_memory();
        return Leave::kAlone;
      }
    }
  }

  static int ranges(const Job::Schedule& schedule) { return std::min(schedule.threads, Job::Schedule::kMostRanges); }

  // The task of a participant that has counted one down: there is one, since no more were counted than there are.
  static std::int64_t take_task(Job::Schedule& schedule, int number) {
    const int count = ranges(schedule);
    for (int range = number % count;; range = (range + 1) % count) {
      const std::int64_t first = schedule.stage.tasks * range / count, end = schedule.stage.tasks * (range + 1) / count;
      std::atomic<std::int64_t>& begun = schedule.begun[range];
      if (begun.load(std::memory_order_relaxed) >= end - first) continue;
      const std::int64_t task = first + begun.fetch_add(1, std::memory_order_relaxed);
      if (task < end) return task;
    }
  }

  // Takes tasks until none is left, the job is to end, or (for a pool thread) it is another job's turn.
  void run_tasks(Job& job, std::byte* workspace, int number, bool takes_turns) {
    Job::Schedule& schedule = job.schedule_;
    const bool contended = takes_turns && in_flight.load(std::memory_order_relaxed) > 1;
    const Clock::time_point start = contended ? Clock::now() : Clock::time_point();
    const bool submitted = schedule.caller == nullptr;
    Clock::time_point offered = submitted ? Clock::now() : Clock::time_point();
    std::uint64_t state = schedule.state.load(std::memory_order_relaxed);
    for (;;) {
      if (job.aborted() || job.out_of_memory()) {
        schedule.state.fetch_and(kOneTask - 1, std::memory_order_relaxed);
        return;
      }
      do {
        if (tasks_left(state) == 0) return;
      } while (!schedule.state.compare_exchange_weak(state, state - kOneTask, std::memory_order_relaxed));
      job.run_task(take_task(schedule, number), workspace, number);
      if (submitted && Clock::now() - offered >= kOffer) {
        std::this_thread::yield();
        offered = Clock::now();
      }
      if (takes_turns && in_flight.load(std::memory_order_relaxed) > 1) {
        // A job that came during this turn has waited for a task already.
        if (!contended || Clock::now() - start >= kTurn) return;
      }
      state = schedule.state.load(std::memory_order_relaxed);
    }
  }

  // ---- A job held alone -----------------------------------------------------------------------------------------------

  // Asks for the next stage that has tasks. False: the job is over, with *result.
  static bool next_stage(Job& job, Stage* stage, JobResult* result) {
    while (!job.aborted() && !job.out_of_memory()) {
      *stage = Stage{};
      if (!job.next_stage(stage)) {
        *result = job.out_of_memory() ? JobResult::kOutOfMemory : JobResult::kDone;
        return false;
      }
      if (stage->tasks > 0 && !job.aborted() && !job.out_of_memory()) return true;
    }
    *result = job.out_of_memory() ? JobResult::kOutOfMemory : JobResult::kAborted;
    return false;
  }

  // Opens a stage, with this thread inside it. `mine`: the workspace that this thread has from the stock, if any.
  void publish(Job& job, const Stage& stage, const Workspace* mine) {
    Job::Schedule& schedule = job.schedule_;
    schedule.stage = stage;
    for (std::atomic<std::int64_t>& begun : schedule.begun) begun.store(0, std::memory_order_relaxed);
    const std::uint64_t state = (static_cast<std::uint64_t>(stage.tasks) << kTaskShift) | kOneParticipant;
    if (stage.tasks == 1 || schedule.threads == 1) {
      schedule.state.store(state, std::memory_order_release);
      return;
    }
    Wakes wakes;
    {
      Lock lock(mutex);
      stock_up(job, mine, lock);
      schedule.state.store(state, std::memory_order_release);
      if (!schedule.queued) enqueue(job);
      // If this thread is a pool thread, the one in run() sleeps or has entered.
      Caller* caller = static_cast<Caller*>(schedule.caller);
      if (caller != nullptr && caller->asleep) wake(*caller);
      gather(job, 1, &wakes);
    }
    wakes.send();
  }

  // `mine` goes back first: whoever learns of the end finds the stock complete.
  void finish(Job& job, JobResult result, bool by_pool_thread, Workspace* mine) {
    Job::Schedule& schedule = job.schedule_;
    Caller* const caller = static_cast<Caller*>(schedule.caller);
    const std::shared_ptr<Job> self = std::move(schedule.self);
    if (schedule.queued) {
      const Lock lock(mutex);
      dequeue(job);
      if (mine != nullptr) stock.put_back(mine);
    }
    job.finished(result);
    if (caller != nullptr && by_pool_thread) {
      const Lock lock(mutex);
      caller->done.store(true, std::memory_order_release);
      if (caller->asleep) wake(*caller);
    }
  }

  // Sees to it that the stock has a workspace for every thread that may take part in the stage. Opens the lock to allocate.
  // Where memory is short the stock stays short, and participants fend for themselves.
  void stock_up(const Job& job, const Workspace* mine, Lock& lock) {
    const Stage& stage = job.schedule_.stage;
    if (stage.workspace_bytes == 0) return;
    const bool caller_has = job.schedule_.caller != nullptr;
    const bool this_has = mine != nullptr && mine->capacity >= stage.workspace_bytes;
    const int participants = static_cast<int>(std::min<std::int64_t>(stage.tasks, job.schedule_.threads));
    int missing = stock.missing(participants - (caller_has ? 1 : 0) - (this_has ? 1 : 0), stage.workspace_bytes);
    for (; missing > 0; --missing) {
      Workspace* const too_small = stock.take_too_small(stage.workspace_bytes);
      lock.unlock();
      Workspace::destroy(too_small);
      Workspace* const made = Workspace::create(stage.workspace_bytes);
      lock.lock();
      if (made == nullptr) return;
      stock.put_back(made);
    }
  }

  // ---- The rest needs the mutex ---------------------------------------------------------------------------------------

  static void wake(Caller& caller) {
    caller.asleep = false;
    caller.parker.unpark();
  }

  void enqueue(Job& job) {
    job.schedule_.queued = true;
    job.schedule_.served = false;
    fresh.push_back(job);
    in_flight.fetch_add(1, std::memory_order_relaxed);
  }

  void dequeue(Job& job) {
    job.schedule_.queued = false;
    (job.schedule_.served ? served : fresh).remove(job);
    in_flight.fetch_sub(1, std::memory_order_relaxed);
  }

  // The workers that may serve a job are those below this index.
  int reach(const Job& job) const { return std::max(size.load(std::memory_order_relaxed), job.schedule_.threads); }

  // A participant number that is free; the caller has made sure that there is one.
  static int take_number(Job& job) {
    Job::Schedule& schedule = job.schedule_;
    int word = 0;
    while (~schedule.taken[word] == 0) ++word;
    const int bit = std::countr_one(schedule.taken[word]);
    schedule.taken[word] |= std::uint64_t{1} << bit;
    ++schedule.participants;
    return word * 64 + bit;
  }

  static void give_back_number(Job& job, int number) {
    job.schedule_.taken[number / 64] &= ~(std::uint64_t{1} << (number % 64));
    --job.schedule_.participants;
  }

  // How many more threads have something to do in this job, of whose tasks this thread is about to take `mine`.
  static std::int64_t vacancies(const Job& job, int mine) {
    const Job::Schedule& schedule = job.schedule_;
    if (schedule.unstarted) return 1;
    const std::uint64_t state = schedule.state.load(std::memory_order_relaxed);
    if (!may_enter(state)) return 0;
    return std::min<std::int64_t>(tasks_left(state) - mine, schedule.threads - schedule.participants);
  }

  // Adds idle workers for this job, or starts new ones.
  void gather(const Job& job, int mine, Wakes* wakes) {
    const int bound = reach(job);
    for (std::int64_t wanted = vacancies(job, mine); wanted > 0 && !wakes->full(); --wanted) {
      const int index = first_idle(bound);
      if (index >= 0) {
        idle[index / 64] &= ~(std::uint64_t{1} << (index % 64));
        wakes->workers[wakes->count++] = workers[index];
      } else if (started < bound && start_worker()) {
        ++wakes->started;
      } else {
        return;
      }
    }
  }

  // For all jobs in flight; `mine` is the one that this thread is about to serve, if any.
  void gather_all(const Job* mine, Wakes* wakes) {
    for (const JobList* list : {&fresh, &served}) {
      for (const Job* job = list->first; job != nullptr && !wakes->full(); job = job->schedule_.next) {
        gather(*job, job == mine ? 1 : 0, wakes);
      }
    }
  }

  int first_idle(int bound) const {
    for (int word = 0; word * 64 < bound; ++word) {
      if (idle[word] == 0) continue;
      const int index = word * 64 + std::countr_zero(idle[word]);
      return index < bound ? index : -1;
    }
    return -1;
  }

  bool start_worker() {
    Worker*& worker = workers[started];
    if (worker == nullptr) worker = new (std::nothrow) Worker{this, started, {}};
    if (worker == nullptr) return false;
    const auto entry = [](void* raw) {
      Worker* self = static_cast<Worker*>(raw);
      self->pool->work(*self);
    };
    if (!start_thread(entry, worker, started)) return false;
    ++started;
    return true;
  }

  struct Turn {
    Job* job = nullptr;
    int number = 0;
    bool alone = false;  // the thread holds the job, which is to be asked for its next stage; else it has entered one
    Workspace* workspace = nullptr;  // from the stock, for the stage that it has entered
  };

  Turn next_turn(const Worker& worker) {
    JobList* const order[2] = {fresh_first ? &fresh : &served, fresh_first ? &served : &fresh};
    for (JobList* list : order) {
      for (Job* job = list->first; job != nullptr; job = job->schedule_.next) {
        Job::Schedule& schedule = job->schedule_;
        if (worker.index >= reach(*job) || schedule.participants == schedule.threads) continue;
        const bool alone = schedule.unstarted;
        if (alone) {
          schedule.unstarted = false;
          schedule.state.store(kOneParticipant, std::memory_order_relaxed);
        } else if (!try_enter(*job)) {
          continue;
        }
        list->remove(*job);
        served.push_back(*job);
        schedule.served = true;
        fresh_first = list == &served;
        Turn turn{job, take_number(*job), alone};
        if (!alone && schedule.stage.workspace_bytes != 0) {
          turn.workspace = stock.take(schedule.stage.workspace_bytes, worker.index);
        }
        return turn;
      }
    }
    return {};
  }

  // The life of a pool thread.
  void work(Worker& self) {
    Lock lock(mutex);
    for (;;) {
      const Turn turn = next_turn(self);
      Wakes wakes;
      gather_all(turn.job, &wakes);
      if (turn.job == nullptr) idle[self.index / 64] |= std::uint64_t{1} << (self.index % 64);
      lock.unlock();
      wakes.send();
      if (turn.job == nullptr) {
        rest(self);
      } else {
        serve(turn, self.index);
      }
      lock.lock();
    }
  }

  // ---- For pool threads, without the mutex ----------------------------------------------------------------------------

  // Until woken.
  void rest(Worker& self) {
    // One processor is left for those who have work.
    if (looking_out.fetch_add(1, std::memory_order_relaxed) < cpu_info().default_threads - 1) {
      spin_until([&self] { return self.parker.is_woken(); });
    }
    looking_out.fetch_sub(1, std::memory_order_relaxed);
    if (self.parker.park(kIdle)) return;
    Workspace* unused;
    {
      const Lock lock(mutex);
      unused = stock.take_unused_since(Clock::now() - kIdle);
    }
    Workspace::destroy(unused);
    self.parker.park(Clock::duration::zero());
  }

  void serve(const Turn& turn, int index) {
    Job& job = *turn.job;
    Workspace* workspace = turn.workspace;
    bool alone = turn.alone;
    Lock lock(mutex, std::defer_lock);
    for (;;) {
      if (alone) {
        Stage stage;
        JobResult result;
        if (!next_stage(job, &stage, &result)) {
          finish(job, result, true, workspace);
          return;
        }
        publish(job, stage, workspace);
      }
      const std::size_t bytes = job.schedule_.stage.workspace_bytes;
      const bool has_workspace = bytes == 0 || exchange_workspace(&workspace, bytes, index);
      if (has_workspace) run_tasks(job, workspace == nullptr ? nullptr : workspace->data, turn.number, true);
      // No job can finish while the mutex is held, so the number is given back in time.
      lock.lock();
      const Leave how = has_workspace ? leave(job) : leave_without_workspace(job);
      if (how == Leave::kLeft) {
        give_back_number(job, turn.number);
        if (workspace != nullptr) stock.put_back(workspace);
        return;
      }
      lock.unlock();
      alone = how == Leave::kAlone;
    }
  }

  // Replaces a workspace of fewer than `bytes`, if there is any memory for it.
  bool exchange_workspace(Workspace** workspace, std::size_t bytes, int index) {
    if (*workspace != nullptr && (*workspace)->capacity >= bytes) return true;
    {
      const Lock lock(mutex);
      if (*workspace != nullptr) stock.put_back(*workspace);
      *workspace = stock.take(bytes, index);
    }
    if (*workspace == nullptr) *workspace = Workspace::create(bytes);
    return *workspace != nullptr;
  }

  // The child of a fork has none of the threads, and whatever was in flight is lost to it. The mutex is held.
  void forget_threads() {
    fresh = {};
    served = {};
    in_flight.store(0, std::memory_order_relaxed);
    started = 0;
    std::fill(std::begin(workers), std::end(workers), nullptr);
    std::fill(std::begin(idle), std::end(idle), 0);
  }

  // ---- For run(), without the mutex -----------------------------------------------------------------------------------

  // Serves the caller's job, whose current stage it has entered. True when it has finished the job, false when it has left
  // it.
  bool serve_own(Job& job) {
    WorkspaceLease workspace;
    for (;;) {
      const bool has_workspace = workspace.reserve(job.schedule_.stage.workspace_bytes);
      if (has_workspace) run_tasks(job, workspace.data(), 0, false);
      const Leave how = has_workspace ? leave(job) : leave_without_workspace(job);
      if (how == Leave::kLeft) return false;
      if (how == Leave::kStays) continue;
      Stage stage;
      JobResult result;
      if (!next_stage(job, &stage, &result)) {
        finish(job, result, false, nullptr);
        return true;
      }
      publish(job, stage, nullptr);
    }
  }

  // Waits until the caller can enter a stage of its job (true, and it has) or a pool thread has finished the job (false).
  bool wait_to_enter(Job& job, Caller& caller) {
    const auto ready = [&] {
      return caller.done.load(std::memory_order_acquire) || may_enter(job.schedule_.state.load(std::memory_order_relaxed));
    };
    for (;;) {
      if (!spin_until(ready)) {
        Lock lock(mutex);
        if (!ready()) {
          caller.asleep = true;
          lock.unlock();
          caller.parker.park(Clock::duration::zero());
        }
      }
      if (caller.done.load(std::memory_order_acquire)) {
        const Lock lock(mutex);  // the thread that finished the job is done with `caller` when it has let go of this
        return false;
      }
      if (try_enter(job)) return true;
    }
  }
};

ThreadPool::ThreadPool() : impl_(new Impl) {
  pin_library();
  at_fork([] { process().impl_->mutex.lock(); }, [] { process().impl_->mutex.unlock(); },
          [] {
            process().impl_->forget_threads();
            process().impl_->mutex.unlock();
          });
}

ThreadPool& ThreadPool::process() {
  static ThreadPool* const pool = new ThreadPool;
  return *pool;
}

int ThreadPool::size() const noexcept { return impl_->size.load(std::memory_order_relaxed); }

void ThreadPool::set_size(int threads) { impl_->size.store(clamp_threads(threads), std::memory_order_relaxed); }

void ThreadPool::run(Job& job, int threads) {
  const int most = threads > 0 ? clamp_threads(threads) : size();
  Stage stage;
  JobResult result;
  {
    // As long as one thread is enough nothing is shared.
    WorkspaceLease workspace;
    for (;;) {
      if (!Impl::next_stage(job, &stage, &result)) {
        job.finished(result);
        return;
      }
      if (stage.tasks > 1 && most > 1) break;
      if (!workspace.reserve(stage.workspace_bytes)) {
        job.fail_out_of_memory();
        continue;
      }
      for (std::int64_t task = 0; task < stage.tasks && !job.aborted() && !job.out_of_memory(); ++task) {
        job.run_task(task, workspace.data(), 0);
      }
    }
  }

  Impl::Caller caller;
  Job::Schedule& schedule = job.schedule_;
  schedule.threads = most;
  std::fill(std::begin(schedule.taken), std::end(schedule.taken), 0);
  schedule.taken[0] = 1;  // the caller
  schedule.participants = 1;
  schedule.unstarted = false;
  schedule.caller = &caller;
  impl_->publish(job, stage, nullptr);
  do {
    if (impl_->serve_own(job)) return;
  } while (impl_->wait_to_enter(job, caller));
}

void ThreadPool::submit(std::shared_ptr<Job> job, int threads) {
  Job& queued = *job;
  Job::Schedule& schedule = queued.schedule_;
  schedule.threads = threads > 0 ? clamp_threads(threads) : size();
  std::fill(std::begin(schedule.taken), std::end(schedule.taken), 0);
  schedule.participants = 0;
  schedule.unstarted = true;
  schedule.caller = nullptr;
  schedule.self = std::move(job);
  Impl::Wakes wakes;
  bool nobody;
  {
    const Impl::Lock lock(impl_->mutex);
    impl_->enqueue(queued);
    impl_->gather(queued, 0, &wakes);
    nobody = impl_->started == 0;
    if (nobody) impl_->dequeue(queued);
  }
  wakes.send();
  if (nobody) impl_->finish(queued, JobResult::kOutOfMemory, true, nullptr);
}

Status thread_environment_status() { return environment_threads().status; }

}  // namespace convtranspose
