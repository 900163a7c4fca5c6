// The finish kernels of every instruction set that this machine can run, against double precision over the whole range of
// floats: the bounds that docs/fused.md states.
#include <doctest/doctest.h>

#include <algorithm>
#include <cmath>
#include <cstring>
#include <functional>
#include <limits>
#include <random>
#include <string>
#include <thread>
#include <vector>

#include "bounds.h"
#include "definition.h"
#include "kernels/kernel.h"
#include "kernels/registry.h"
#include "runtime/cpu.h"

using namespace convtranspose;

namespace {

constexpr float kInfinity = std::numeric_limits<float>::infinity();
constexpr float kNaN = std::numeric_limits<float>::quiet_NaN();

struct Case {
  const char* name;
  Activation activation;
  float alpha;
  float at_minus_infinity, at_infinity;
};

// Slopes and alpha beside the defaults of torch.nn.functional.
constexpr Case kCases[] = {
    {"clamp", Activation::kClamp, 0.0f, -1.5f, 6.0f},
    {"leaky_relu", Activation::kLeakyRelu, 0.01f, -kInfinity, kInfinity},
    {"leaky_relu 0", Activation::kLeakyRelu, 0.0f, kNaN, kInfinity},
    {"leaky_relu -3", Activation::kLeakyRelu, -3.0f, kInfinity, kInfinity},
    {"prelu", Activation::kPrelu, 0.25f, -kInfinity, kInfinity},
    {"tanh", Activation::kTanh, 0.0f, -1.0f, 1.0f},
    {"sigmoid", Activation::kSigmoid, 0.0f, 0.0f, 1.0f},
    {"gelu", Activation::kGelu, 0.0f, kNaN, kInfinity},
    {"gelu tanh", Activation::kGeluTanh, 0.0f, kNaN, kInfinity},
    {"silu", Activation::kSilu, 0.0f, kNaN, kInfinity},
    {"elu", Activation::kElu, 1.0f, -1.0f, kInfinity},
    {"elu 2.5", Activation::kElu, 2.5f, -2.5f, kInfinity},
};

bool same_bits(float a, float b) {
  if (std::isnan(a) || std::isnan(b)) return std::isnan(a) && std::isnan(b);
  return std::memcmp(&a, &b, sizeof(float)) == 0;
}

FinishArgs make_args(const Case& a, float* dst, std::int64_t count, const std::vector<float>& slopes) {
  FinishArgs args{};
  args.dst = dst;
  args.rows = 1;
  args.columns = count;
  args.lower = -1.5f;
  args.upper = 6.0f;
  args.alpha = a.alpha;
  args.slopes = slopes.data();
  return args;
}

void apply(const KernelTable& table, const Case& a, const FinishArgs& args) {
  table.finish[static_cast<int>(a.activation)](&args);
}

template <typename Body>
void for_each_case(Body body) {
  for (const Isa isa : cpu_info().supported) {
    const KernelTable* const table = kernel_table(isa);
    if (table == nullptr) continue;
    for (const Case& a : kCases) {
      INFO(std::string(a.name) << " on " << std::string(table->isa));
      body(*table, a);
    }
  }
}

// How far a kernel is off, in parts of what is allowed, and where.
struct Worst {
  double error = 0.0;
  float at = 0.0f;
};

// Of every table, over every `step`-th float from the pattern `first` on, below `end`.
void check_patterns(const Case& a, const std::vector<const KernelTable*>& tables, std::uint64_t first, std::uint64_t end,
                    std::uint64_t step, std::vector<Worst>& worst) {
  constexpr std::size_t kBlock = 4096;
  std::vector<float> x, y;
  std::vector<double> expected;
  const std::vector<float> slopes(kBlock, a.alpha);
  for (std::uint64_t bits = first; bits < end;) {
    x.clear();
    expected.clear();
    for (; x.size() < kBlock && bits < end; bits += step) {
      const auto pattern = static_cast<std::uint32_t>(bits);
      float value;
      std::memcpy(&value, &pattern, sizeof value);
      if (!std::isfinite(value)) continue;
      x.push_back(value);
      expected.push_back(activated({a.activation, -1.5f, 6.0f, a.alpha}, a.alpha, static_cast<double>(value)));
    }
    for (std::size_t t = 0; t < tables.size(); ++t) {
      y = x;
      apply(*tables[t], a, make_args(a, y.data(), static_cast<std::int64_t>(y.size()), slopes));
      for (std::size_t i = 0; i < x.size(); ++i) {
        const bool overflows = std::fabs(expected[i]) >= std::ldexp(1.0, 128);
        const double difference = overflows && std::isinf(y[i]) ? 0.0 : std::fabs(static_cast<double>(y[i]) - expected[i]);
        const double error = difference == 0.0 ? 0.0 : difference / activation_error(a.activation, expected[i]);
        if (!(error <= worst[t].error)) worst[t] = {error, x[i]};
      }
    }
  }
}

// Every `step`-th float, on all processors.
void check_range(std::uint64_t step) {
  std::vector<const KernelTable*> tables;
  for (const Isa isa : cpu_info().supported) {
    if (const KernelTable* const table = kernel_table(isa)) tables.push_back(table);
  }
  const std::uint64_t parts = std::max(1u, std::thread::hardware_concurrency());
  const std::uint64_t size = ((std::uint64_t{1} << 32) / parts / step + 1) * step;
  for (const Case& a : kCases) {
    std::vector<std::vector<Worst>> worst(parts, std::vector<Worst>(tables.size()));
    std::vector<std::thread> threads;
    for (std::uint64_t part = 0; part < parts; ++part) {
      const std::uint64_t first = part * size;
      const std::uint64_t end = std::min(first + size, std::uint64_t{1} << 32);
      threads.emplace_back(check_patterns, std::cref(a), std::cref(tables), first, end, step, std::ref(worst[part]));
    }
    for (std::thread& thread : threads) thread.join();
    for (std::size_t t = 0; t < tables.size(); ++t) {
      for (const std::vector<Worst>& of_part : worst) {
        INFO(std::string(a.name) << " on " << std::string(tables[t]->isa) << ", worst at " << of_part[t].at);
        CHECK(of_part[t].error <= 1.0);
      }
    }
  }
}

}  // namespace

TEST_CASE("finish: the error of every activation over the range of floats") { check_range(1021); }

TEST_CASE("finish: the error of every activation over all floats" * doctest::skip()) { check_range(1); }

TEST_CASE("finish: infinities, NaN and zeros are PyTorch's") {
  for_each_case([](const KernelTable& table, const Case& a) {
    const std::vector<float> x{-kInfinity, kInfinity, kNaN, -0.0f, 0.0f};
    const float negative_zero = a.alpha < 0.0f ? 0.0f : -0.0f;  // -0 times the slope
    const float expected[] = {a.at_minus_infinity, a.at_infinity, kNaN,
                              a.activation == Activation::kSigmoid ? 0.5f : negative_zero,
                              a.activation == Activation::kSigmoid ? 0.5f
                              : a.alpha < 0.0f                     ? -0.0f
                                                                   : 0.0f};
    std::vector<float> y = x;
    apply(table, a, make_args(a, y.data(), 5, std::vector<float>(5, a.alpha)));
    for (std::size_t i = 0; i < x.size(); ++i) CHECK(same_bits(y[i], expected[i]));
  });
}

TEST_CASE("finish: places, tails, strides and residual; nothing else is touched") {
  constexpr std::int64_t kRows = 3, kColumns = 37, kStride = 41;
  std::mt19937 random(7);
  std::normal_distribution<float> normal(0.0f, 4.0f);
  for_each_case([&](const KernelTable& table, const Case& a) {
    std::vector<float> values(kRows * kStride), residual(kRows * kColumns), slopes(kColumns);
    for (float& value : values) value = normal(random);
    for (float& value : residual) value = normal(random);
    for (float& value : slopes) value = normal(random);
    for (const bool adds : {false, true}) {
      for (std::int64_t columns = 0; columns <= kColumns; ++columns) {
        std::vector<float> y = values;
        FinishArgs args = make_args(a, y.data(), columns, slopes);
        args.rows = kRows;
        args.dst_stride = kStride;
        args.residual = adds ? residual.data() : nullptr;
        args.residual_stride = kColumns;
        apply(table, a, args);
        // One value at a time gives the same bits.
        std::vector<float> expected = values;
        for (std::int64_t i = 0; i < kRows; ++i) {
          for (std::int64_t j = 0; j < columns; ++j) {
            float* const at = &expected[static_cast<std::size_t>(i * kStride + j)];
            if (adds) *at += residual[static_cast<std::size_t>(i * kColumns + j)];
            apply(table, a, make_args(a, at, 1, {slopes[static_cast<std::size_t>(j)]}));
          }
        }
        CHECK(std::equal(y.begin(), y.end(), expected.begin(), same_bits));
      }
    }
  });
}
