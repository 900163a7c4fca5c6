#include <doctest/doctest.h>

#include <algorithm>
#include <atomic>
#include <chrono>
#include <cmath>
#include <cstdint>
#include <cstring>
#include <filesystem>
#include <fstream>
#include <memory>
#include <mutex>
#include <set>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include "runtime/arena.h"
#include "runtime/buffer_pool.h"
#include "runtime/counters.h"
#include "runtime/cpu.h"
#include "runtime/cpu_detect.h"
#include "runtime/environment.h"
#include "runtime/thread_pool.h"

#if defined(__linux__)
#include <pthread.h>
#include <signal.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>
#endif

#if defined(__SANITIZE_THREAD__) || defined(__SANITIZE_ADDRESS__)
#define CONVTRANSPOSE_SANITIZED 1
#elif defined(__has_feature)
#if __has_feature(thread_sanitizer) || __has_feature(address_sanitizer)
#define CONVTRANSPOSE_SANITIZED 1
#endif
#endif

using namespace convtranspose;
using namespace std::chrono_literals;

namespace {

// Restores the size of the process' pool.
class PoolSize {
 public:
  explicit PoolSize(int threads) : before_(ThreadPool::process().size()) { ThreadPool::process().set_size(threads); }
  ~PoolSize() { ThreadPool::process().set_size(before_); }

 private:
  int before_;
};

template <typename Condition>
bool eventually(Condition condition) {
  const auto end = std::chrono::steady_clock::now() + 60s;
  while (!condition()) {
    if (std::chrono::steady_clock::now() > end) return false;
    std::this_thread::sleep_for(100us);
  }
  return true;
}

// A job that checks the promises of the pool from within: each task once, stages one
// after another with their writes visible, participants that never share a number or a workspace.
class CheckedJob : public Job {
 public:
  CheckedJob(std::vector<std::int64_t> stages, int threads, std::size_t workspace_bytes = 256)
      : threads_(threads), workspace_bytes_(workspace_bytes), busy_(new std::atomic<bool>[kMaxThreads]()) {
    for (const std::int64_t tasks : stages)
      written_.emplace_back(static_cast<std::size_t>(std::max<std::int64_t>(tasks, 0)), 0);
    sizes_ = std::move(stages);
  }

  bool next_stage(Stage* stage) noexcept override {
    if (running_.load() != 0) fail("next_stage during a task");
    check_written();
    if (next_ == sizes_.size()) return false;
    stage->tasks = sizes_[next_];
    stage->workspace_bytes = workspace_bytes_;
    ++next_;
    return true;
  }

  void run_task(std::int64_t task, std::byte* workspace, int worker) noexcept override {
    const int running = running_.fetch_add(1) + 1;
    int most = most_running_.load();
    while (running > most && !most_running_.compare_exchange_weak(most, running)) {
    }
    if (worker < 0 || worker >= threads_) fail("participant number out of range");
    if (busy_[worker].exchange(true)) fail("two participants with one number");
    if (reinterpret_cast<std::uintptr_t>(workspace) % 64 != 0) fail("workspace not aligned");
    if (workspace_bytes_ != 0) std::memset(workspace, worker, workspace_bytes_);
    body(task);
    for (std::size_t i = 0; i < workspace_bytes_; i += 1 + workspace_bytes_ / 1024) {
      if (workspace[i] != static_cast<std::byte>(worker)) fail("workspace shared");
    }
    ++written_[next_ - 1][static_cast<std::size_t>(task)];  // plain on purpose: the pool must order it
    ++tasks_run;
    {
      const std::lock_guard<std::mutex> lock(mutex_);
      ran_on.insert(std::this_thread::get_id());
    }
    busy_[worker] = false;
    running_.fetch_sub(1);
  }

  void finished(JobResult outcome) noexcept override {
    if (running_.load() != 0) fail("finished during a task");
    if (outcome == JobResult::kDone) check_written();
    result = outcome;
    finishes.fetch_add(1);
  }

  virtual void body(std::int64_t) noexcept {}

  bool is_finished() const { return finishes.load() > 0; }
  int most_running() const { return most_running_.load(); }
  std::string failure() const {
    const std::lock_guard<std::mutex> lock(mutex_);
    return failure_;
  }

  std::atomic<int> finishes{0};
  JobResult result{};
  std::atomic<std::int64_t> tasks_run{0};
  std::set<std::thread::id> ran_on;

 private:
  void fail(const char* what) {
    const std::lock_guard<std::mutex> lock(mutex_);
    failure_ = what;
  }
  void check_written() {
    if (next_ == 0) return;
    for (const int count : written_[next_ - 1]) {
      if (count != 1) fail("a task did not run exactly once");
    }
  }

  int threads_;
  std::size_t workspace_bytes_;
  std::vector<std::int64_t> sizes_;
  std::vector<std::vector<int>> written_;
  std::size_t next_ = 0;
  std::unique_ptr<std::atomic<bool>[]> busy_;
  std::atomic<int> running_{0};
  std::atomic<int> most_running_{0};
  mutable std::mutex mutex_;
  std::string failure_;
};

template <typename Body>
class BodyJob : public CheckedJob {
 public:
  BodyJob(std::vector<std::int64_t> stages, int threads, Body body) : CheckedJob(std::move(stages), threads), body_(body) {}
  void body(std::int64_t task) noexcept override { body_(*this, task); }

 private:
  Body body_;
};

template <typename Body>
std::shared_ptr<BodyJob<Body>> make_body_job(std::vector<std::int64_t> stages, int threads, Body body) {
  return std::make_shared<BodyJob<Body>>(std::move(stages), threads, body);
}

}  // namespace

TEST_CASE("run: every task once, stages in order, for many shapes and numbers of threads") {
  const std::vector<std::vector<std::int64_t>> shapes = {
      {}, {0}, {1}, {1, 1, 1}, {0, 0, 1, 0}, {2}, {3, 0, 5}, {1, 64, 1, 64, 1}, {1000}, {7, 1, 0, 300, 2, 2, 2, 2}, {-1, 4}};
  for (const auto& stages : shapes) {
    for (int threads = 0; threads <= 9; ++threads) {
      CheckedJob job(stages, threads == 0 ? ThreadPool::process().size() : threads);
      ThreadPool::process().run(job, threads);
      CHECK(job.finishes == 1);
      CHECK(job.result == JobResult::kDone);
      CHECK(job.failure() == "");
    }
  }
}

TEST_CASE("submit: every task once, on pool threads, for many shapes and numbers of threads") {
  const std::vector<std::vector<std::int64_t>> shapes = {{}, {0}, {1}, {1, 1}, {5}, {3, 0, 5}, {1, 64, 1, 64, 1}, {1000}};
  for (const auto& stages : shapes) {
    for (int threads = 0; threads <= 5; ++threads) {
      auto job = std::make_shared<CheckedJob>(stages, threads == 0 ? ThreadPool::process().size() : threads);
      ThreadPool::process().submit(job, threads);
      REQUIRE(eventually([&] { return job->is_finished(); }));
      CHECK(job->result == JobResult::kDone);
      CHECK(job->failure() == "");
      CHECK(job->ran_on.count(std::this_thread::get_id()) == 0);
    }
  }
}

TEST_CASE("a job of single tasks stays on the calling thread, and so does a job of one thread") {
  CheckedJob single({1, 1, 1}, 8);
  ThreadPool::process().run(single, 8);
  CHECK(single.ran_on == std::set<std::thread::id>{std::this_thread::get_id()});
  CheckedJob one_thread({50, 3}, 1);
  ThreadPool::process().run(one_thread, 1);
  CHECK(one_thread.ran_on == std::set<std::thread::id>{std::this_thread::get_id()});
  CHECK(one_thread.failure() == "");
}

TEST_CASE("a job really gets the threads that it asks for, also more than the pool's size") {
  const PoolSize size(2);
  for (const int threads : {2, 4}) {
    // Each task waits until all have begun, which takes as many threads as tasks.
    const auto meet = [threads](CheckedJob& job, std::int64_t) {
      eventually([&] { return job.most_running() == threads; });
    };
    auto synchronous = make_body_job({threads}, threads, meet);
    ThreadPool::process().run(*synchronous, threads);
    CHECK(synchronous->most_running() == threads);
    CHECK(synchronous->failure() == "");
    auto submitted = make_body_job({threads}, threads, meet);
    ThreadPool::process().submit(submitted, threads);
    REQUIRE(eventually([&] { return submitted->is_finished(); }));
    CHECK(submitted->most_running() == threads);
    CHECK(submitted->failure() == "");
  }
}

TEST_CASE("caps: never more participants than a job may have") {
  const PoolSize size(4);
  for (int cap = 1; cap <= 3; ++cap) {
    const auto nap = [](CheckedJob&, std::int64_t) { std::this_thread::sleep_for(200us); };
    std::vector<std::shared_ptr<CheckedJob>> jobs;
    for (int i = 0; i < 4; ++i) {
      jobs.push_back(make_body_job({40, 1, 10}, cap, nap));
      ThreadPool::process().submit(jobs.back(), cap);
    }
    auto synchronous = make_body_job({40}, cap, nap);
    ThreadPool::process().run(*synchronous, cap);
    jobs.push_back(synchronous);
    for (const auto& job : jobs) {
      REQUIRE(eventually([&] { return job->is_finished(); }));
      CHECK(job->most_running() <= cap);
      CHECK(job->failure() == "");
    }
  }
}

TEST_CASE("each participant takes the tasks of one range in order, then those that are left of the next ones") {
  struct Listing : Job {
    std::vector<std::int64_t> taken[9];
    std::int64_t tasks = 0;
    bool begun = false;
    bool next_stage(Stage* stage) noexcept override {
      stage->tasks = tasks;
      return !std::exchange(begun, true);
    }
    void run_task(std::int64_t task, std::byte*, int worker) noexcept override {
      std::this_thread::sleep_for(std::chrono::microseconds(50 + task % 7 * 20));
      taken[worker].push_back(task);
    }
    void finished(JobResult) noexcept override {}
  };
  for (int threads = 1; threads <= 9; ++threads) {
    for (const std::int64_t tasks : {2, 5, 16, 77}) {
      Listing job;
      job.tasks = tasks;
      ThreadPool::process().run(job, threads);
      const std::int64_t ranges = std::min(threads, 8);
      std::int64_t run = 0;
      for (int worker = 0; worker < threads; ++worker) {
        std::int64_t before = -1;
        for (const std::int64_t task : job.taken[worker]) {
          std::int64_t range = 0;
          while (tasks * (range + 1) / ranges <= task) ++range;
          const std::int64_t order = (range - worker % ranges + ranges) % ranges * tasks + task;
          CHECK(order > before);
          before = order;
          ++run;
        }
      }
      CHECK(run == tasks);
    }
  }
}

TEST_CASE("several callers, submitted jobs and nested runs at once") {
  const PoolSize size(3);
  std::atomic<int> failures{0};
  const auto nested = [&failures](CheckedJob&, std::int64_t task) {
    CheckedJob inner({3, task % 4, 2}, 2);
    ThreadPool::process().run(inner, 2);
    if (!inner.is_finished() || inner.failure() != "") ++failures;
  };
  std::vector<std::shared_ptr<CheckedJob>> submitted;
  for (int i = 0; i < 30; ++i) {
    submitted.push_back(i % 3 == 0 ? std::shared_ptr<CheckedJob>(make_body_job({9, 1, 4}, 3, nested))
                                   : std::make_shared<CheckedJob>(std::vector<std::int64_t>{1, 50, 3}, 3));
    ThreadPool::process().submit(submitted.back(), 0);
  }
  std::vector<std::thread> callers;
  for (int i = 0; i < 4; ++i) {
    callers.emplace_back([&, i] {
      for (int round = 0; round < 50; ++round) {
        CheckedJob job({1 + (round + i) % 5, 20, 1}, 1 + round % 4);
        ThreadPool::process().run(job, 1 + round % 4);
        if (job.finishes != 1 || job.failure() != "") ++failures;
        if (round % 10 == 0) {
          auto outer = make_body_job({4}, 2, nested);
          ThreadPool::process().run(*outer, 2);
          if (outer->failure() != "") ++failures;
        }
      }
    });
  }
  for (std::thread& caller : callers) caller.join();
  for (const auto& job : submitted) {
    REQUIRE(eventually([&] { return job->is_finished(); }));
    CHECK(job->failure() == "");
  }
  CHECK(failures == 0);
}

TEST_CASE("the size may change while jobs run") {
  const PoolSize size(1);
  std::vector<std::shared_ptr<CheckedJob>> jobs;
  for (int round = 0; round < 200; ++round) {
    ThreadPool::process().set_size(1 + round % 4);
    jobs.push_back(std::make_shared<CheckedJob>(std::vector<std::int64_t>{1, 20, 5}, 4));
    ThreadPool::process().submit(jobs.back(), 0);
  }
  for (const auto& job : jobs) {
    REQUIRE(eventually([&] { return job->is_finished(); }));
    CHECK(job->failure() == "");
  }
  ThreadPool::process().set_size(-5);
  CHECK(ThreadPool::process().size() == 1);
  ThreadPool::process().set_size(1 << 30);
  CHECK(ThreadPool::process().size() == kMaxThreads);
}

TEST_CASE("abort: before a job starts, while it runs, and after it") {
  CheckedJob before({5, 5}, 2);
  before.abort();
  ThreadPool::process().run(before, 2);
  CHECK(before.result == JobResult::kAborted);
  CHECK(before.finishes == 1);
  CHECK(before.tasks_run == 0);

  auto queued = std::make_shared<CheckedJob>(std::vector<std::int64_t>{5}, 2);
  queued->abort();
  ThreadPool::process().submit(queued, 2);
  REQUIRE(eventually([&] { return queued->is_finished(); }));
  CHECK(queued->result == JobResult::kAborted);
  CHECK(queued->tasks_run == 0);

  const auto abort_at_10 = [](CheckedJob& job, std::int64_t task) {
    if (task == 10) job.abort();
  };
  for (int threads = 1; threads <= 3; ++threads) {
    auto during = make_body_job({100000, 5}, threads, abort_at_10);
    ThreadPool::process().run(*during, threads);
    CHECK(during->result == JobResult::kAborted);
    CHECK(during->finishes == 1);
    CHECK(during->tasks_run >= 11);
    CHECK(during->tasks_run < 100000);
    CHECK(during->failure() == "");

    // From outside, at any moment.
    auto outside = make_body_job({100000}, threads, [](CheckedJob&, std::int64_t) { std::this_thread::sleep_for(50us); });
    ThreadPool::process().submit(outside, threads);
    std::this_thread::sleep_for(std::chrono::microseconds(300 * threads));
    outside->abort();
    REQUIRE(eventually([&] { return outside->is_finished(); }));
    CHECK(outside->result == JobResult::kAborted);
    CHECK(outside->tasks_run < 100000);
  }

  CheckedJob after({5}, 2);
  ThreadPool::process().run(after, 2);
  after.abort();
  CHECK(after.result == JobResult::kDone);
}

TEST_CASE("fairness: a job of one task behind ten long ones begins within a few tasks, and the long ones share") {
  const PoolSize size(2);
  constexpr int kLong = 10;
  constexpr int kTasks = 40;
  std::atomic<int> begun{0};
  std::vector<std::shared_ptr<CheckedJob>> jobs;
  for (int i = 0; i < kLong; ++i) {
    jobs.push_back(make_body_job({kTasks}, 2, [&begun](CheckedJob&, std::int64_t) {
      ++begun;
      std::this_thread::sleep_for(1ms);
    }));
    ThreadPool::process().submit(jobs.back(), 0);
  }
  // Counted in tasks, so that a loaded machine makes no difference.
  for (int i = 0; i < 3; ++i) {
    const int target = begun + 20;
    REQUIRE(eventually([&] { return begun >= target; }));
    std::atomic<int> begun_then{0};
    auto small = make_body_job({1}, 1, [&](CheckedJob&, std::int64_t) { begun_then = begun.load(); });
    const int begun_now = begun;
    ThreadPool::process().submit(small, 0);
    REQUIRE(eventually([&] { return small->is_finished(); }));
    CHECK(begun_then - begun_now <= 4);  // two tasks a thread: the one that was running, one of an older job
  }
  REQUIRE(
      eventually([&] { return std::any_of(jobs.begin(), jobs.end(), [](const auto& job) { return job->is_finished(); }); }));
  for (const auto& job : jobs) CHECK(job->tasks_run >= kTasks / 2);
  for (const auto& job : jobs) REQUIRE(eventually([&] { return job->is_finished(); }));
}

TEST_CASE("out of memory: an impossible workspace ends the job, the pool goes on") {
  for (const std::size_t bytes : {SIZE_MAX, SIZE_MAX / 2, std::size_t{1} << 60}) {
    for (int threads = 1; threads <= 3; ++threads) {
      for (const std::int64_t tasks : {1, 2, 50}) {
        CheckedJob job({tasks, 3}, threads, bytes);
        ThreadPool::process().run(job, threads);
        CHECK(job.result == JobResult::kOutOfMemory);
        CHECK(job.finishes == 1);
        CHECK(job.tasks_run == 0);
        auto submitted = std::make_shared<CheckedJob>(std::vector<std::int64_t>{tasks}, threads, bytes);
        ThreadPool::process().submit(submitted, threads);
        REQUIRE(eventually([&] { return submitted->is_finished(); }));
        CHECK(submitted->result == JobResult::kOutOfMemory);
        CHECK(submitted->finishes == 1);
        CHECK(submitted->tasks_run == 0);
      }
    }
  }
  CheckedJob good({10}, 2);
  ThreadPool::process().run(good, 2);
  CHECK(good.result == JobResult::kDone);
}

TEST_CASE("out of memory reported by a task or by next_stage ends the job") {
  for (int threads = 1; threads <= 2; ++threads) {
    auto job = make_body_job({1000, 5}, threads, [](CheckedJob& self, std::int64_t task) {
      if (task == 3) self.fail_out_of_memory();
    });
    ThreadPool::process().run(*job, threads);
    CHECK(job->result == JobResult::kOutOfMemory);
    CHECK(job->tasks_run < 1000);
    CHECK(job->finishes == 1);
  }
  struct FailsInNextStage : CheckedJob {
    FailsInNextStage() : CheckedJob({1, 1}, 2) {}
    bool next_stage(Stage* stage) noexcept override {
      if (tasks_run == 1) {
        fail_out_of_memory();
        return false;
      }
      return CheckedJob::next_stage(stage);
    }
  };
  FailsInNextStage job;
  ThreadPool::process().run(job, 2);
  CHECK(job.result == JobResult::kOutOfMemory);
  CHECK(job.tasks_run == 1);
}

TEST_CASE("a submitted job is let go of when it has finished") {
  auto job = std::make_shared<CheckedJob>(std::vector<std::int64_t>{4, 1}, 2);
  const std::weak_ptr<CheckedJob> watch = job;
  ThreadPool::process().submit(std::move(job), 2);
  CHECK(eventually([&] { return watch.expired(); }));
}

TEST_CASE("a job may be run again") {
  struct Again : Job {
    int left = 0;
    std::atomic<int> tasks{0};
    bool next_stage(Stage* stage) noexcept override {
      stage->tasks = 5;
      return left-- > 0;
    }
    void run_task(std::int64_t, std::byte*, int) noexcept override { ++tasks; }
    void finished(JobResult) noexcept override {}
  };
  Again job;
  for (int i = 0; i < 100; ++i) {
    job.left = 2;
    ThreadPool::process().run(job, 1 + i % 3);
  }
  CHECK(job.tasks == 1000);
}

namespace {

std::uint64_t workspace_allocations() {
  for (const auto& [name, count] : read_counters()) {
    if (name == "runtime/workspace-allocations") return count;
  }
  return 0;
}

}  // namespace

TEST_CASE("workspaces: kept from lease to lease, nested leases apart, large ones given back") {
  std::thread([] {
    std::byte* first;
    {
      WorkspaceLease lease;
      CHECK(lease.reserve(100000));
      first = lease.data();
      WorkspaceLease inner;
      CHECK(inner.reserve(1000));
      CHECK(inner.data() != first);
      CHECK(reinterpret_cast<std::uintptr_t>(inner.data()) % 64 == 0);
    }
    const std::uint64_t before = workspace_allocations();
    for (int i = 0; i < 200; ++i) {
      WorkspaceLease lease;
      CHECK(lease.reserve(100000 - static_cast<std::size_t>(i)));
      CHECK(lease.data() == first);
    }
    CHECK(workspace_allocations() == before);

    constexpr std::size_t kLarge = 8 * kRetainedWorkspace;
    const auto lease_of = [](std::size_t bytes) {
      WorkspaceLease lease;
      return lease.reserve(bytes);
    };
    CHECK(lease_of(kLarge));
    for (int i = 0; i < 10; ++i) CHECK(lease_of(1000));
    CHECK(WorkspaceLease::thread_capacity() >= kLarge);  // a small run in between costs nothing
    CHECK(lease_of(kLarge));
    for (int i = 0; i < 100; ++i) CHECK(lease_of(1000));
    CHECK(WorkspaceLease::thread_capacity() < kLarge);  // many in a row do
    CHECK_FALSE(lease_of(SIZE_MAX));
    CHECK(lease_of(1));
  }).join();
}

TEST_CASE("workspaces: the stock") {
  WorkspaceStock stock;
  CHECK(stock.take(1, 0) == nullptr);
  CHECK(stock.missing(3, 100) == 3);
  CHECK(stock.take_too_small(SIZE_MAX) == nullptr);
  CHECK(Workspace::create(SIZE_MAX) == nullptr);
  Workspace* const small = Workspace::create(1000);
  Workspace* const middle = Workspace::create(100000);
  Workspace* const large = Workspace::create(2 * kRetainedWorkspace);
  for (Workspace* block : {small, middle, large}) {
    REQUIRE(block != nullptr);
    CHECK(reinterpret_cast<std::uintptr_t>(block->data) % 64 == 0);
    stock.put_back(block);
  }
  CHECK(stock.missing(3, 100) == 0);
  CHECK(stock.missing(3, 50000) == 1);
  Workspace* const of_seven = stock.take(50000, 7);
  REQUIRE(of_seven != nullptr);
  Workspace* const of_eight = stock.take(50000, 8);
  REQUIRE(of_eight != nullptr);
  CHECK(stock.take(50000, 9) == nullptr);
  stock.put_back(of_seven);
  stock.put_back(of_eight);
  CHECK(stock.take(50000, 7) == of_seven);  // its own again, whatever the order
  stock.put_back(of_seven);
  CHECK(stock.take_too_small(50000) == small);
  CHECK(stock.take_too_small(50000) == nullptr);
  CHECK(stock.take_unused_since(std::chrono::steady_clock::now() - 1h) == nullptr);
  CHECK(stock.take_unused_since(std::chrono::steady_clock::now()) == large);
  CHECK(stock.take(1, 0) == middle);
  for (Workspace* block : {small, middle, large}) Workspace::destroy(block);
}

TEST_CASE("workspaces: from the second run on nothing is allocated, whichever threads come in time") {
  const PoolSize size(4);
  for (const std::size_t bytes : {std::size_t{70000}, std::size_t{3} << 20}) {
    for (int threads = 1; threads <= 4; ++threads) {
      const auto run_once = [&] {
        CheckedJob job({6, 1, 6}, threads, bytes);
        ThreadPool::process().run(job, threads);
        CHECK(job.failure() == "");
      };
      run_once();
      const std::uint64_t before = workspace_allocations();
      for (int i = 0; i < 30; ++i) run_once();
      CHECK(workspace_allocations() == before);
    }
  }
}

TEST_CASE("counters: by name, sorted, without zeros") {
  reset_counters();
  std::atomic<std::uint64_t>* const b = counter("test/b");
  std::atomic<std::uint64_t>* const a = counter("test/a");
  counter("test/zero");
  CHECK(counter("test/b") == b);
  b->fetch_add(2);
  a->fetch_add(1);
  std::vector<std::pair<std::string, std::uint64_t>> mine;
  for (const auto& entry : read_counters()) {
    if (entry.first.rfind("test/", 0) == 0) mine.push_back(entry);
  }
  CHECK(mine == std::vector<std::pair<std::string, std::uint64_t>>{{"test/a", 1}, {"test/b", 2}});
  reset_counters();
  for (const auto& entry : read_counters()) CHECK(entry.first.rfind("test/", 0) != 0);
}

TEST_CASE("buffers: aligned, found by any address inside, recycled") {
  for (const std::size_t bytes : {std::size_t{0}, std::size_t{1}, std::size_t{255}, std::size_t{256}, std::size_t{257},
                                  std::size_t{4097}, std::size_t{1} << 20, (std::size_t{9} << 20) + 1}) {
    const auto buffer = allocate_buffer(bytes);
    REQUIRE(buffer != nullptr);
    CHECK(buffer->bytes() == bytes);
    CHECK(reinterpret_cast<std::uintptr_t>(buffer->data()) % 64 == 0);
    std::memset(buffer->data(), 7, bytes);
    CHECK(find_buffer(buffer->data(), bytes) == buffer);
    CHECK(find_buffer(buffer->data() + bytes, 0) == buffer);
    CHECK(find_buffer(buffer->data() + bytes / 2, bytes - bytes / 2) == buffer);
    CHECK(find_buffer(buffer->data(), bytes + 1) == nullptr);
    CHECK(find_buffer(buffer->data() + bytes / 2, SIZE_MAX) == nullptr);
    CHECK(find_buffer(buffer->data() - 1, 1) != buffer);
  }
  int local = 0;
  CHECK(find_buffer(&local, sizeof local) == nullptr);
  CHECK(find_buffer(nullptr, 0) == nullptr);

  auto buffer = allocate_buffer(100000);
  std::byte* const data = buffer->data();
  buffer.reset();
  CHECK(find_buffer(data, 1) == nullptr);
  const std::uint64_t allocations = buffer_stats().allocations;
  for (int i = 0; i < 10; ++i) {
    buffer = allocate_buffer(100000 - static_cast<std::size_t>(i));
    CHECK(buffer->data() == data);
    buffer.reset();
  }
  CHECK(buffer_stats().allocations == allocations);
}

TEST_CASE("buffers: an impossible size gives nullptr and changes nothing") {
  const BufferStats before = buffer_stats();
  CHECK(allocate_buffer(SIZE_MAX) == nullptr);
#if !defined(CONVTRANSPOSE_SANITIZED)
  CHECK(allocate_buffer(std::size_t{1} << 46) == nullptr);
  CHECK(buffer_stats().allocations == before.allocations);
#endif
  CHECK(buffer_stats().live_bytes == before.live_bytes);
}

TEST_CASE("buffers: what is held for reuse is bounded by the peak and by 256 MiB, and fades") {
  constexpr std::size_t kBlock = std::size_t{16} << 20;
  std::vector<std::shared_ptr<Buffer>> buffers;
  for (int i = 0; i < 24; ++i) buffers.push_back(allocate_buffer(kBlock));
  CHECK(buffer_stats().live_bytes >= 24 * kBlock);
  buffers.clear();
  CHECK(buffer_stats().recycled_bytes <= std::uint64_t{256} << 20);
  CHECK(buffer_stats().recycled_bytes >= std::uint64_t{200} << 20);
  for (int i = 0; i < 3000; ++i) allocate_buffer(4000);
  CHECK(buffer_stats().recycled_bytes <= std::uint64_t{1} << 20);
}

TEST_CASE("buffers: many threads at once") {
  const std::uint64_t live = buffer_stats().live_bytes;
  std::atomic<int> failures{0};
  std::vector<std::thread> threads;
  for (int t = 0; t < 4; ++t) {
    threads.emplace_back([&, t] {
      std::vector<std::shared_ptr<Buffer>> mine;
      for (int i = 0; i < 2000; ++i) {
        const std::size_t bytes = static_cast<std::size_t>((i * 37 + t * 101) % 5000);
        mine.push_back(allocate_buffer(bytes));
        std::memset(mine.back()->data(), t, bytes);
        const auto& other = mine[static_cast<std::size_t>(i * 7) % mine.size()];
        if (find_buffer(other->data(), other->bytes()) != other) ++failures;
        for (std::size_t k = 0; k < other->bytes(); ++k) {
          if (other->data()[k] != static_cast<std::byte>(t)) {
            ++failures;
            break;
          }
        }
        if (mine.size() > 50) mine.erase(mine.begin() + (i * 13) % 50);
      }
    });
  }
  for (std::thread& thread : threads) thread.join();
  CHECK(failures == 0);
  CHECK(buffer_stats().live_bytes == live);
}

TEST_CASE("cpu: what is detected makes sense and is stable") {
  const CpuInfo& info = cpu_info();
  CHECK(&info == &cpu_info());
  REQUIRE(!info.supported.empty());
  CHECK(info.supported.front() == Isa::kBaseline);
  CHECK(std::is_sorted(info.supported.begin(), info.supported.end()));
  CHECK(info.processors >= 1);
  CHECK(info.default_threads >= 1);
  CHECK(info.default_threads <= info.processors);
  CHECK(info.caches.l1d >= 4096);
  CHECK(info.caches.l2 >= info.caches.l1d);
  CHECK(info.caches.line >= 16);
  const auto has = [&](const char* name) {
    return std::find(info.features.begin(), info.features.end(), name) != info.features.end();
  };
#if defined(__x86_64__)
  CHECK(info.arch == "x64");
  CHECK(has("sse2"));
  __builtin_cpu_init();  // the compiler's own detection
  CHECK(has("avx2") == (__builtin_cpu_supports("avx2") != 0));
  CHECK(has("fma") == (__builtin_cpu_supports("fma") != 0));
  CHECK(has("avx512f") == (__builtin_cpu_supports("avx512f") != 0));
  CHECK(has("avx512vl") == (__builtin_cpu_supports("avx512vl") != 0));
  const auto supports = [&](Isa isa) {
    return std::find(info.supported.begin(), info.supported.end(), isa) != info.supported.end();
  };
  if (supports(Isa::kAmx)) {
    CHECK(supports(Isa::kAvx512));
    for (const char* needed : {"amx-tile", "amx-bf16", "avx512bf16"}) CHECK(has(needed));
  }
#elif defined(__aarch64__)
  CHECK(info.arch == "arm64");
  CHECK(has("neon"));
  CHECK(info.supported == std::vector<Isa>{Isa::kBaseline, Isa::kNeon});
#endif
}

TEST_CASE("CONVTRANSPOSE_ISA: caps to what the machine supports, anything else is an error") {
  const std::vector<Isa> x86 = {Isa::kBaseline, Isa::kAvx2, Isa::kAvx512};
  const std::vector<Isa> new_x86 = {Isa::kBaseline, Isa::kAvx2, Isa::kAvx512, Isa::kAmx};
  const std::vector<Isa> old_x86 = {Isa::kBaseline};
  const std::vector<Isa> arm = {Isa::kBaseline, Isa::kNeon};
  struct Case {
    const char* text;
    const std::vector<Isa>* supported;
    bool ok;
    Isa isa;
  };
  const Case cases[] = {
      {nullptr, &x86, true, Isa::kAvx512},
      {"", &x86, true, Isa::kAvx512},
      {"baseline", &x86, true, Isa::kBaseline},
      {"avx2", &x86, true, Isa::kAvx2},
      {"avx512", &x86, true, Isa::kAvx512},
      {"amx", &x86, false, {}},
      {nullptr, &new_x86, true, Isa::kAmx},
      {"amx", &new_x86, true, Isa::kAmx},
      {"avx512", &new_x86, true, Isa::kAvx512},
      {"avx2", &new_x86, true, Isa::kAvx2},
      {"amx-bf16", &new_x86, false, {}},
      {"neon", &x86, false, {}},
      {"AVX2", &x86, false, {}},
      {"avx", &x86, false, {}},
      {" avx2", &x86, false, {}},
      {"avx2 ", &x86, false, {}},
      {nullptr, &old_x86, true, Isa::kBaseline},
      {"avx2", &old_x86, false, {}},
      {"avx512", &old_x86, false, {}},
      {"amx", &old_x86, false, {}},
      {nullptr, &arm, true, Isa::kNeon},
      {"neon", &arm, true, Isa::kNeon},
      {"baseline", &arm, true, Isa::kBaseline},
      {"avx2", &arm, false, {}},
      {"amx", &arm, false, {}},
  };
  for (const Case& one : cases) {
    CAPTURE(std::string(one.text == nullptr ? "(none)" : one.text));
    Isa isa{};
    const Status status = parse_isa_cap(one.text, *one.supported, &isa);
    CHECK(status.ok() == one.ok);
    if (one.ok) {
      CHECK(isa == one.isa);
    } else {
      CHECK(status.code == StatusCode::kInvalidArgument);
      CHECK(std::string(status.argument) == "CONVTRANSPOSE_ISA");
      CHECK(status.message.find(one.text) != std::string::npos);
      for (const Isa isa : *one.supported) CHECK(status.message.find(isa_name(isa)) != std::string::npos);
    }
  }
}

#if defined(__x86_64__)
TEST_CASE("CONVTRANSPOSE_ISA: a set below AMX keeps the process from asking for it") {
  CpuInfo uncapped;
  detect_instruction_sets(&uncapped, nullptr);
  const std::vector<Isa>& all = uncapped.supported;
  for (const char* const cap : {"baseline", "avx2", "avx512", "amx", "", "nonsense"}) {
    CAPTURE(std::string(cap));
    const bool named = std::any_of(all.begin(), all.end(), [&](Isa isa) { return std::string(cap) == isa_name(isa); });
    std::vector<Isa> expected = all;
    if (named && std::string(cap) != "amx" && expected.back() == Isa::kAmx) expected.pop_back();
    CpuInfo info;
    detect_instruction_sets(&info, cap);
    CHECK(info.supported == expected);
  }
}
#endif

TEST_CASE("CONVTRANSPOSE_NUM_THREADS: an integer from 1 to 1024") {
  for (const char* good : {"1", "2", "16", "1024", "007"}) {
    int threads = -1;
    CHECK(parse_thread_count(good, &threads).ok());
    CHECK(threads == std::atoi(good));
  }
  for (const char* unset : {static_cast<const char*>(nullptr), ""}) {
    int threads = 5;
    CHECK(parse_thread_count(unset, &threads).ok());
    CHECK(threads == 5);
  }
  for (const char* bad : {"0", "-1", "1025", "99999999999999999999", "2.5", " 2", "2 ", "0x10", "two", "+2", "1e1"}) {
    int threads = 5;
    const Status status = parse_thread_count(bad, &threads);
    CHECK(status.code == StatusCode::kInvalidArgument);
    CHECK(std::string(status.argument) == "CONVTRANSPOSE_NUM_THREADS");
    CHECK(threads == 5);
  }
}

TEST_CASE("threads_for: affinity and quota, rounded up, at least one") {
  CHECK(threads_for(8, 0) == 8);
  CHECK(threads_for(8, 2) == 2);
  CHECK(threads_for(8, 2.1) == 3);
  CHECK(threads_for(8, 0.1) == 1);
  CHECK(threads_for(2, 64) == 2);
  CHECK(threads_for(0, 0) == 1);
}

#if defined(__linux__)

namespace {

// A made-up file system.
class Tree {
 public:
  Tree() {
    static std::atomic<int> number{0};
    root_ = std::filesystem::temp_directory_path() /
            ("convtranspose-tree-" + std::to_string(getpid()) + "-" + std::to_string(number++));
  }
  ~Tree() { std::filesystem::remove_all(root_); }
  Tree& file(const std::string& path, const std::string& text) {
    const std::filesystem::path full = root_.string() + path;
    std::filesystem::create_directories(full.parent_path());
    std::ofstream(full) << text;
    return *this;
  }
  std::string root() const { return root_.string(); }

 private:
  std::filesystem::path root_;
};

const char* const kMountV2 = "30 23 0:26 / /sys/fs/cgroup rw,nosuid shared:4 - cgroup2 cgroup2 rw,nsdelegate\n";
const char* const kMountV1 =
    "22 1 8:1 / / rw - ext4 /dev/sda1 rw\n"
    "31 23 0:27 / /sys/fs/cgroup/memory rw - cgroup cgroup rw,memory\n"
    "32 23 0:28 / /sys/fs/cgroup/cpu,cpuacct rw shared:9 master:2 - cgroup cgroup rw,cpu,cpuacct\n";

}  // namespace

TEST_CASE("cgroup v2: the smallest quota of the group and its ancestors") {
  Tree tree;
  tree.file("/proc/self/cgroup", "0::/a/b/c\n").file("/proc/self/mountinfo", kMountV2);
  CHECK(cgroup_quota(tree.root()) == 0);
  tree.file("/sys/fs/cgroup/a/b/c/cpu.max", "max 100000\n");
  CHECK(cgroup_quota(tree.root()) == 0);
  tree.file("/sys/fs/cgroup/a/b/c/cpu.max", "400000 100000\n");
  CHECK(cgroup_quota(tree.root()) == 4);
  tree.file("/sys/fs/cgroup/a/cpu.max", "150000 100000\n");
  CHECK(cgroup_quota(tree.root()) == 1.5);
  tree.file("/sys/fs/cgroup/cpu.max", "20000 40000\n");
  CHECK(cgroup_quota(tree.root()) == 0.5);
  tree.file("/sys/fs/cgroup/a/b/other/cpu.max", "1000 100000\n");
  CHECK(cgroup_quota(tree.root()) == 0.5);
}

TEST_CASE("cgroup v2: inside a container") {
  Tree own_namespace;
  own_namespace.file("/proc/self/cgroup", "0::/\n").file("/proc/self/mountinfo", kMountV2);
  own_namespace.file("/sys/fs/cgroup/cpu.max", "250000 100000\n");
  CHECK(cgroup_quota(own_namespace.root()) == 2.5);

  Tree host_names;
  host_names.file("/proc/self/cgroup", "0::/docker/abc/x\n");
  host_names.file("/proc/self/mountinfo", "30 23 0:26 /docker/abc /sys/fs/cgroup rw - cgroup2 cgroup rw\n");
  host_names.file("/sys/fs/cgroup/x/cpu.max", "300000 100000\n").file("/sys/fs/cgroup/cpu.max", "700000 100000\n");
  CHECK(cgroup_quota(host_names.root()) == 3);

  Tree outside;
  outside.file("/proc/self/cgroup", "0::/../other\n").file("/proc/self/mountinfo", kMountV2);
  outside.file("/sys/fs/cgroup/cpu.max", "100000 100000\n").file("/sys/fs/other/cpu.max", "1 100000\n");
  CHECK(cgroup_quota(outside.root()) == 1);
}

TEST_CASE("cgroup v1: quota and period, also nested, also beside v2") {
  Tree tree;
  tree.file("/proc/self/cgroup", "9:memory:/m\n4:cpu,cpuacct:/jobs/one\n0::/unified\n")
      .file("/proc/self/mountinfo", kMountV1);
  CHECK(cgroup_quota(tree.root()) == 0);
  const std::string folder = "/sys/fs/cgroup/cpu,cpuacct/jobs";
  tree.file(folder + "/one/cpu.cfs_quota_us", "-1\n").file(folder + "/one/cpu.cfs_period_us", "100000\n");
  CHECK(cgroup_quota(tree.root()) == 0);
  tree.file(folder + "/cpu.cfs_quota_us", "350000\n").file(folder + "/cpu.cfs_period_us", "100000\n");
  CHECK(cgroup_quota(tree.root()) == 3.5);
  tree.file("/proc/self/mountinfo", std::string(kMountV1) + kMountV2);
  tree.file("/sys/fs/cgroup/unified/cpu.max", "200000 100000\n");
  CHECK(cgroup_quota(tree.root()) == 2);
}

TEST_CASE("cgroups: odd paths and broken files are no limit and no crash") {
  Tree tree;
  CHECK(cgroup_quota(tree.root()) == 0);
  tree.file("/proc/self/cgroup", "\nnonsense\n1:\n0::/with:colon and space\n");
  tree.file("/proc/self/mountinfo", "\nshort line\n30 23 0:26 / /mnt/cg\\040roup rw - cgroup2 none rw\n31 - -\n");
  CHECK(cgroup_quota(tree.root()) == 0);
  tree.file("/mnt/cg roup/with:colon and space/cpu.max", "500000 100000\n");
  CHECK(cgroup_quota(tree.root()) == 5);
  for (const char* broken : {"", "max", "100000", "0 100000", "-5 100000", "5 0", "a b", "nan 100000", "inf 1", "1 2 3"}) {
    tree.file("/mnt/cg roup/with:colon and space/cpu.max", broken);
    CHECK(cgroup_quota(tree.root()) == 0);
  }
}

TEST_CASE("caches: read from sysfs, defaults where it is silent") {
  CHECK(parse_cache_size("32K") == 32768);
  CHECK(parse_cache_size("32M") == std::size_t{32} << 20);
  CHECK(parse_cache_size("65536") == 65536);
  for (const char* bad : {"", "K", "-1K", "32KB", "x", "99999999999999999999"}) CHECK(parse_cache_size(bad) == 0);

  Tree tree;
  CacheInfo caches;
  CHECK_FALSE(caches_from_sysfs(tree.root(), &caches));
  CHECK(caches.l1d == CacheInfo().l1d);
  const auto cache = [&](int index, const char* level, const char* type, const char* size) {
    const std::string folder = "/sys/devices/system/cpu/cpu0/cache/index" + std::to_string(index) + "/";
    tree.file(folder + "level", level).file(folder + "type", type).file(folder + "size", size);
    tree.file(folder + "coherency_line_size", "128\n");
  };
  cache(0, "1\n", "Data\n", "48K\n");
  cache(1, "1\n", "Instruction\n", "64K\n");
  cache(2, "2\n", "Unified\n", "2048K\n");
  cache(3, "3\n", "Unified\n", "0K\n");
  CHECK(caches_from_sysfs(tree.root(), &caches));
  CHECK(caches.l1d == 48 * 1024);
  CHECK(caches.l2 == 2048 * 1024);
  CHECK(caches.l3 == 0);
  CHECK(caches.line == 128);
}

TEST_CASE("pool threads have names, and signals are not theirs") {
  struct Seen {
    std::mutex mutex;
    std::set<std::string> names;
    bool blocked = true;
  } seen;
  auto job = make_body_job({20}, 2, [&seen](CheckedJob&, std::int64_t) {
    char name[32] = {};
    pthread_getname_np(pthread_self(), name, sizeof name);
    sigset_t mask;
    pthread_sigmask(SIG_BLOCK, nullptr, &mask);
    const std::lock_guard<std::mutex> lock(seen.mutex);
    seen.names.insert(name);
    for (const int signal : {SIGINT, SIGTERM, SIGCHLD, SIGUSR1, SIGPROF}) seen.blocked &= sigismember(&mask, signal) == 1;
  });
  ThreadPool::process().submit(job, 2);
  REQUIRE(eventually([&] { return job->is_finished(); }));
  CHECK(seen.blocked);
  REQUIRE(!seen.names.empty());
  for (const std::string& name : seen.names) CHECK(name.rfind("convtransp", 0) == 0);
}

#if !defined(CONVTRANSPOSE_SANITIZED)

namespace {

// Exit code of a child that runs `body` after a fork.
template <typename Body>
int in_child(Body body) {
  const pid_t child = fork();
  if (child == 0) _exit(body());
  int status = 0;
  const auto end = std::chrono::steady_clock::now() + 60s;
  while (waitpid(child, &status, WNOHANG) == 0) {
    if (std::chrono::steady_clock::now() > end) {
      kill(child, SIGKILL);
      waitpid(child, &status, 0);
      return -2;
    }
    std::this_thread::sleep_for(1ms);
  }
  return WIFEXITED(status) ? WEXITSTATUS(status) : -1;
}

}  // namespace

TEST_CASE("fork: the pool works in the child and in the parent, whatever was in flight") {
  const PoolSize size(3);
  std::atomic<bool> stop{false};
  auto busy = make_body_job({1000000}, 3, [&stop](CheckedJob& job, std::int64_t) {
    if (stop) job.abort();
  });
  ThreadPool::process().submit(busy, 3);
  std::thread allocating([&stop] {
    while (!stop) allocate_buffer(5000);
  });
  for (int i = 0; i < 20; ++i) {
    const int code = in_child([] {
      CheckedJob job({50, 1, 50}, 3);
      ThreadPool::process().run(job, 3);
      if (job.failure() != "" || job.result != JobResult::kDone) return 1;
      auto submitted = std::make_shared<CheckedJob>(std::vector<std::int64_t>{50, 3}, 3);
      ThreadPool::process().submit(submitted, 0);
      if (!eventually([&] { return submitted->is_finished(); }) || submitted->failure() != "") return 2;
      if (allocate_buffer(10000) == nullptr) return 3;
      counter("test/child")->fetch_add(1);
      return 0;
    });
    CHECK(code == 0);
  }
  stop = true;
  allocating.join();
  REQUIRE(eventually([&] { return busy->is_finished(); }));
  CHECK(busy->failure() == "");
}

TEST_CASE("out of memory: threads without a workspace stand aside, one that has it does the job") {
  constexpr int kLimitIgnored = 77;  // emulators do that
  const int code = in_child([] {
    constexpr std::size_t kWorkspace = std::size_t{512} << 20;
    {
      WorkspaceLease lease;  // the caller's block is there before memory runs short
      if (!lease.reserve(kWorkspace)) return 9;
    }
    CheckedJob warm({8}, 4);
    ThreadPool::process().run(warm, 4);
    std::ifstream pages("/proc/self/statm");
    std::size_t total = 0;
    pages >> total;
    const rlim_t limit = total * static_cast<std::size_t>(getpagesize()) + kWorkspace / 2;
    const rlimit address_space{limit, limit};
    if (setrlimit(RLIMIT_AS, &address_space) != 0) return 9;
    if (Workspace* const beyond = Workspace::create(kWorkspace)) {
      Workspace::destroy(beyond);
      return kLimitIgnored;
    }
    struct Large : Job {
      std::atomic<int> tasks{0};
      JobResult result{};
      std::thread::id caller = std::this_thread::get_id();
      std::atomic<bool> elsewhere{false};
      int stages = 2;
      bool next_stage(Stage* stage) noexcept override {
        stage->tasks = 30;
        stage->workspace_bytes = kWorkspace;
        return stages-- > 0;
      }
      void run_task(std::int64_t, std::byte* workspace, int) noexcept override {
        if (std::this_thread::get_id() != caller) elsewhere = true;
        workspace[kWorkspace - 1] = std::byte{1};
        std::this_thread::sleep_for(300us);
        ++tasks;
      }
      void finished(JobResult outcome) noexcept override { result = outcome; }
    };
    Large job;
    ThreadPool::process().run(job, 4);
    if (job.result != JobResult::kDone || job.tasks != 60) return 1;
    if (job.elsewhere) return 2;
    // Pool threads alone cannot.
    auto submitted = std::make_shared<CheckedJob>(std::vector<std::int64_t>{30}, 4, kWorkspace);
    ThreadPool::process().submit(submitted, 4);
    if (!eventually([&] { return submitted->is_finished(); })) return 3;
    if (submitted->result != JobResult::kOutOfMemory || submitted->tasks_run != 0) return 4;
    CheckedJob small({30}, 4);
    ThreadPool::process().run(small, 4);
    return small.result == JobResult::kDone && small.failure() == "" ? 0 : 5;
  });
  if (code == kLimitIgnored) {
    MESSAGE("skipped: the limit on the address space is not enforced here");
  } else {
    CHECK(code == 0);
  }
}

TEST_CASE("no thread can be started: a run does without, a submitted job ends as out of memory") {
  const int code = in_child([] {
    // The limit on threads does not bind root.
    if (geteuid() == 0 && setuid(65534) != 0) return 9;
    const rlimit none{0, 0};
    if (setrlimit(RLIMIT_NPROC, &none) != 0) return 9;
    CheckedJob job({30, 4}, 4);
    ThreadPool::process().run(job, 4);
    if (job.result != JobResult::kDone || job.failure() != "" || job.ran_on.size() != 1) return 1;
    auto submitted = std::make_shared<CheckedJob>(std::vector<std::int64_t>{3}, 2);
    ThreadPool::process().submit(submitted, 2);
    if (submitted->finishes != 1 || submitted->result != JobResult::kOutOfMemory) return 2;
    return 0;
  });
  CHECK(code == 0);
}

#endif
#endif
