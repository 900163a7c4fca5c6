// No memory at each single allocation that the core makes: every call says so or succeeds, nothing is lost, and the same
// objects work as before once there is memory again.
#include <doctest/doctest.h>

#include <algorithm>
#include <condition_variable>
#include <cstring>
#include <functional>
#include <memory>
#include <mutex>
#include <string>
#include <vector>

#include "definition.h"
#include "failing_allocations.h"
#include "include/convtranspose.h"
#include "plan/planner.h"

namespace convtranspose {
namespace {

using Mode = FailingAllocations::Mode;

Problem problem_2d(std::int64_t in_channels, std::int64_t out_channels, std::int64_t size, std::int64_t kernel,
                   std::int64_t stride) {
  Problem p;
  p.layer.in_channels = in_channels;
  p.layer.out_channels = out_channels;
  p.layer.kernel = {1, kernel, kernel};
  p.layer.stride = {1, stride, stride};
  p.layer.has_bias = true;
  p.call.in = {1, size, size};
  p.call.out = {1, (size - 1) * stride + kernel, (size - 1) * stride + kernel};
  return p;
}

// One that each algorithm of the list runs, if there is one.
std::vector<Problem> problems_for_all_algorithms() {
  std::vector<Problem> problems;
  for (const Algorithm* algorithm : algorithm_list()) {
    for (Problem p : {problem_2d(16, 16, 9, 2, 2), problem_2d(8, 1, 20, 4, 2), problem_2d(12, 24, 12, 3, 1),
                      problem_2d(20, 24, 3, 4, 2), problem_2d(32, 32, 16, 3, 1), problem_2d(4, 4, 3, 32, 16),
                      problem_2d(3, 5, 33, 3, 1), problem_2d(32, 2, 12, 4, 2)}) {
      p.call.algorithm = algorithm->choice();
      std::shared_ptr<const Plan> plan;
      const bool planned =
          make_plan(p, WeightFacts{}, active_kernels(), cpu_info().caches, &plan).ok() && plan->algorithm == algorithm;
      if (!planned) continue;
      problems.push_back(p);
      break;
    }
  }
  return problems;
}

// Where an infinity stands.
enum class Infinity { kNowhere, kWeights, kInput };

Values values_for(const Problem& p, Infinity infinity) {
  Values v;
  v.x.resize(static_cast<std::size_t>(p.src_elements()));
  v.w.resize(static_cast<std::size_t>(p.weights_elements()));
  v.b.assign(static_cast<std::size_t>(p.layer.out_channels), 0.5f);
  for (std::size_t i = 0; i < v.x.size(); ++i) v.x[i] = static_cast<float>(i * 7 % 13) - 6.0f;
  for (std::size_t i = 0; i < v.w.size(); ++i) v.w[i] = static_cast<float>(i * 5 % 11) - 5.0f;
  if (infinity == Infinity::kWeights) v.w[0] = std::numeric_limits<float>::infinity();
  if (infinity == Infinity::kInput) v.x[0] = std::numeric_limits<float>::infinity();
  return v;
}

// Waits for a job.
struct Settled {
  std::mutex mutex;
  std::condition_variable changed;
  bool done = false;
  Status status;

  void set(const Status& given) {
    const std::lock_guard<std::mutex> lock(mutex);
    status = given;
    done = true;
    changed.notify_one();
  }
  Status wait() {
    std::unique_lock<std::mutex> lock(mutex);
    changed.wait(lock, [this] { return done; });
    return status;
  }
};

// Runs `attempt` again and again, each time with another of its allocations failing, until it makes none that could fail.
// It says whether it did what it should (true) or ran out of memory (false). Returns how often it ran out.
int at_every_allocation(Mode mode, const std::function<bool()>& attempt) {
  int failures = 0;
  for (std::int64_t number = 1;; ++number) {
    REQUIRE(number < 20000);
    bool done = false;
    std::int64_t count = 0;
    {
      const FailingAllocations failing(number, mode);
      done = attempt();
      count = failing.count();
    }
    if (!done) ++failures;
    if (count < number) {
      REQUIRE(done);
      return failures;
    }
  }
}

bool done_or_out_of_memory(const Status& status) {
  if (!status.ok() && status.code != StatusCode::kOutOfMemory) FAIL("status " << static_cast<int>(status.code));
  return status.ok();
}

TEST_CASE("no memory: layers, plans, runs and jobs of every algorithm") {
  const std::vector<Problem> problems = problems_for_all_algorithms();
  // All but those of AMX run everywhere.
  std::size_t runnable = 0;
  for (const Algorithm* algorithm : algorithm_list()) {
    if (active_kernels().terms != nullptr || algorithm->choice() != AlgorithmChoice::kAmx) ++runnable;
  }
  REQUIRE(problems.size() == runnable);
  const std::uint64_t live = buffer_stats().live_bytes;
  int failures = 0;
  for (const Problem& p : problems) {
    for (const Infinity infinity : {Infinity::kNowhere, Infinity::kWeights, Infinity::kInput}) {
      // Some decline such weights, and refuse such an input when they meet it: another plan, other memory.
      const bool finite_only = p.call.algorithm == AlgorithmChoice::kWinograd || p.call.algorithm == AlgorithmChoice::kAmx;
      if (infinity == (finite_only ? Infinity::kWeights : Infinity::kInput)) continue;
      INFO(describe(p) << " " << std::string(choice_word(p.call.algorithm)));
      const Values v = values_for(p, infinity);
      const auto make_layer = [&](std::shared_ptr<Layer>* layer) {
        return Layer::create(p.layer, v.w.data(), v.b.data(), layer);
      };
      std::shared_ptr<Layer> whole;
      REQUIRE(make_layer(&whole).ok());
      std::vector<float> expected(static_cast<std::size_t>(p.dst_elements()));
      REQUIRE(whole->run(p.call, {v.x.data(), expected.data()}, 1).ok());
      std::vector<float> y(expected.size());
      const auto right = [&] { return std::memcmp(y.data(), expected.data(), y.size() * sizeof(float)) == 0; };

      for (const Mode mode : {Mode::kOne, Mode::kAllFrom}) {
        std::shared_ptr<Layer> layer;
        failures += at_every_allocation(mode, [&] { return done_or_out_of_memory(make_layer(&layer)); });

        // From a new layer to its first output, and again on what that has left behind.
        for (const int threads : {1, 3}) {
          failures += at_every_allocation(mode, [&] {
            layer.reset();
            if (!done_or_out_of_memory(make_layer(&layer))) return false;
            Explanation explanation;
            if (!done_or_out_of_memory(layer->explain(p.call, &explanation))) return false;
            if (!done_or_out_of_memory(layer->prepare(p.call))) return false;
            std::fill(y.begin(), y.end(), -7.0f);
            return done_or_out_of_memory(layer->run(p.call, {v.x.data(), y.data()}, threads)) && right();
          });
          REQUIRE(make_layer(&layer).ok());
          failures += at_every_allocation(mode, [&] {
            return done_or_out_of_memory(layer->run(p.call, {v.x.data(), y.data()}, threads));
          });
          REQUIRE(layer->run(p.call, {v.x.data(), y.data()}, threads).ok());
          REQUIRE(right());
        }

        // Jobs. The pool's own threads and workspaces are at rest.
        failures += at_every_allocation(mode, [&] {
          layer.reset();
          if (!done_or_out_of_memory(make_layer(&layer))) return false;
          Settled settled;
          std::fill(y.begin(), y.end(), -7.0f);
          const std::shared_ptr<Job> job = Layer::start(layer, p.call, true, {v.x.data(), y.data()}, 2,
                                                        [&settled](const Status& status) { settled.set(status); });
          return done_or_out_of_memory(settled.wait()) && right();
        });
        REQUIRE(layer->run(p.call, {v.x.data(), y.data()}, 2).ok());
        REQUIRE(right());
      }
    }
  }
  CHECK(failures > 1000);
  CHECK(buffer_stats().live_bytes == live);
}

TEST_CASE("no memory: buffers and counters") {
  const BufferStats before = buffer_stats();
  for (const Mode mode : {Mode::kOne, Mode::kAllFrom}) {
    for (const std::size_t bytes : {std::size_t{100}, std::size_t{70000}, std::size_t{12} << 20}) {
      std::shared_ptr<Buffer> buffer;
      const int failures = at_every_allocation(mode, [&] {
        buffer.reset();
        buffer = allocate_buffer(bytes);
        return buffer != nullptr;
      });
      CHECK(failures > 0);
      CHECK(find_buffer(buffer->data(), bytes) == buffer);
      std::memset(buffer->data(), 1, bytes);
    }
  }
  CHECK(buffer_stats().live_bytes == before.live_bytes);
}

TEST_CASE("no memory: validation still refuses what is wrong, or says that there is no memory") {
  Problem p = problem_2d(4, 4, 4, 3, 2);
  p.layer.groups = 3;
  const std::vector<float> w(1000);
  at_every_allocation(Mode::kAllFrom, [&] {
    std::shared_ptr<Layer> layer;
    const Status status = Layer::create(p.layer, w.data(), w.data(), &layer);
    REQUIRE(layer == nullptr);
    return status.code == StatusCode::kInvalidArgument;
  });
}

}  // namespace
}  // namespace convtranspose
