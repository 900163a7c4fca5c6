// The finish kernels of every instruction set that this machine can run, against double precision over the whole range of
// floats: the bounds that docs/fused.md states.
#include <doctest/doctest.h>

#include <algorithm>
#include <cmath>
#include <cstring>
#include <limits>
#include <random>
#include <string>
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

// Every `step`-th float.
void check_range(std::uint64_t step) {
  constexpr std::size_t kBlock = 4096;
  std::vector<float> x, y;
  const std::vector<float> no_slopes;
  for_each_case([&](const KernelTable& table, const Case& a) {
    const std::vector<float> slopes(kBlock, a.alpha);
    double worst = 0.0;
    float worst_at = 0.0f;
    std::uint64_t bits = 0;
    while (bits < (std::uint64_t{1} << 32)) {
      x.clear();
      for (; x.size() < kBlock && bits < (std::uint64_t{1} << 32); bits += step) {
        const auto pattern = static_cast<std::uint32_t>(bits);
        float value;
        std::memcpy(&value, &pattern, sizeof value);
        if (std::isfinite(value)) x.push_back(value);
      }
      y = x;
      apply(table, a, make_args(a, y.data(), static_cast<std::int64_t>(y.size()), slopes));
      for (std::size_t i = 0; i < x.size(); ++i) {
        const double expected = activated({a.activation, -1.5f, 6.0f, a.alpha}, a.alpha, static_cast<double>(x[i]));
        const bool overflows = std::fabs(expected) >= std::ldexp(1.0, 128);
        const double allowed = activation_error(a.activation, expected);
        const double difference = overflows && std::isinf(y[i]) ? 0.0 : std::fabs(static_cast<double>(y[i]) - expected);
        const double error = difference == 0.0 ? 0.0 : difference / allowed;
        if (!(error <= worst)) {
          worst = error;
          worst_at = x[i];
        }
      }
    }
    INFO("worst at " << worst_at);
    CHECK(worst <= 1.0);
  });
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
