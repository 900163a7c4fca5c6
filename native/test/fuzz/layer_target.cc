#include <condition_variable>
#include <memory>
#include <mutex>
#include <vector>

#include "include/convtranspose.h"
#include "plan/planner.h"
#include "small_problem.h"
#include "targets.h"

namespace convtranspose {
namespace {

constexpr std::int64_t kMostProducts = 4000;
constexpr std::int64_t kManyProducts = 32000;  // as in algorithms_target.cc

// A call of the layer with its operands, and what its outputs must be.
struct Call {
  Problem problem;
  std::vector<float> x;
  Expected expected;
  std::vector<double> bounds;
  std::vector<float> first;  // what it gave when it was first run
};

// An asynchronous run.
struct Pending {
  std::size_t call;
  std::vector<float> y;
  bool aborted = false;
  std::mutex mutex;
  std::condition_variable changed;
  bool settled = false;
  Status status;
};

std::string check_output(Call& call, const std::vector<float>& y) {
  const std::string wrong = first_wrong_output(y, call.expected, call.bounds);
  if (!wrong.empty()) return wrong + ": " + describe(call.problem);
  if (call.first.empty()) call.first = y;
  for (std::size_t i = 0; i < y.size(); ++i) {
    if (!(y[i] == call.first[i])) return "bits differ from run to run: " + describe(call.problem);
  }
  return "";
}

std::string settle(Pending& pending, Call& call) {
  std::unique_lock<std::mutex> lock(pending.mutex);
  pending.changed.wait(lock, [&pending] { return pending.settled; });
  if (pending.aborted && pending.status.code == StatusCode::kAborted) return "";
  if (!pending.status.ok()) return "a job fails: " + pending.status.message + ": " + describe(call.problem);
  return check_output(call, pending.y);
}

// Most often of those that may run anything: others may decline.
AlgorithmChoice some_choice(std::uint8_t byte) {
  if (byte % 4 == 3) return AlgorithmChoice::kDirect;
  if (byte % 16 == 4) return AlgorithmChoice::kAmx;
  if (byte % 16 == 8) return AlgorithmChoice::kWinograd;
  return AlgorithmChoice::kAuto;
}

const Algorithm* algorithm_named(const std::string& name) {
  for (const Algorithm* algorithm : algorithm_list()) {
    if (algorithm->name() == name) return algorithm;
  }
  return nullptr;
}

}  // namespace

std::string fuzz_layer(const std::uint8_t* data, std::size_t size) {
  Bytes bytes(data, size);
  const std::int64_t most_products = size > 0 && data[0] >= 192 ? kManyProducts : kMostProducts;
  const Problem problem = small_problem(bytes, most_products);
  const SmallValues made = small_values(bytes, problem);
  if (!made.finite) return "";
  const float* const bias = problem.layer.has_bias ? made.values.b.data() : nullptr;
  const float* const slopes = made.values.slopes.data();
  const bool borrow = bytes.chance(4);
  std::shared_ptr<Layer> layer;
  const Status created = borrow ? Layer::borrow(problem.layer, made.values.w.data(), bias, &layer)
                                : Layer::create(problem.layer, made.values.w.data(), bias, &layer);
  if (!created.ok()) return "a layer cannot be made: " + created.message;

  std::vector<Call> calls(static_cast<std::size_t>(bytes.pick(1, 3)));
  for (std::size_t i = 0; i < calls.size(); ++i) {
    Call& call = calls[i];
    call.problem = problem;
    if (i > 0) call.problem.call = small_call(bytes, problem.layer, most_products);
    call.problem.call.algorithm = some_choice(bytes.byte());
    Values values{made.values};
    values.residual.clear();  // calls differ in size
    values.x.resize(static_cast<std::size_t>(call.problem.src_elements()));
    for (std::size_t j = 0; j < values.x.size(); ++j) values.x[j] = made.values.x[j % made.values.x.size()];
    call.expected = definition(call.problem, values);
    Explanation explanation;
    const Status status = layer->explain(call.problem.call, &explanation);
    if (!status.ok()) {
      if (status.code != StatusCode::kUnsupported || status.message.empty()) return "no explanation: " + status.message;
      calls.resize(i);
      break;
    }
    const Algorithm* const algorithm = algorithm_named(explanation.algorithm);
    if (algorithm == nullptr) return "an algorithm of no list: " + explanation.algorithm;
    call.bounds = error_bounds(*algorithm, call.problem, values, call.expected, made.kind);
    call.x = std::move(values.x);
  }
  if (calls.empty()) return "";

  std::vector<std::unique_ptr<Pending>> pending;
  std::string failure;
  for (int step = 0; step < 8 && !bytes.empty() && failure.empty(); ++step) {
    const std::size_t which = bytes.byte() % calls.size();
    Call& call = calls[which];
    const std::size_t outputs = static_cast<std::size_t>(call.problem.dst_elements());
    const int threads = static_cast<int>(bytes.pick(0, 3));
    switch (bytes.pick(0, 3)) {
      case 0: {
        const Status status = layer->prepare(call.problem.call);
        if (!status.ok()) failure = "prepare fails: " + status.message;
        break;
      }
      case 1: {
        auto started = std::make_unique<Pending>();
        Pending& p = *started;
        p.call = which;
        p.y.assign(outputs, -7.0f);
        const bool abort = bytes.chance(3);
        p.aborted = abort;
        const auto settled = [&p](const Status& status) {
          const std::lock_guard<std::mutex> lock(p.mutex);
          p.status = status;
          p.settled = true;
          p.changed.notify_one();
        };
        const std::shared_ptr<Job> job =
            Layer::start(layer, call.problem.call, true, {call.x.data(), p.y.data(), nullptr, slopes}, threads, settled);
        if (abort) job->abort();
        pending.push_back(std::move(started));
        break;
      }
      default: {
        std::vector<float> y(outputs, -7.0f);
        const Status status = layer->run(call.problem.call, {call.x.data(), y.data(), nullptr, slopes}, threads);
        failure = status.ok() ? check_output(call, y) : "a run fails: " + status.message;
      }
    }
  }
  if (bytes.chance(2) && !borrow) layer.reset();
  for (const std::unique_ptr<Pending>& each : pending) {
    const std::string wrong = settle(*each, calls[each->call]);
    if (failure.empty()) failure = wrong;
  }
  return failure;
}

}  // namespace convtranspose
