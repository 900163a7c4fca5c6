// At the limits of numbers and of sizes.
#include <doctest/doctest.h>

#include <algorithm>
#include <cmath>
#include <limits>
#include <string>
#include <vector>

#include "include/convtranspose.h"
#include "plan/planner.h"

#if defined(__linux__)
#include <sys/mman.h>
#include <unistd.h>
#endif

namespace convtranspose {
namespace {

TEST_CASE("subnormal numbers, infinities and NaN pass through as they are, whatever algorithm is chosen") {
  using Limits = std::numeric_limits<float>;
  const float values[] = {
      Limits::denorm_min(), -Limits::denorm_min(), 0x1p-130f,           -0x1.8p-127f,        Limits::min(),
      Limits::max(),        Limits::infinity(),    -Limits::infinity(), Limits::quiet_NaN(), 1.0f};
  constexpr std::int64_t kCount = 10;
  // y = x: a layer whose only nonzero products are by one. Zeros times infinity are NaN, so these have a layer of their own.
  for (const std::int64_t channels : {std::int64_t{1}, std::int64_t{24}}) {
    for (const MemoryFormat format : {MemoryFormat::kContiguous, MemoryFormat::kChannelsLast}) {
      Problem p;
      p.layer.groups = channels;
      p.layer.in_channels = p.layer.out_channels = channels;
      p.call.in = p.call.out = {1, 7, kCount};
      p.call.format = format;
      std::vector<float> x(static_cast<std::size_t>(p.src_elements()));
      for (std::size_t i = 0; i < x.size(); ++i) x[i] = values[i % kCount];
      const std::vector<float> w(static_cast<std::size_t>(p.weights_elements()), 1.0f);
      for (const Algorithm* algorithm : algorithm_list()) {
        p.call.algorithm = algorithm->choice();
        std::shared_ptr<Layer> layer;
        REQUIRE(Layer::create(p.layer, w.data(), nullptr, &layer).ok());
        for (const int threads : {1, 3}) {
          std::vector<float> y(x.size(), -7.0f);
          const Status status = layer->run(p.call, {x.data(), y.data()}, threads);
          if (status.code == StatusCode::kUnsupported) continue;
          REQUIRE(status.ok());
          INFO(std::string(algorithm->name()) << ", " << channels << " channels");
          for (std::size_t i = 0; i < x.size(); ++i) {
            if (std::isnan(x[i])) {
              REQUIRE(std::isnan(y[i]));
            } else {
              REQUIRE(y[i] == x[i]);
            }
          }
        }
        // A clamp passes NaN on and takes infinities to its ends.
        p.call.post_ops = {Activation::kClamp, 0.0f, 2.0f};
        std::vector<float> y(x.size());
        if (layer->run(p.call, {x.data(), y.data()}, 1).ok()) {
          for (std::size_t i = 0; i < x.size(); ++i) {
            if (std::isnan(x[i])) {
              REQUIRE(std::isnan(y[i]));
            } else {
              REQUIRE(y[i] == std::min(std::max(x[i], 0.0f), 2.0f));
            }
          }
        }
        p.call.post_ops = {};
      }
    }
  }
}

#if defined(__linux__)

// `count` floats of which float i is the same memory as float i + period; inaccessible pages before and behind.
class Repeating {
 public:
  Repeating(std::int64_t count, std::int64_t period) {
    constexpr std::size_t kGuard = std::size_t{1} << 30;
    const std::size_t size = static_cast<std::size_t>(period) * sizeof(float);
    const std::size_t repeats = (static_cast<std::size_t>(count) * sizeof(float) + size - 1) / size;
    mapped_ = repeats * size + 2 * kGuard;
    base_ = mmap(nullptr, mapped_, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    const int file = memfd_create("repeating", 0);
    REQUIRE(base_ != MAP_FAILED);
    REQUIRE(ftruncate(file, static_cast<off_t>(size)) == 0);
    char* const first = static_cast<char*>(base_) + kGuard;
    for (std::size_t i = 0; i < repeats; ++i) {
      REQUIRE(mmap(first + i * size, size, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_FIXED, file, 0) != MAP_FAILED);
    }
    close(file);
    data_ = reinterpret_cast<float*>(first);
  }
  ~Repeating() { munmap(base_, mapped_); }
  Repeating(const Repeating&) = delete;
  Repeating& operator=(const Repeating&) = delete;
  float* data() const { return data_; }

 private:
  void* base_;
  std::size_t mapped_;
  float* data_;
};

// On little memory: the pages of the tensors stand for the same few again and again, and the data repeats itself
// accordingly. Takes a minute: run with --no-skip.
TEST_CASE("beyond 2^31 elements: every algorithm indexes with 64 bits" * doctest::skip()) {
  // Rows repeat after 256 of the input, 512 of the output: kernel 2, stride 2, no padding.
  constexpr std::int64_t kHeight = 32800, kInRows = 256, kOutRows = 2 * kInRows;
  for (const MemoryFormat format : {MemoryFormat::kContiguous, MemoryFormat::kChannelsLast}) {
    const bool last = format == MemoryFormat::kChannelsLast;
    const std::int64_t channels = last ? 16 : 1;
    const std::int64_t width = 16384 / channels;
    Problem p;
    p.layer.in_channels = 1;
    p.layer.out_channels = channels;
    p.layer.kernel = p.layer.stride = {1, 2, 2};
    p.call.in = {1, kHeight, width};
    p.call.out = {1, 2 * kHeight, 2 * width};
    p.call.format = format;
    REQUIRE(p.dst_elements() > std::int64_t{1} << 31);
    std::vector<float> w(static_cast<std::size_t>(p.weights_elements()));
    for (std::size_t i = 0; i < w.size(); ++i) w[i] = static_cast<float>(i + 1);
    const Repeating x(p.src_elements(), kInRows * width);
    const Repeating y(p.dst_elements(), kOutRows * 2 * width * channels);
    for (std::int64_t i = 0; i < kInRows * width; ++i) x.data()[i] = static_cast<float>(i % 1009);
    for (const Algorithm* algorithm : algorithm_list()) {
      if (algorithm->choice() == AlgorithmChoice::kReference) continue;  // a minute, and nothing but 64 bits in it
      std::shared_ptr<const Plan> plan;
      if (!make_plan_with(p, *algorithm, WeightFacts{}, active_kernels(), cpu_info().caches, &plan).ok()) continue;
      const std::string name = std::string(algorithm->name()) + (last ? " channels-last" : " contiguous");
      INFO(name);
      std::fill_n(y.data(), kOutRows * 2 * width * channels, -7.0f);
      const Execution& execution = *plan->execution;
      const PackedForm* const form = execution.packed_form();
      FloatArray packed(form == nullptr ? 1 : form->elements());
      if (form != nullptr) pack_all(*form, w.data(), packed.data());
      FloatArray workspace(static_cast<std::int64_t>(execution.workspace_bytes() / sizeof(float)) + 16);
      FloatArray shared(static_cast<std::int64_t>(execution.shared_bytes() / sizeof(float)) + 16);
      std::atomic<bool> refused{false};
      const RunArgs args{x.data(), y.data(), nullptr, form == nullptr ? w.data() : packed.data(),
                         w.data(), nullptr,  nullptr, reinterpret_cast<std::byte*>(shared.data()),
                         &refused};
      KernelSet used;
      std::int64_t tag = -1;
      for (int stage = 0; stage < execution.stages(); ++stage) {
        for (std::int64_t task = 0; task < execution.tasks(stage); ++task) {
          execution.run_task(args, stage, task, {reinterpret_cast<std::byte*>(workspace.data()), &tag, &used});
        }
      }
      std::int64_t wrong = 0;
      for (std::int64_t row = 0; row < kOutRows; ++row) {
        for (std::int64_t column = 0; column < 2 * width; ++column) {
          for (std::int64_t c = 0; c < channels; ++c) {
            const std::int64_t tap = c * 4 + row % 2 * 2 + column % 2;
            const float expected = x.data()[row / 2 * width + column / 2] * w[static_cast<std::size_t>(tap)];
            wrong += y.data()[(row * 2 * width + column) * channels + c] != expected;
          }
        }
      }
      CHECK(wrong == 0);
      MESSAGE(name);
    }
  }
}

#endif

}  // namespace
}  // namespace convtranspose
