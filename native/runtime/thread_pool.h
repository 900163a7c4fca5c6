// One pool of worker threads for the whole process, shared by every JavaScript thread.
//
// A Job is a list of stages; a stage is a number of independent tasks, cut from the problem and never from the number of
// threads, so that the number of threads changes only who computes a task. The pool owns the loop: it hands out tasks,
// neighbours to the same thread and in ascending order as far as that goes, waits for the last task of a stage before it
// asks for the next stage, and looks at the abort flag between tasks. Among the jobs in flight the workers take turns, so a
// small job queued behind large ones is not starved.
#pragma once

#include <atomic>
#include <cstddef>
#include <cstdint>
#include <memory>

#include "problem/status.h"

namespace convtranspose {

// More threads than this are never used, whatever is asked for.
inline constexpr int kMaxThreads = 1024;

struct Stage {
  std::int64_t tasks = 0;           // below 2^47; nothing to do if not positive
  std::size_t workspace_bytes = 0;  // per thread, 64-byte aligned, contents unspecified; 0: none is needed
};

enum class JobResult { kDone, kAborted, kOutOfMemory };

// May be run again once it has finished (an abort sticks). Fork: a job in flight in the parent is lost to the child.
class Job {
 public:
  Job() = default;
  virtual ~Job() = default;
  Job(const Job&) = delete;
  Job& operator=(const Job&) = delete;

  // The next stage, or false when there is none. Called once per stage, by one thread, after every task of the previous
  // stage has finished (their writes are visible). A stage of zero tasks is passed over.
  virtual bool next_stage(Stage* stage) noexcept = 0;

  // One task of the current stage; called concurrently by several threads, each with its own workspace.
  // `worker` tells participants of this job apart (0 .. threads-1) at any one time; a thread that leaves to serve another
  // job and comes back may get another number. The workspace is nullptr if the stage asked for none. A task may itself
  // call ThreadPool::run.
  virtual void run_task(std::int64_t task, std::byte* workspace, int worker) noexcept = 0;

  // Called exactly once, after the last task has returned, on the thread that finished the job. The job may be destroyed
  // by the time this returns if nobody else holds it.
  virtual void finished(JobResult result) noexcept = 0;

  // May be called from any thread at any time: tasks not yet begun are not run, and the job finishes as kAborted.
  void abort() noexcept { aborted_.store(true, std::memory_order_relaxed); }
  bool aborted() const noexcept { return aborted_.load(std::memory_order_relaxed); }

  // Ends the job as kOutOfMemory, from within next_stage or run_task.
  void fail_out_of_memory() noexcept { out_of_memory_.store(true, std::memory_order_relaxed); }
  bool out_of_memory() const noexcept { return out_of_memory_.load(std::memory_order_relaxed); }

 private:
  std::atomic<bool> aborted_{false};
  std::atomic<bool> out_of_memory_{false};

  // The pool's own notes on a job in flight: kept here so that running a job allocates nothing.
  friend class ThreadPool;
  struct Schedule {
    static constexpr int kMostRanges = 8;
    std::atomic<std::uint64_t> state{0};             // tasks to hand out, participants, shortage: see thread_pool.cc
    std::atomic<std::int64_t> begun[kMostRanges]{};  // tasks of each range that have been handed out, or more
    Stage stage;                                     // changes only while one thread alone holds the job
    int threads = 1;                                 // most participants, the caller of run() included
    // The rest is guarded by the pool's mutex, or belongs to the thread that holds the job before it is queued.
    std::uint64_t taken[kMaxThreads / 64] = {};  // participant numbers in use, one bit each
    int participants = 0;                        // number of those bits
    Job* next = nullptr;
    Job* previous = nullptr;
    bool queued = false;
    bool unstarted = false;     // submitted, and nobody has asked for its first stage
    bool served = false;        // has had its first turn: in the list of those that take turns
    void* caller = nullptr;     // who waits in run()
    std::shared_ptr<Job> self;  // keeps a submitted job alive
  };
  Schedule schedule_;
};

class ThreadPool {
 public:
  // Never destroyed: its threads are started on first need and end with the process.
  static ThreadPool& process();

  // Runs the job with the calling thread taking part, and at most `threads` - 1 pool threads (0: the pool's size; more than
  // the size starts more threads, which serve only jobs that ask for that many). Returns after finished(). A job whose
  // stages all have one task, or that may use one thread only, touches no lock and wakes nobody. Allocates nothing but
  // workspaces that grow.
  void run(Job& job, int threads);

  // Queues the job for pool threads only (at most `threads` at once; 0: the pool's size). Never blocks. If the system
  // refuses to start any thread, the job ends here as kOutOfMemory.
  void submit(std::shared_ptr<Job> job, int threads);

  // Number of threads a job may use by default, and of pool threads that serve jobs which did not ask for more:
  // CONVTRANSPOSE_NUM_THREADS, else cpu_info().default_threads. At least 1.
  int size() const noexcept;

  // Between 1 and kMaxThreads (others are clamped). Applies to jobs that come later; those in flight keep their threads.
  void set_size(int threads);

 private:
  struct Impl;
  ThreadPool();
  Impl* impl_;
};

// kInvalidArgument with argument "CONVTRANSPOSE_NUM_THREADS" if that variable was set to anything but an integer from 1 to
// kMaxThreads when the pool was made; the pool then has its default size. Nothing is thrown at load time for it: whoever
// starts a run asks here first.
Status thread_environment_status();

}  // namespace convtranspose
