#include "layer/layer.h"

#include <algorithm>
#include <atomic>
#include <cstring>
#include <list>
#include <mutex>
#include <new>
#include <optional>
#include <utility>

#include "algorithms/limits.h"
#include "algorithms/weight_facts.h"
#include "kernels/registry.h"
#include "layer/initialize.h"
#include "layer/packed_weights.h"
#include "layer/plan_cache.h"
#include "layer/prepared_run.h"
#include "pack/packed_form.h"
#include "plan/planner.h"
#include "problem/checked.h"
#include "runtime/counters.h"
#include "runtime/cpu.h"

namespace convtranspose {
namespace {

constexpr std::size_t kPlanCapacity = 64;

// For input that an algorithm refused. The direct ones take all input; if they cannot run the problem the reference can.
CallSpec without_refusal(const CallSpec& call) {
  CallSpec again = call;
  again.algorithm = call.algorithm == AlgorithmChoice::kDirect ? AlgorithmChoice::kReference : AlgorithmChoice::kDirect;
  return again;
}

// The reference has no numbered kernels. (Others may need none, where no tap reaches an output.)
bool is_reference(const Plan& plan) { return plan.algorithm->choice() == AlgorithmChoice::kReference; }

// Calls visit(number, name) for every kernel that a plan runs: "direct-wide/avx512/8x3". The reference counts as number 0.
template <typename Visit>
void for_each_kernel(const Plan& plan, const KernelTable& table, Visit visit) {
  const std::string algorithm = plan.algorithm->name();
  const KernelSet& kernels = plan.execution->kernels;
  if (is_reference(plan)) visit(0, algorithm + "/baseline/scalar");
  for (int i = 0; i < kernel_count(table); ++i) {
    if (kernels.test(static_cast<std::size_t>(i))) visit(i, algorithm + "/" + table.isa + "/" + kernel_name(table, i));
  }
}

std::vector<Prepared::KernelCount> kernel_counters(const Plan& plan, const KernelTable& table) {
  std::vector<Prepared::KernelCount> counts;
  for_each_kernel(plan, table, [&](int number, const std::string& name) {
    counts.push_back({static_cast<std::size_t>(number), counter(name)});
  });
  return counts;
}

Status out_of_memory_for(const char* what) { return Status::out_of_memory(std::string("not enough memory for ") + what); }

}  // namespace

std::size_t CallSpecHash::operator()(const CallSpec& call) const {
  std::uint64_t hash = 0xcbf29ce484222325u;
  const auto mix = [&hash](std::uint64_t value) {
    hash ^= value;
    hash *= 0x9e3779b97f4a7c15u;
    hash ^= hash >> 29;
  };
  mix(static_cast<std::uint64_t>(call.batch));
  for (int d = 0; d < kSpatialDims; ++d) {
    mix(static_cast<std::uint64_t>(call.in[d]));
    mix(static_cast<std::uint64_t>(call.pad_begin[d]));
    mix(static_cast<std::uint64_t>(call.out[d]));
  }
  mix(static_cast<std::uint64_t>(call.format) | static_cast<std::uint64_t>(call.precision) << 8 |
      static_cast<std::uint64_t>(call.algorithm) << 16 | static_cast<std::uint64_t>(call.invariant) << 24 |
      static_cast<std::uint64_t>(call.weights_reused) << 25 | static_cast<std::uint64_t>(call.post_ops.activation) << 32);
  // Equal specs hash alike: -0 equals +0.
  for (const float parameter : {call.post_ops.lower, call.post_ops.upper, call.post_ops.alpha}) {
    const float same = parameter + 0.0f;
    std::uint32_t bits;
    std::memcpy(&bits, &same, sizeof bits);
    mix(bits);
  }
  mix(static_cast<std::uint64_t>(call.workspace_limit));
  return static_cast<std::size_t>(hash);
}

bool is_short(const Problem& problem) {
  constexpr double kOperations = 1 << 24;
  constexpr std::int64_t kElements = 1 << 16;
  if (problem.flops() > kOperations) return false;
  for (const std::int64_t elements : {problem.src_elements(), problem.weights_elements(), problem.dst_elements()}) {
    if (elements > kElements) return false;
  }
  return true;
}

struct Layer::Impl {
  LayerSpec spec;
  std::unique_ptr<FloatArray> owned_weights;  // null if borrowed
  std::unique_ptr<FloatArray> owned_bias;
  const float* weights = nullptr;
  const float* bias = nullptr;
  const KernelTable* kernels = nullptr;

  std::mutex cache_mutex;  // guards cache and packed; held for look-ups only
  PlanCache<std::shared_ptr<const Prepared>> cache{kPlanCapacity};
  std::list<std::shared_ptr<PackedWeights>> packed;  // latest first
  bool less_precise = false;                         // a call has asked for less precision than 'highest'

  std::once_flag facts_once;
  WeightFacts known_facts;

  Status init(const LayerSpec& layer_spec, const float* raw_weights, const float* raw_bias);
  Status take_over(std::uint32_t seed);
  const WeightFacts& facts();
  Status get(const CallSpec& call, bool with_weights, std::shared_ptr<const Prepared>* prepared);
  Status build(const CallSpec& call, bool with_weights, std::shared_ptr<const Prepared>* prepared);
  Status find_packed(const std::shared_ptr<const Plan>& plan, std::shared_ptr<PackedWeights>* found);
  void evict_packed();
};

Status Layer::Impl::init(const LayerSpec& layer_spec, const float* raw_weights, const float* raw_bias) {
  if (Status status = validate(layer_spec); !status.ok()) return status;
  Isa isa;
  if (Status status = active_isa(&isa); !status.ok()) return status;
  kernels = &active_kernels();
  spec = layer_spec;
  weights = raw_weights;
  bias = spec.has_bias ? raw_bias : nullptr;
  return {};
}

// Copies what was given to memory of its own, and draws the rest.
Status Layer::Impl::take_over(std::uint32_t seed) {
  const Problem problem{spec, {}};
  const std::int64_t count = problem.weights_elements();
  owned_weights = std::make_unique<FloatArray>(count);
  if (owned_weights->data() == nullptr) return out_of_memory_for("the weights");
  if (spec.has_bias) {
    owned_bias = std::make_unique<FloatArray>(spec.out_channels);
    if (owned_bias->data() == nullptr) return out_of_memory_for("the bias");
  }
  const bool draws_weights = weights == nullptr;
  const bool draws_bias = spec.has_bias && bias == nullptr;
  if (!draws_weights) std::copy_n(weights, count, owned_weights->data());
  if (spec.has_bias && !draws_bias) std::copy_n(bias, spec.out_channels, owned_bias->data());
  if (draws_weights || draws_bias) {
    initialize(spec, seed, draws_weights ? owned_weights->data() : nullptr, draws_bias ? owned_bias->data() : nullptr);
  }
  weights = owned_weights->data();
  bias = spec.has_bias ? owned_bias->data() : nullptr;
  return {};
}

// Looks through all weights when asked for the first time: in the asynchronous forms on a pool thread.
const WeightFacts& Layer::Impl::facts() {
  std::call_once(facts_once, [this] {
    const Problem problem{spec, {}};
    known_facts = find_weight_facts(weights, problem.weights_elements());
  });
  return known_facts;
}

// With `with_weights` the packed form that the plan wants is there to be filled, too. May throw std::bad_alloc.
Status Layer::Impl::get(const CallSpec& call, bool with_weights, std::shared_ptr<const Prepared>* prepared) {
  {
    const std::lock_guard<std::mutex> lock(cache_mutex);
    const std::shared_ptr<const Prepared>* found = cache.find(call);
    if (found != nullptr) *prepared = *found;
    if (found != nullptr && !(with_weights && (*found)->lacks_weights())) return {};
  }
  return build(call, with_weights, prepared);
}

// Several threads may plan the same call at the same time, to the same result; planning is too short to wait for.
Status Layer::Impl::build(const CallSpec& call, bool with_weights, std::shared_ptr<const Prepared>* prepared) {
  auto fresh = *prepared == nullptr ? std::make_shared<Prepared>() : std::make_shared<Prepared>(**prepared);
  if (fresh->plan == nullptr) {
    if (Status status = validate(spec, call); !status.ok()) return status;
    Problem problem;
    problem.layer = spec;
    problem.call = call;
    if (Status status = make_plan(problem, facts(), *kernels, cpu_info().caches, &fresh->plan); !status.ok()) return status;
    fresh->kernel_counts = kernel_counters(*fresh->plan, *kernels);
  }
  const std::lock_guard<std::mutex> lock(cache_mutex);
  less_precise = less_precise || call.precision != Precision::kHighest;
  if (with_weights && fresh->lacks_weights()) {
    if (Status status = find_packed(fresh->plan, &fresh->packed); !status.ok()) return status;
  }
  if (std::shared_ptr<const Prepared>* found = cache.find(call); found != nullptr) {
    *found = fresh;
  } else {
    cache.insert(call, fresh);
  }
  *prepared = std::move(fresh);
  return {};
}

// With cache_mutex held: the form that the plan wants, as far as it has been filled.
Status Layer::Impl::find_packed(const std::shared_ptr<const Plan>& plan, std::shared_ptr<PackedWeights>* found) {
  const PackedForm* const form = plan->execution->packed_form();
  for (auto entry = packed.begin(); entry != packed.end(); ++entry) {
    if ((*entry)->key() != form->key()) continue;
    packed.splice(packed.begin(), packed, entry);
    *found = packed.front();
    return {};
  }
  *found = PackedWeights::create(std::shared_ptr<const PackedForm>(plan, form));
  if (*found == nullptr) return out_of_memory_for("the packed weights");
  packed.push_front(*found);
  evict_packed();
  return {};
}

// With cache_mutex held: forgets the forms that were asked for longest ago while all together exceed the promised multiple
// of the weights. Runs in flight keep theirs until they end.
void Layer::Impl::evict_packed() {
  Problem problem;
  problem.layer = spec;
  const double limit =
      (less_precise ? kMaxPackedMultipleHigh : kMaxPackedMultiple) * static_cast<double>(problem.weights_elements());
  double total = 0.0;
  for (const auto& entry : packed) total += static_cast<double>(entry->elements());
  while (total > limit && packed.size() > 1) {
    const std::shared_ptr<PackedWeights> victim = packed.back();
    total -= static_cast<double>(victim->elements());
    packed.pop_back();
    cache.for_each([&victim](std::shared_ptr<const Prepared>& entry) {
      if (entry->packed != victim) return;
      auto bare = std::make_shared<Prepared>(*entry);
      bare->packed = nullptr;
      entry = std::move(bare);
    });
  }
}

namespace {

class SyncJob final : public Job {
 public:
  explicit SyncJob(PreparedRun& run) : run_(run) {}

  bool next_stage(Stage* stage) noexcept override {
    next_ = run_.next_stage(stage);
    return next_ == PreparedRun::Next::kStage;
  }
  void run_task(std::int64_t task, std::byte* workspace, int) noexcept override { run_.run_task(task, workspace); }
  void finished(JobResult result) noexcept override { result_ = result; }

  bool waits() const { return next_ == PreparedRun::Next::kWait; }
  bool refused() const { return next_ == PreparedRun::Next::kRefused; }
  bool out_of_memory() const { return result_ == JobResult::kOutOfMemory || next_ == PreparedRun::Next::kOutOfMemory; }

 private:
  PreparedRun& run_;
  PreparedRun::Next next_ = PreparedRun::Next::kEnd;
  JobResult result_ = JobResult::kDone;
};

PreparedRun::Operands operands(const Layer& layer, const Layer::Pointers& pointers) {
  return {layer.weights(), layer.bias(), pointers.src, pointers.dst, pointers.residual, pointers.slopes, pointers.fresh};
}

// On the calling thread and those that help it. *refused: the input is not for this plan, and the outputs are not made.
Status run_now(PreparedRun& run, int threads, bool* refused) {
  for (;;) {
    SyncJob job(run);
    ThreadPool::process().run(job, threads);
    if (job.out_of_memory()) return {StatusCode::kOutOfMemory, "", {}};
    *refused = job.refused();
    if (!job.waits()) return {};
    run.packed().wait();
  }
}

}  // namespace

// Bytes of dst that a task touches: a huge page, which a virtual machine may take 5 ms to get.
constexpr std::int64_t kTouchedAtOnce = std::int64_t{2} << 20;

// Plans before its first stage. While other threads finish the packing that it needs it is out of the pool.
class AsyncLayerJob final : public Job, public std::enable_shared_from_this<AsyncLayerJob> {
 public:
  AsyncLayerJob(std::shared_ptr<Layer> layer, const CallSpec& call, bool compute, Layer::Pointers pointers, int threads,
                std::function<void(const Status&)> settled)
      : layer_(std::move(layer)),
        call_(call),
        compute_(compute),
        pointers_(pointers),
        threads_(threads),
        settled_(std::move(settled)) {}

  bool next_stage(Stage* stage) noexcept override {
    if (!run_.has_value() && !plan()) return false;
    touches_ = std::exchange(pointers_.untouched, false) && dst_bytes() > kTouchedAtOnce;
    if (touches_) {
      *stage = {ceil_div(dst_bytes(), kTouchedAtOnce), 0};
      return true;
    }
    PreparedRun::Next next = run_->next_stage(stage);
    if (next == PreparedRun::Next::kRefused) {
      run_.reset();
      refused_ = true;
      call_ = without_refusal(call_);
      if (!plan()) return false;
      next = run_->next_stage(stage);
    }
    if (next == PreparedRun::Next::kOutOfMemory) fail_out_of_memory();
    waits_ = next == PreparedRun::Next::kWait;
    return next == PreparedRun::Next::kStage;
  }

  void run_task(std::int64_t task, std::byte* workspace, int) noexcept override {
    if (touches_) {
      touch(task);
    } else {
      run_->run_task(task, workspace);
    }
  }

  void finished(JobResult result) noexcept override {
    if (result == JobResult::kAborted) status_ = {StatusCode::kAborted, "", {}};
    if (result == JobResult::kOutOfMemory) status_ = {StatusCode::kOutOfMemory, "", {}};
    if (result == JobResult::kDone && waits_ && wait()) return;
    settled_(status_);
  }

 private:
  // False when there is nothing to run.
  bool plan() noexcept {
    try {
      std::shared_ptr<const Prepared> prepared;
      status_ = layer_->impl_->get(call_, true, &prepared);
      if (status_.code == StatusCode::kUnsupported && refused_) {
        call_ = without_refusal(call_);
        status_ = layer_->impl_->get(call_, true, &prepared);
      }
      if (!status_.ok()) return false;
      run_.emplace(std::move(prepared), operands(*layer_, pointers_), compute_);
      return true;
    } catch (const std::bad_alloc&) {
      fail_out_of_memory();
      return false;
    }
  }

  std::int64_t dst_bytes() const {
    return Problem{layer_->spec(), call_}.dst_elements() * static_cast<std::int64_t>(sizeof(float));
  }

  // Writes to each page of a slice of dst.
  void touch(std::int64_t slice) const noexcept {
    constexpr std::int64_t kSmallestPage = 4096;
    volatile char* const bytes = reinterpret_cast<char*>(pointers_.dst);
    const std::int64_t end = std::min(dst_bytes(), (slice + 1) * kTouchedAtOnce);
    for (std::int64_t at = slice * kTouchedAtOnce; at < end; at += kSmallestPage) bytes[at] = 0;
  }

  // Comes back into the pool when the weights are packed. False, with a status, if it cannot.
  bool wait() noexcept {
    const auto come_back = [self = shared_from_this()] { ThreadPool::process().submit(self, self->threads_); };
    try {
      if (!run_->packed().when_complete(come_back)) come_back();
      return true;
    } catch (const std::bad_alloc&) {
      status_ = {StatusCode::kOutOfMemory, "", {}};
      return false;
    }
  }

  std::shared_ptr<Layer> layer_;
  CallSpec call_;
  bool compute_;
  Layer::Pointers pointers_;
  int threads_;
  std::function<void(const Status&)> settled_;
  Status status_;
  std::optional<PreparedRun> run_;
  bool refused_ = false;
  bool waits_ = false;
  bool touches_ = false;  // the stage makes the pages of dst
};

Layer::Layer(std::unique_ptr<Impl> impl) : impl_(std::move(impl)) {}
Layer::~Layer() = default;

Status Layer::make(const LayerSpec& spec, const float* weights, const float* bias, bool borrows, std::uint32_t seed,
                   std::shared_ptr<Layer>* layer) {
  try {
    auto impl = std::make_unique<Impl>();
    if (Status status = impl->init(spec, weights, bias); !status.ok()) return status;
    if (!borrows) {
      if (Status status = impl->take_over(seed); !status.ok()) return status;
    }
    layer->reset(new Layer(std::move(impl)));
    return {};
  } catch (const std::bad_alloc&) {
    return {StatusCode::kOutOfMemory, "", {}};
  }
}

Status Layer::create(const LayerSpec& spec, const float* weights, const float* bias, std::shared_ptr<Layer>* layer) {
  return make(spec, weights, bias, false, 0, layer);
}

Status Layer::create_seeded(const LayerSpec& spec, const float* weights, const float* bias, std::uint32_t seed,
                            std::shared_ptr<Layer>* layer) {
  return make(spec, weights, bias, false, seed, layer);
}

Status Layer::borrow(const LayerSpec& spec, const float* weights, const float* bias, std::shared_ptr<Layer>* layer) {
  return make(spec, weights, bias, true, 0, layer);
}

const LayerSpec& Layer::spec() const { return impl_->spec; }
const float* Layer::weights() const { return impl_->weights; }
const float* Layer::bias() const { return impl_->bias; }

Status Layer::prepare(const CallSpec& call) {
  try {
    std::shared_ptr<const Prepared> prepared;
    if (Status status = impl_->get(call, true, &prepared); !status.ok()) return status;
    PreparedRun run(std::move(prepared), operands(*this, {nullptr, nullptr}), false);
    bool refused;
    return run_now(run, 0, &refused);
  } catch (const std::bad_alloc&) {
    return {StatusCode::kOutOfMemory, "", {}};
  }
}

Status Layer::run(const CallSpec& call, const Pointers& pointers, int threads) {
  try {
    CallSpec tried = call;
    for (;;) {
      std::shared_ptr<const Prepared> prepared;
      Status status = impl_->get(tried, true, &prepared);
      if (status.code == StatusCode::kUnsupported && !(tried == call)) {
        tried = without_refusal(tried);
        continue;
      }
      if (!status.ok()) return status;
      PreparedRun run(std::move(prepared), operands(*this, pointers), true);
      bool refused = false;
      status = run_now(run, threads, &refused);
      if (!refused) return status;
      tried = without_refusal(tried);
    }
  } catch (const std::bad_alloc&) {
    return {StatusCode::kOutOfMemory, "", {}};
  }
}

std::shared_ptr<Job> Layer::start(std::shared_ptr<Layer> layer, const CallSpec& call, bool compute, Pointers pointers,
                                  int threads, std::function<void(const Status&)> settled) {
  std::shared_ptr<AsyncLayerJob> job;
  try {
    job = std::make_shared<AsyncLayerJob>(std::move(layer), call, compute, pointers, threads, std::move(settled));
  } catch (const std::bad_alloc&) {
    settled({StatusCode::kOutOfMemory, "", {}});  // not moved from: memory comes before the constructor
    return nullptr;
  }
  ThreadPool::process().submit(job, threads);
  return job;
}

Status Layer::explain(const CallSpec& call, Explanation* explanation) {
  try {
    std::shared_ptr<const Prepared> prepared;
    if (Status status = impl_->get(call, false, &prepared); !status.ok()) return status;
    const Plan& plan = *prepared->plan;
    const Execution& execution = *plan.execution;
    Explanation e;
    e.algorithm = plan.algorithm->name();
    e.choice = choice_word(plan.algorithm->choice());
    e.isa = is_reference(plan) ? "baseline" : impl_->kernels->isa;
    for_each_kernel(plan, *impl_->kernels, [&e](int, std::string name) { e.kernels.push_back(std::move(name)); });
    e.reason = plan.reason;
    for (const Rejection& rejection : plan.rejected) e.rejected.push_back({rejection.name, rejection.reason});
    e.precision = precision_word(execution.precision);
    if (impl_->spec.has_bias) e.fused.push_back("bias");
    if (std::string activation = activation_text(call.post_ops); !activation.empty()) e.fused.push_back(activation);
    e.notes = plan.notes;
    e.flops = plan.problem.flops();
    e.estimated_seconds = execution.estimated_seconds;
    e.phases = execution.phases;
    for (int stage = 0; stage < execution.stages(); ++stage) e.tasks += execution.tasks(stage);
    e.workspace_bytes = static_cast<std::int64_t>(kWorkspaceHeaderBytes + execution.workspace_bytes());
    e.shared_bytes = static_cast<std::int64_t>(execution.shared_bytes());
    e.blocking = execution.blocking;
    const std::lock_guard<std::mutex> lock(impl_->cache_mutex);
    for (const auto& form : impl_->packed) {
      e.packed_weights.emplace_back(form->key(), form->elements() * static_cast<std::int64_t>(sizeof(float)));
    }
    *explanation = std::move(e);
    return {};
  } catch (const std::bad_alloc&) {
    return {StatusCode::kOutOfMemory, "", {}};
  }
}

std::int64_t Layer::packed_bytes() const {
  const std::lock_guard<std::mutex> lock(impl_->cache_mutex);
  std::int64_t bytes = 0;
  for (const auto& form : impl_->packed) bytes += form->elements() * static_cast<std::int64_t>(sizeof(float));
  return bytes;
}

}  // namespace convtranspose
