#include "layer/layer.h"

#include <atomic>
#include <cstring>
#include <list>
#include <mutex>
#include <new>
#include <optional>

#include "kernels/registry.h"
#include "layer/plan_cache.h"
#include "pack/packed_form.h"
#include "plan/planner.h"
#include "runtime/buffer_pool.h"
#include "runtime/counters.h"
#include "runtime/cpu.h"

namespace convtranspose {
namespace {

constexpr std::size_t kPlanCapacity = 64;
constexpr double kMaxPackedMultiple = 2.5;  // of the weights: all packed forms of a layer together
constexpr std::size_t kHeaderBytes = 64;

// A plan with what a run of it needs at hand.
struct Prepared {
  std::shared_ptr<const Plan> plan;
  std::shared_ptr<const FloatArray> packed;                // null until packed, or if the plan wants raw weights
  std::vector<std::atomic<std::uint64_t>*> kernel_counts;  // by number of the kernel; one if none has a number

  bool lacks_weights() const { return packed == nullptr && plan->execution->packed_form() != nullptr; }
};

// In front of every workspace: tells whether what the last task left is this run's.
struct alignas(kHeaderBytes) WorkspaceHeader {
  std::uint64_t run;
  std::int64_t tag;
};
static_assert(sizeof(WorkspaceHeader) == kHeaderBytes);

std::uint64_t next_run_id() {
  static std::atomic<std::uint64_t> next{1};
  return next.fetch_add(1, std::memory_order_relaxed);
}

bool all_finite(const float* values, std::int64_t count) {
  // Exponent bits all set; whole blocks, so that the inner loop is without a branch.
  constexpr std::int64_t kBlock = 4096;
  for (std::int64_t begin = 0; begin < count; begin += kBlock) {
    const std::int64_t end = begin + kBlock < count ? begin + kBlock : count;
    std::uint32_t special = 0;
    for (std::int64_t i = begin; i < end; ++i) {
      std::uint32_t bits;
      std::memcpy(&bits, &values[i], sizeof bits);
      special |= static_cast<std::uint32_t>((bits & 0x7f800000u) == 0x7f800000u);
    }
    if (special != 0) return false;
  }
  return true;
}

// Calls visit(number, name) for every kernel that a plan runs: "direct-wide/avx512/8x3". An algorithm without numbered
// kernels counts as number 0.
template <typename Visit>
void for_each_kernel(const Plan& plan, const KernelTable& table, Visit visit) {
  const std::string algorithm = plan.algorithm->name();
  const KernelSet& kernels = plan.execution->kernels;
  if (kernels.none()) visit(0, algorithm + "/baseline/scalar");
  for (int i = 0; i < kernel_count(table); ++i) {
    if (kernels.test(static_cast<std::size_t>(i))) visit(i, algorithm + "/" + table.isa + "/" + kernel_name(table, i));
  }
}

std::vector<std::atomic<std::uint64_t>*> kernel_counters(const Plan& plan, const KernelTable& table) {
  std::vector<std::atomic<std::uint64_t>*> counts(static_cast<std::size_t>(kernel_count(table)), nullptr);
  for_each_kernel(plan, table,
                  [&](int number, const std::string& name) { counts[static_cast<std::size_t>(number)] = counter(name); });
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
      static_cast<std::uint64_t>(call.weights_reused) << 25);
  // Equal specs hash alike: -0 equals +0.
  const float bounds[2] = {call.post_ops.lower + 0.0f, call.post_ops.upper + 0.0f};
  std::uint32_t lower, upper;
  std::memcpy(&lower, &bounds[0], sizeof lower);
  std::memcpy(&upper, &bounds[1], sizeof upper);
  mix(static_cast<std::uint64_t>(lower) << 32 | upper);
  mix(static_cast<std::uint64_t>(call.workspace_limit));
  return static_cast<std::size_t>(hash);
}

struct Layer::Impl {
  LayerSpec spec;
  std::unique_ptr<FloatArray> owned_weights;  // null if borrowed
  std::unique_ptr<FloatArray> owned_bias;
  const float* weights = nullptr;
  const float* bias = nullptr;
  WeightFacts facts;
  const KernelTable* kernels = nullptr;

  std::mutex cache_mutex;  // guards cache and packed; held for look-ups only
  PlanCache<std::shared_ptr<const Prepared>> cache{kPlanCapacity};
  std::list<std::pair<std::string, std::shared_ptr<const FloatArray>>> packed;  // by key, latest first
  std::mutex build_mutex;  // one thread plans and packs at a time; taken before cache_mutex

  Status init(const LayerSpec& layer_spec, const float* raw_weights, const float* raw_bias, bool copy);
  Status get(const CallSpec& call, bool with_weights, std::shared_ptr<const Prepared>* prepared);
  Status build(const CallSpec& call, bool with_weights, std::shared_ptr<const Prepared>* prepared);
  Status pack(const PackedForm& form, std::shared_ptr<const FloatArray>* array);
  void evict_packed();
};

Status Layer::Impl::init(const LayerSpec& layer_spec, const float* raw_weights, const float* raw_bias, bool copy) {
  if (Status status = validate(layer_spec); !status.ok()) return status;
  Isa isa;
  if (Status status = active_isa(&isa); !status.ok()) return status;
  kernels = &active_kernels();
  spec = layer_spec;
  Problem problem;
  problem.layer = spec;
  const std::int64_t count = problem.weights_elements();
  facts.finite = all_finite(raw_weights, count);
  weights = raw_weights;
  bias = spec.has_bias ? raw_bias : nullptr;
  if (!copy) return {};
  owned_weights = std::make_unique<FloatArray>(count);
  if (owned_weights->data() == nullptr) return out_of_memory_for("the weights");
  if (count > 0) std::memcpy(owned_weights->data(), raw_weights, static_cast<std::size_t>(count) * sizeof(float));
  weights = owned_weights->data();
  if (bias != nullptr) {
    owned_bias = std::make_unique<FloatArray>(spec.out_channels);
    if (owned_bias->data() == nullptr) return out_of_memory_for("the bias");
    if (spec.out_channels > 0) {
      std::memcpy(owned_bias->data(), bias, static_cast<std::size_t>(spec.out_channels) * sizeof(float));
    }
    bias = owned_bias->data();
  }
  return {};
}

Status Layer::Impl::get(const CallSpec& call, bool with_weights, std::shared_ptr<const Prepared>* prepared) {
  const auto hit = [&] {
    const std::lock_guard<std::mutex> lock(cache_mutex);
    const std::shared_ptr<const Prepared>* found = cache.find(call);
    if (found == nullptr || (with_weights && (*found)->lacks_weights())) return false;
    *prepared = *found;
    return true;
  };
  if (hit()) return {};
  const std::lock_guard<std::mutex> building(build_mutex);
  if (hit()) return {};
  return build(call, with_weights, prepared);
}

Status Layer::Impl::build(const CallSpec& call, bool with_weights, std::shared_ptr<const Prepared>* prepared) {
  auto fresh = std::make_shared<Prepared>();
  {
    const std::lock_guard<std::mutex> lock(cache_mutex);
    if (const std::shared_ptr<const Prepared>* found = cache.find(call); found != nullptr) *fresh = **found;
  }
  if (fresh->plan == nullptr) {
    if (Status status = validate(spec, call); !status.ok()) return status;
    Problem problem;
    problem.layer = spec;
    problem.call = call;
    if (Status status = make_plan(problem, facts, *kernels, cpu_info().caches, &fresh->plan); !status.ok()) return status;
    fresh->kernel_counts = kernel_counters(*fresh->plan, *kernels);
  }
  if (with_weights && fresh->lacks_weights()) {
    if (Status status = pack(*fresh->plan->execution->packed_form(), &fresh->packed); !status.ok()) return status;
  }
  const std::lock_guard<std::mutex> lock(cache_mutex);
  if (std::shared_ptr<const Prepared>* found = cache.find(call); found != nullptr) {
    *found = fresh;
  } else {
    cache.insert(call, fresh);
  }
  *prepared = std::move(fresh);
  return {};
}

Status Layer::Impl::pack(const PackedForm& form, std::shared_ptr<const FloatArray>* array) {
  {
    const std::lock_guard<std::mutex> lock(cache_mutex);
    for (auto entry = packed.begin(); entry != packed.end(); ++entry) {
      if (entry->first != form.key()) continue;
      packed.splice(packed.begin(), packed, entry);
      *array = entry->second;
      return {};
    }
  }
  auto fresh = std::make_shared<FloatArray>(form.elements());
  if (fresh->data() == nullptr) return out_of_memory_for("the packed weights");
  form.pack(weights, fresh->data());
  const std::lock_guard<std::mutex> lock(cache_mutex);
  packed.emplace_front(form.key(), fresh);
  evict_packed();
  *array = std::move(fresh);
  return {};
}

// With cache_mutex held: forgets the forms that were asked for longest ago while all together exceed the promised multiple
// of the weights. Runs in flight keep theirs until they end.
void Layer::Impl::evict_packed() {
  Problem problem;
  problem.layer = spec;
  const double limit = kMaxPackedMultiple * static_cast<double>(problem.weights_elements());
  double total = 0.0;
  for (const auto& entry : packed) total += static_cast<double>(entry.second->count());
  while (total > limit && packed.size() > 1) {
    const std::shared_ptr<const FloatArray> victim = packed.back().second;
    total -= static_cast<double>(victim->count());
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

// One run of a prepared plan: its stages, and their tasks, each with a workspace that remembers whether it was this run's.
class PreparedRun {
 public:
  PreparedRun(std::shared_ptr<const Prepared> prepared, const float* raw_weights, const float* bias, const float* src,
              float* dst)
      : prepared_(std::move(prepared)), run_id_(next_run_id()) {
    args_.src = src;
    args_.dst = dst;
    args_.bias = bias;
    args_.raw_weights = raw_weights;
    args_.weights = prepared_->packed == nullptr ? raw_weights : prepared_->packed->data();
    args_.shared = nullptr;
  }

  // False when there is no memory for what the stages share.
  bool reserve_shared() {
    const std::size_t bytes = execution().shared_bytes();
    if (bytes == 0) return true;
    shared_ = allocate_buffer(bytes);
    if (shared_ == nullptr) return false;
    args_.shared = shared_->data();
    return true;
  }

  // As Job::next_stage().
  bool next_stage(Stage* stage) {
    if (stage_ + 1 >= execution().stages()) return false;
    ++stage_;
    *stage = {execution().tasks(stage_), kHeaderBytes + execution().workspace_bytes()};
    return true;
  }

  void run_task(std::int64_t task, std::byte* memory) const noexcept {
    auto* header = reinterpret_cast<WorkspaceHeader*>(memory);
    if (header->run != run_id_) *header = {run_id_, -1};
    KernelSet used;
    execution().run_task(args_, stage_, task, {memory + kHeaderBytes, &header->tag, &used});
    if (execution().kernels.none()) used.set(0);
    for (std::size_t i = 0; i < prepared_->kernel_counts.size(); ++i) {
      if (used.test(i)) prepared_->kernel_counts[i]->fetch_add(1, std::memory_order_relaxed);
    }
  }

 private:
  const Execution& execution() const { return *prepared_->plan->execution; }

  std::shared_ptr<const Prepared> prepared_;
  std::uint64_t run_id_;
  RunArgs args_;
  std::shared_ptr<Buffer> shared_;
  int stage_ = -1;
};

class SyncJob final : public Job {
 public:
  explicit SyncJob(PreparedRun& run) : run_(run) {}
  bool next_stage(Stage* stage) noexcept override { return run_.next_stage(stage); }
  void run_task(std::int64_t task, std::byte* workspace, int) noexcept override { run_.run_task(task, workspace); }
  void finished(JobResult result) noexcept override { result_ = result; }
  JobResult result() const { return result_; }

 private:
  PreparedRun& run_;
  JobResult result_ = JobResult::kDone;
};

}  // namespace

// Plans and packs in a first stage of one task, then runs.
class AsyncLayerJob final : public Job {
 public:
  AsyncLayerJob(std::shared_ptr<Layer> layer, const CallSpec& call, bool run, Layer::Pointers pointers,
                std::function<void(const Status&)> settled)
      : layer_(std::move(layer)), call_(call), run_after_(run), pointers_(pointers), settled_(std::move(settled)) {}

  bool next_stage(Stage* stage) noexcept override {
    if (!prepare_begun_) {
      prepare_begun_ = true;
      *stage = {1, 0};
      return true;
    }
    if (!run_after_ || !status_.ok() || prepared_ == nullptr) return false;
    if (!run_.has_value()) {
      run_.emplace(prepared_, layer_->weights(), layer_->bias(), pointers_.src, pointers_.dst);
      if (!run_->reserve_shared()) {
        fail_out_of_memory();
        return false;
      }
    }
    return run_->next_stage(stage);
  }

  void run_task(std::int64_t task, std::byte* workspace, int) noexcept override {
    if (run_.has_value()) {
      run_->run_task(task, workspace);
      return;
    }
    try {
      status_ = layer_->impl_->get(call_, true, &prepared_);
    } catch (const std::bad_alloc&) {
      fail_out_of_memory();
    }
  }

  void finished(JobResult result) noexcept override {
    if (result == JobResult::kAborted) status_ = {StatusCode::kAborted, "", {}};
    if (result == JobResult::kOutOfMemory) status_ = {StatusCode::kOutOfMemory, "", {}};
    settled_(status_);
  }

 private:
  std::shared_ptr<Layer> layer_;
  CallSpec call_;
  bool run_after_;
  Layer::Pointers pointers_;
  std::function<void(const Status&)> settled_;
  bool prepare_begun_ = false;
  Status status_;
  std::shared_ptr<const Prepared> prepared_;
  std::optional<PreparedRun> run_;
};

Layer::Layer(std::unique_ptr<Impl> impl) : impl_(std::move(impl)) {}
Layer::~Layer() = default;

Status Layer::make(const LayerSpec& spec, const float* weights, const float* bias, bool copy,
                   std::shared_ptr<Layer>* layer) {
  try {
    auto impl = std::make_unique<Impl>();
    if (Status status = impl->init(spec, weights, bias, copy); !status.ok()) return status;
    layer->reset(new Layer(std::move(impl)));
    return {};
  } catch (const std::bad_alloc&) {
    return {StatusCode::kOutOfMemory, "", {}};
  }
}

Status Layer::create(const LayerSpec& spec, const float* weights, const float* bias, std::shared_ptr<Layer>* layer) {
  return make(spec, weights, bias, true, layer);
}

Status Layer::borrow(const LayerSpec& spec, const float* weights, const float* bias, std::shared_ptr<Layer>* layer) {
  return make(spec, weights, bias, false, layer);
}

const LayerSpec& Layer::spec() const { return impl_->spec; }
const float* Layer::weights() const { return impl_->weights; }
const float* Layer::bias() const { return impl_->bias; }

Status Layer::prepare(const CallSpec& call) {
  try {
    std::shared_ptr<const Prepared> prepared;
    return impl_->get(call, true, &prepared);
  } catch (const std::bad_alloc&) {
    return {StatusCode::kOutOfMemory, "", {}};
  }
}

Status Layer::run(const CallSpec& call, const float* src, float* dst, int threads) {
  try {
    std::shared_ptr<const Prepared> prepared;
    if (Status status = impl_->get(call, true, &prepared); !status.ok()) return status;
    PreparedRun run(std::move(prepared), impl_->weights, impl_->bias, src, dst);
    if (!run.reserve_shared()) return out_of_memory_for("the run");
    SyncJob job(run);
    ThreadPool::process().run(job, threads);
    if (job.result() == JobResult::kOutOfMemory) return {StatusCode::kOutOfMemory, "", {}};
    return {};
  } catch (const std::bad_alloc&) {
    return {StatusCode::kOutOfMemory, "", {}};
  }
}

std::shared_ptr<Job> Layer::make_job(std::shared_ptr<Layer> layer, const CallSpec& call, bool run, Pointers pointers,
                                     std::function<void(const Status&)> settled) {
  return std::make_shared<AsyncLayerJob>(std::move(layer), call, run, pointers, std::move(settled));
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
    e.isa = execution.kernels.none() ? "baseline" : impl_->kernels->isa;
    for_each_kernel(plan, *impl_->kernels, [&e](int, std::string name) { e.kernels.push_back(std::move(name)); });
    e.reason = plan.reason;
    for (const Rejection& rejection : plan.rejected) e.rejected.push_back({rejection.name, rejection.reason});
    e.precision = "highest";
    e.notes = plan.notes;
    e.flops = plan.problem.flops();
    e.estimated_seconds = execution.estimated_seconds;
    e.phases = execution.phases;
    for (int stage = 0; stage < execution.stages(); ++stage) e.tasks += execution.tasks(stage);
    e.workspace_bytes = static_cast<std::int64_t>(kHeaderBytes + execution.workspace_bytes());
    e.blocking = execution.blocking;
    const std::lock_guard<std::mutex> lock(impl_->cache_mutex);
    for (const auto& [key, array] : impl_->packed) {
      e.packed_weights.emplace_back(key, array->count() * static_cast<std::int64_t>(sizeof(float)));
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
  for (const auto& [key, array] : impl_->packed) bytes += array->count() * static_cast<std::int64_t>(sizeof(float));
  return bytes;
}

}  // namespace convtranspose
