// Does the planner choose well? Runs every algorithm that accepts a layer, interleaved, and prints where another one than
// the chosen is faster by more than a limit:
//
//   choice_bench [options] [layer | "problem"]...
//
// Layers as for layer_bench. One thread, weights packed beforehand; the reference takes no part. Beside the measured time
// stands the estimate of the cost model, so that what is wrong can be seen: only the ratios of estimates decide. The column
// `plan` is the time in which the planner chose, the median of some times: what a new shape costs before it runs.
#include <getopt.h>

#include <algorithm>
#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <memory>
#include <string>
#include <vector>

#include "include/convtranspose.h"
#include "kernels/registry.h"
#include "plan/planner.h"
#include "problem_text.h"
#include "random_floats.h"

namespace convtranspose::bench {
namespace {

using Clock = std::chrono::steady_clock;

constexpr const char* kUsage =
    "usage: choice_bench [options] [layer | \"problem\"]...\n"
    "  a layer is a name of the suite (* and ? match), a problem is \"n1 c64 o32 i16x16 k4 s2 p1 op0 d1 g1\"\n"
    "  --seconds S        time for each layer, all algorithms together (1)\n"
    "  --limit P          a choice is wrong if another one is faster by more than P per cent of the best (5)\n"
    "  --isa NAME         as CONVTRANSPOSE_ISA: baseline, avx2, avx512, amx, neon\n"
    "  --precision NAME   highest, high, medium\n"
    "  --channels-last    input and output in [N, ..., C] order\n"
    "  --suite FILE       lines of \"name problem\"\n";

struct Options {
  double seconds = 1;
  double limit = 5;
  Precision precision = Precision::kHighest;
  MemoryFormat format = MemoryFormat::kContiguous;
  std::string suite = CONVTRANSPOSE_SUITE;
};

[[noreturn]] void fail(const std::string& message) {
  std::fprintf(stderr, "choice_bench: %s\n", message.c_str());
  std::exit(1);
}

// One algorithm's plan of a layer with all that a run needs.
class Candidate {
 public:
  Candidate(std::shared_ptr<const Plan> plan, const float* src, const float* weights, float* dst)
      : plan_(std::move(plan)),
        packed_(form() == nullptr ? 0 : form()->elements()),
        workspace_(floats(execution().workspace_bytes())),
        shared_(floats(execution().shared_bytes())) {
    if (form() != nullptr) pack_all(*form(), weights, packed_.data());
    args_.src = src;
    args_.dst = dst;
    args_.bias = nullptr;
    args_.weights = form() == nullptr ? weights : packed_.data();
    args_.raw_weights = weights;
    args_.shared = reinterpret_cast<std::byte*>(shared_.data());
  }

  // Seconds of one run of all its stages on this thread.
  double run() {
    std::int64_t tag = -1;
    KernelSet used;
    const Clock::time_point start = Clock::now();
    for (int stage = 0; stage < execution().stages(); ++stage) {
      for (std::int64_t task = 0; task < execution().tasks(stage); ++task) {
        execution().run_task(args_, stage, task, {reinterpret_cast<std::byte*>(workspace_.data()), &tag, &used});
      }
    }
    return std::chrono::duration<double>(Clock::now() - start).count();
  }

  // Runs for a turn of `seconds`, once at least, and keeps the fastest run. Returns the seconds that were spent.
  double turn(double seconds) {
    double spent = 0;
    do {
      const double time = run();
      best = std::min(best, time);
      spent += time;
    } while (spent < seconds);
    return spent;
  }

  const char* name() const { return plan_->algorithm->name(); }
  double estimate() const { return execution().estimated_seconds; }
  double best = 1e30;

 private:
  const Execution& execution() const { return *plan_->execution; }
  const PackedForm* form() const { return execution().packed_form(); }
  static std::int64_t floats(std::size_t bytes) { return static_cast<std::int64_t>(bytes / sizeof(float) + 1); }

  std::shared_ptr<const Plan> plan_;
  Floats packed_, workspace_, shared_;
  RunArgs args_{};
};

// The plan that the planner makes, and the median of the microseconds that it takes.
std::shared_ptr<const Plan> plan_of(const NamedProblem& named, const Problem& problem, const KernelTable& table,
                                    double* microseconds) {
  constexpr std::size_t kTimes = 21;
  std::shared_ptr<const Plan> plan;
  std::vector<double> times;
  while (times.size() < kTimes) {
    const Clock::time_point start = Clock::now();
    const Status status = make_plan(problem, WeightFacts{}, table, cpu_info().caches, &plan);
    times.push_back(std::chrono::duration<double, std::micro>(Clock::now() - start).count());
    if (!status.ok()) fail(named.name + ": " + status.message);
  }
  std::sort(times.begin(), times.end());
  *microseconds = times[kTimes / 2];
  return plan;
}

// Per cent by which the chosen algorithm is slower than the best; 0 if it is the best.
double bench(const NamedProblem& named, const KernelTable& table, const Options& options) {
  Problem problem{named.layer, named.call};
  problem.call.precision = options.precision;
  problem.call.format = options.format;
  const Floats src(problem.src_elements(), 1), weights(problem.weights_elements(), 2);
  Floats dst(problem.dst_elements());
  const CacheInfo& caches = cpu_info().caches;
  double planning;
  std::shared_ptr<const Plan> plan = plan_of(named, problem, table, &planning);
  const std::string chosen = plan->algorithm->name();
  std::vector<std::unique_ptr<Candidate>> candidates;
  for (const Algorithm* algorithm : algorithm_list()) {
    if (algorithm->choice() == AlgorithmChoice::kReference && chosen != algorithm->name()) continue;
    if (!make_plan_with(problem, *algorithm, WeightFacts{}, table, caches, &plan).ok()) continue;
    candidates.push_back(std::make_unique<Candidate>(plan, src.data(), weights.data(), dst.data()));
  }
  constexpr double kTurnSeconds = 0.02;
  constexpr int kLeastRounds = 3;
  for (auto& candidate : candidates) candidate->run();
  double spent = 0;
  for (int round = 0; round < kLeastRounds || spent < options.seconds; ++round) {
    for (auto& candidate : candidates) spent += candidate->turn(kTurnSeconds);
  }
  std::sort(candidates.begin(), candidates.end(), [](const auto& a, const auto& b) { return a->best < b->best; });
  const auto taken = std::find_if(candidates.begin(), candidates.end(), [&](const auto& c) { return c->name() == chosen; });
  if (taken == candidates.end()) fail(named.name + ": " + chosen + " was chosen, but cannot be planned by itself");
  const double loss = 100 * ((*taken)->best / candidates.front()->best - 1);
  std::printf("%-19s %-18s %6.0f %5.1f%% %-6s", named.name.c_str(), chosen.c_str(), planning, loss,
              loss > options.limit ? "WRONG" : "");
  for (const auto& candidate : candidates) {
    std::printf("  %s %.3f (%.3f)", candidate->name(), candidate->best * 1e3, candidate->estimate() * 1e3);
  }
  std::printf("\n");
  std::fflush(stdout);
  return loss;
}

Precision precision_named(const char* text) {
  constexpr std::pair<const char*, Precision> kPrecisions[] = {
      {"highest", Precision::kHighest}, {"high", Precision::kHigh}, {"medium", Precision::kMedium}};
  for (const auto& [name, value] : kPrecisions) {
    if (std::strcmp(name, text) == 0) return value;
  }
  fail(std::string("--precision: unknown name \"") + text + "\"");
}

Options parse_options(int argc, char** argv) {
  enum { kSeconds = 1, kLimit, kIsa, kPrecision, kChannelsLast, kSuite, kHelp };
  const option longs[] = {{"seconds", required_argument, nullptr, kSeconds},
                          {"limit", required_argument, nullptr, kLimit},
                          {"isa", required_argument, nullptr, kIsa},
                          {"precision", required_argument, nullptr, kPrecision},
                          {"channels-last", no_argument, nullptr, kChannelsLast},
                          {"suite", required_argument, nullptr, kSuite},
                          {"help", no_argument, nullptr, kHelp},
                          {nullptr, 0, nullptr, 0}};
  Options options;
  for (int found; (found = getopt_long(argc, argv, "", longs, nullptr)) != -1;) {
    switch (found) {
      case kSeconds:
        options.seconds = std::atof(optarg);
        break;
      case kLimit:
        options.limit = std::atof(optarg);
        break;
      case kIsa:
        setenv("CONVTRANSPOSE_ISA", optarg, 1);
        break;
      case kPrecision:
        options.precision = precision_named(optarg);
        break;
      case kChannelsLast:
        options.format = MemoryFormat::kChannelsLast;
        break;
      case kSuite:
        options.suite = optarg;
        break;
      case kHelp:
        std::fputs(kUsage, stdout);
        std::exit(0);
      default:
        std::fputs(kUsage, stderr);
        std::exit(1);
    }
  }
  return options;
}

int main(int argc, char** argv) {
  const Options options = parse_options(argc, argv);
  std::vector<NamedProblem> problems;
  const std::vector<std::string> names(argv + optind, argv + argc);
  if (const std::string error = select_problems(options.suite, names, &problems); !error.empty()) fail(error);
  Isa active;
  if (const Status status = active_isa(&active); !status.ok()) fail(status.message);
  const KernelTable& table = active_kernels();
  std::printf("%s, %s, 1 thread; milliseconds, in brackets as the planner estimates them; plan: microseconds\n",
              cpu_info().model.c_str(), table.isa);
  std::printf("%-19s %-18s %6s %6s %-6s  all that accept, fastest first\n", "layer", "chosen", "plan", "loss", "");
  int wrong = 0;
  double worst = 0;
  std::string worst_name;
  for (const NamedProblem& problem : problems) {
    const double loss = bench(problem, table, options);
    if (loss > options.limit) ++wrong;
    if (loss > worst) worst_name = problem.name;
    worst = std::max(worst, loss);
  }
  std::printf("%d of %zu choices lose more than %.3g%%", wrong, problems.size(), options.limit);
  if (worst > 0) std::printf("; the worst loses %.1f%% (%s)", worst, worst_name.c_str());
  std::printf("\n");
  return 0;
}

}  // namespace
}  // namespace convtranspose::bench

int main(int argc, char** argv) { return convtranspose::bench::main(argc, argv); }
