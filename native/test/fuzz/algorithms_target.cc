#include <algorithm>
#include <cmath>
#include <cstring>
#include <limits>
#include <memory>
#include <vector>

#include "include/convtranspose.h"
#include "pack/packed_form.h"
#include "plan/planner.h"
#include "small_problem.h"
#include "targets.h"

namespace convtranspose {
namespace {

constexpr std::int64_t kMostProducts = 8000;
constexpr std::int64_t kManyProducts = 64000;  // so that matrices of many channels have several positions, taps and blocks
constexpr int kThreads = 3;

std::map<std::string, std::uint64_t>& run_counts() {
  static auto* const counts = new std::map<std::string, std::uint64_t>;
  return *counts;
}

// Bytes of exactly the size asked for, so that what is beside them is not theirs; aligned to 64.
class Block {
 public:
  Block(std::size_t bytes, std::uint8_t filling)
      : data_(static_cast<std::byte*>(::operator new (bytes, std::align_val_t{64}))) {
    std::memset(data_, filling, bytes);
  }
  ~Block() { ::operator delete (data_, std::align_val_t{64}); }
  Block(const Block&) = delete;
  Block& operator=(const Block&) = delete;
  std::byte* data() const { return data_; }

 private:
  std::byte* data_;
};

// One run as the pool does it: each stage's tasks in ascending order, each by any of the threads, which have a workspace of
// their own. What memory holds at first is `filling`.
std::vector<float> run_plan(const Plan& plan, const Values& v, Bytes schedule, std::uint8_t filling, KernelSet* used,
                            bool* refused) {
  const Execution& execution = *plan.execution;
  const PackedForm* form = execution.packed_form();
  Block packed(form == nullptr ? 0 : static_cast<std::size_t>(form->elements()) * sizeof(float), filling);
  for (std::int64_t task = form == nullptr ? 0 : form->tasks(); task > 0; --task) {
    form->pack_task(v.w.data(), task - 1, reinterpret_cast<float*>(packed.data()));
  }
  Block shared(execution.shared_bytes(), filling);
  std::vector<float> y(static_cast<std::size_t>(plan.problem.dst_elements()), std::numeric_limits<float>::signaling_NaN());
  std::atomic<bool> refusal{false};
  const RunArgs args{v.x.data(),
                     y.data(),
                     plan.problem.layer.has_bias ? v.b.data() : nullptr,
                     form == nullptr ? v.w.data() : reinterpret_cast<const float*>(packed.data()),
                     v.w.data(),
                     v.residual.empty() ? nullptr : v.residual.data(),
                     v.slopes.empty() ? nullptr : v.slopes.data(),
                     shared.data(),
                     &refusal,
                     /*fresh=*/plan.problem.call.in[2] % 2 == 0};
  std::unique_ptr<Block> workspaces[kThreads];
  std::int64_t tags[kThreads] = {-1, -1, -1};
  for (int stage = 0; stage < execution.stages(); ++stage) {
    for (std::int64_t task = 0; task < execution.tasks(stage); ++task) {
      const int thread = static_cast<int>(schedule.pick(0, kThreads - 1));
      if (workspaces[thread] == nullptr) workspaces[thread] = std::make_unique<Block>(execution.workspace_bytes(), filling);
      execution.run_task(args, stage, task, {workspaces[thread]->data(), &tags[thread], used});
    }
    if (refusal) break;
  }
  *refused = refusal;
  return y;
}

bool same_bits(const std::vector<float>& a, const std::vector<float>& b) {
  return a.size() == b.size() && std::memcmp(a.data(), b.data(), a.size() * sizeof(float)) == 0;
}

// Whether an algorithm may refuse this input: the layer runs another one then.
bool may_refuse(const Algorithm& algorithm, const std::vector<float>& x) {
  if (algorithm.choice() == AlgorithmChoice::kWinograd) return true;
  if (algorithm.choice() != AlgorithmChoice::kAmx) return false;
  return std::any_of(x.begin(), x.end(), [](float value) { return !(std::fabs(value) < 0x1p30f); });
}

}  // namespace

const std::map<std::string, std::uint64_t>& fuzzed_runs() { return run_counts(); }

std::string fuzz_algorithms(const std::uint8_t* data, std::size_t size) {
  Bytes bytes(data, size);
  const KernelTable& kernels = any_kernels(bytes);
  // Small caches make many blocks of a small problem.
  CacheInfo caches;
  caches.l1d = std::size_t{4096} << bytes.pick(0, 3);
  const int size_of_l2 = bytes.byte();
  caches.l2 = caches.l1d << size_of_l2 % 6;
  Problem p = small_problem(bytes, size_of_l2 < 192 ? kMostProducts : kManyProducts);
  const SmallValues made = small_values(bytes, p);
  const Expected expected = definition(p, made.values);
  const WeightFacts facts = find_weight_facts(made.values.w.data(), static_cast<std::int64_t>(made.values.w.size()));

  for (const Algorithm* algorithm : algorithm_list()) {
    p.call.algorithm = algorithm->choice();
    std::shared_ptr<const Plan> plan;
    const Status status = make_plan_with(p, *algorithm, facts, kernels, caches, &plan);
    const auto failure = [&](const std::string& what) {
      return std::string(algorithm->name()) + " on " + kernels.isa + ": " + what + ": " + describe(p);
    };
    if (!status.ok()) {
      if (status.message.empty()) return failure("declines without a reason");
      continue;
    }
    KernelSet used;
    bool refused = false;
    const std::vector<float> y = run_plan(*plan, made.values, bytes, 0xff, &used, &refused);
    if ((used & ~plan->execution->kernels).any()) return failure("a kernel ran that the plan does not name");
    if (refused) {
      if (!may_refuse(*algorithm, made.values.x)) return failure("refuses its input");
      continue;
    }
    const std::vector<double> bounds = error_bounds(*algorithm, p, made.values, expected, made.kind);
    if (const std::string wrong = first_wrong_output(y, expected, bounds); !wrong.empty()) return failure(wrong);
    // The same whoever runs which task, and whatever memory held before.
    if (!same_bits(y, run_plan(*plan, made.values, Bytes(nullptr, 0), 0x3f, &used, &refused)))
      return failure("bits differ from run to run");
    const char* const format = p.call.format == MemoryFormat::kContiguous ? "contiguous" : "channelsLast";
    ++run_counts()[std::string(algorithm->name()) + "/" + kernels.isa + "/" + format];
  }
  return "";
}

}  // namespace convtranspose
