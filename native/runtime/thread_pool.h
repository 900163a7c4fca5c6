// One pool of worker threads for the whole process, shared by every JavaScript thread.
//
// A Job is a list of stages; a stage is a number of independent tasks, cut from the problem and never from the number of
// threads, so that the number of threads changes only who computes a task. The pool owns the loop: it hands out tasks in
// ascending order, waits for the last task of a stage before it asks for the next stage, and looks at the abort flag
// between tasks. Among the jobs in flight the workers take turns, so a small job queued behind large ones is not starved.
#pragma once

#include <atomic>
#include <cstddef>
#include <cstdint>
#include <memory>

namespace convtranspose {

struct Stage {
  std::int64_t tasks = 0;
  std::size_t workspace_bytes = 0;  // per thread, 64-byte aligned, contents unspecified
};

enum class JobResult { kDone, kAborted, kOutOfMemory };

class Job {
 public:
  virtual ~Job() = default;

  // The next stage, or false when there is none. Called once per stage, by one thread, after every task of the previous
  // stage has finished (their writes are visible). A stage of zero tasks is passed over.
  virtual bool next_stage(Stage* stage) noexcept = 0;

  // One task of the current stage; called concurrently by several threads, each with its own workspace.
  // `worker` tells participants of this job apart (0 .. threads-1).
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
};

class ThreadPool {
 public:
  // Never destroyed: its threads are started on first need and end with the process.
  static ThreadPool& process();

  // Runs the job with the calling thread taking part, and at most `threads` - 1 pool threads (0: the pool's size).
  // Returns after finished(). A job whose stages all have one task never wakes another thread.
  void run(Job& job, int threads);

  // Queues the job for pool threads only (at most `threads` at once; 0: the pool's size). Never blocks.
  void submit(std::shared_ptr<Job> job, int threads);

  // Number of threads a job may use by default: CONVTRANSPOSE_NUM_THREADS, else cpu_info().default_threads. At least 1.
  int size() const noexcept;
  void set_size(int threads);

 private:
  struct Impl;
  ThreadPool();
  Impl* impl_;
};

}  // namespace convtranspose
