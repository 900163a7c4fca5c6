// Packing that several jobs share: every task once, whoever does it, and nobody goes on before all are done.
#include "layer/packed_weights.h"

#include <doctest/doctest.h>

#include <atomic>
#include <chrono>
#include <cstring>
#include <random>
#include <thread>
#include <vector>

#include "include/convtranspose.h"

namespace convtranspose {
namespace {

// Eight floats in eight tasks; a task can be held up.
class HeldForm final : public PackedForm {
 public:
  std::int64_t elements() const override { return 8; }
  const std::string& key() const override { return key_; }
  std::int64_t tasks() const override { return 8; }
  void pack_task(const float* weights, std::int64_t task, float* packed) const noexcept override {
    ++begun;
    while (task == held) std::this_thread::yield();
    packed[task] = 2 * weights[task];
  }
  mutable std::atomic<int> begun{0};
  std::atomic<std::int64_t> held{-1};

 private:
  std::string key_ = "held";
};

constexpr float kRaw[8] = {1, 2, 3, 4, 5, 6, 7, 8};

TEST_CASE("packed weights: each task is done once, and completion is told once all are done") {
  const auto form = std::make_shared<HeldForm>();
  const auto packed = PackedWeights::create(form);
  REQUIRE(packed != nullptr);
  CHECK(packed->key() == "held");
  CHECK(packed->elements() == 8);
  CHECK(packed->waiting_tasks() == 8);
  for (int i = 0; i < 3; ++i) packed->pack_next(kRaw);  // whoever began it goes away
  CHECK(packed->waiting_tasks() == 5);
  CHECK(!packed->complete());

  form->held = 3;
  std::thread slow([&] { packed->pack_next(kRaw); });
  while (form->begun < 4) std::this_thread::yield();
  for (int i = 0; i < 10; ++i) packed->pack_next(kRaw);
  CHECK(packed->waiting_tasks() == 0);
  CHECK(!packed->complete());
  std::atomic<int> told{0};
  REQUIRE(packed->when_complete([&] { ++told; }));
  REQUIRE(packed->when_complete([&] { told += 10; }));
  CHECK(told == 0);

  form->held = -1;
  packed->wait();
  slow.join();
  CHECK(told == 11);
  CHECK(packed->complete());
  CHECK(form->begun == 8);
  CHECK(!packed->when_complete([&] { ++told; }));
  packed->wait();
  packed->pack_next(kRaw);
  CHECK(form->begun == 8);
  CHECK(told == 11);
  for (int i = 0; i < 8; ++i) CHECK(packed->data()[i] == 2 * kRaw[i]);
}

// A layer whose packing takes some hundred tasks.
struct LargeLayer {
  LayerSpec spec;
  CallSpec call;
  std::vector<float> weights, src, expected;
  std::shared_ptr<Layer> layer;

  LargeLayer() {
    spec.rank = 2;
    spec.in_channels = 256;
    spec.out_channels = 256;
    spec.kernel = {1, 4, 4};
    spec.stride = {1, 2, 2};
    call.in = {1, 2, 2};
    call.pad_begin = {0, 1, 1};
    call.out = {1, 4, 4};
    call.weights_reused = true;
    std::mt19937 random(1);
    std::normal_distribution<float> normal;
    weights.resize(256 * 256 * 16);
    src.resize(256 * 4);
    for (auto* values : {&weights, &src}) {
      for (float& value : *values) value = normal(random);
    }
    renew();
    expected = run(1);
    renew();
  }
  void renew() { REQUIRE(Layer::create(spec, weights.data(), nullptr, &layer).ok()); }
  std::vector<float> run(int threads) {
    std::vector<float> dst(256 * 16);
    REQUIRE(layer->run(call, {src.data(), dst.data()}, threads).ok());
    return dst;
  }
};

template <typename Condition>
bool eventually(Condition condition) {
  const auto end = std::chrono::steady_clock::now() + std::chrono::seconds(60);
  while (!condition()) {
    if (std::chrono::steady_clock::now() > end) return false;
    std::this_thread::yield();
  }
  return true;
}

TEST_CASE("first calls of one layer at the same time, synchronous and asynchronous: one packed form, equal results") {
  LargeLayer large;
  for (int round = 0; round < 8; ++round) {
    large.renew();
    constexpr int kCalls = 6;
    std::vector<std::vector<float>> results(kCalls, std::vector<float>(256 * 16));
    std::vector<std::shared_ptr<Job>> jobs;
    std::atomic<int> settled{0}, failed{0};
    for (int i = 0; i < kCalls; ++i) {
      jobs.push_back(Layer::start(large.layer, large.call, true, {large.src.data(), results[i].data()}, 1 + i % 3,
                                  [&](const Status& status) {
                                    failed += !status.ok();
                                    ++settled;
                                  }));
    }
    std::vector<float> first, second;
    std::thread other([&] { second = large.run(2); });
    first = large.run(2);
    other.join();
    REQUIRE(eventually([&] { return settled == kCalls; }));
    CHECK(failed == 0);
    CHECK(first == large.expected);
    CHECK(second == large.expected);
    for (const auto& result : results) CHECK(result == large.expected);
    CHECK(large.layer->packed_bytes() == static_cast<std::int64_t>(large.weights.size() * sizeof(float)));
  }
}

TEST_CASE("results in memory that nobody has touched: as in other memory, aborted or not") {
  constexpr std::int64_t kWidth = 1 << 21;  // 8 MiB: several slices
  LayerSpec spec;
  spec.in_channels = 1;
  spec.out_channels = 1;
  CallSpec call;
  call.in = {1, 1, kWidth};
  call.out = call.in;
  const float weight = 3.0f;
  std::shared_ptr<Layer> layer;
  REQUIRE(Layer::create(spec, &weight, nullptr, &layer).ok());
  std::vector<float> src(kWidth);
  for (std::size_t i = 0; i < src.size(); ++i) src[i] = static_cast<float>(i % 1000);
  std::vector<float> expected(kWidth);
  REQUIRE(layer->run(call, {src.data(), expected.data()}, 2).ok());
  for (int round = 0; round < 6; ++round) {
    std::vector<float> dst(kWidth, -1.0f);
    Layer::Pointers pointers{src.data(), dst.data()};
    pointers.untouched = true;
    std::atomic<bool> settled{false};
    StatusCode outcome{};
    const auto job = Layer::start(layer, call, true, pointers, 1 + round % 3, [&](const Status& status) {
      outcome = status.code;
      settled = true;
    });
    if (round >= 3) job->abort();
    REQUIRE(eventually([&] { return settled.load(); }));
    if (round < 3) CHECK(outcome == StatusCode::kOk);
    if (outcome == StatusCode::kOk) CHECK(dst == expected);
  }
}

TEST_CASE("aborted while it packs: the call settles as aborted, the others and later ones are right") {
  LargeLayer large;
  for (int round = 0; round < 20; ++round) {
    large.renew();
    std::vector<float> dropped(256 * 16), kept(256 * 16);
    std::atomic<int> settled{0};
    StatusCode outcome{}, kept_outcome{};
    const auto first =
        Layer::start(large.layer, large.call, true, {large.src.data(), dropped.data()}, 2, [&](const Status& status) {
          outcome = status.code;
          ++settled;
        });
    const auto second =
        Layer::start(large.layer, large.call, round % 2 == 0, {large.src.data(), kept.data()}, 2, [&](const Status& status) {
          kept_outcome = status.code;
          ++settled;
        });
    for (int i = 0; i < round * 20; ++i) std::this_thread::yield();
    first->abort();
    REQUIRE(eventually([&] { return settled == 2; }));
    CHECK((outcome == StatusCode::kAborted || dropped == large.expected));
    CHECK(kept_outcome == StatusCode::kOk);
    if (round % 2 == 0) CHECK(kept == large.expected);
    CHECK(large.run(2) == large.expected);
  }
}

}  // namespace
}  // namespace convtranspose
