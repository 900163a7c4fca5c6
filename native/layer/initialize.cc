#include "layer/initialize.h"

#include <algorithm>
#include <cmath>

namespace convtranspose {
namespace {

constexpr int kShift = 397;

std::uint32_t mix(std::uint32_t upper, std::uint32_t lower, std::uint32_t far) {
  const std::uint32_t mixed = (upper & 0x80000000u) | (lower & 0x7fffffffu);
  return far ^ (mixed >> 1) ^ ((0u - (mixed & 1u)) & 0x9908b0dfu);
}

// Values of [-bound, bound), each from 24 random bits. As in ATen's uniform_, the bounds and their difference are float32,
// the rest is computed in double precision and rounded once.
void fill_uniform(float* values, std::int64_t count, double bound, MersenneTwister& generator) {
  const float from = static_cast<float>(-bound);
  const double range = static_cast<float>(bound) - from;
  for (std::int64_t i = 0; i < count; ++i) {
    const double unit = static_cast<double>(static_cast<std::int32_t>(generator.next() & 0xffffffu)) * 0x1p-24;
    values[i] = static_cast<float>(unit * range + static_cast<double>(from));
  }
}

}  // namespace

MersenneTwister::MersenneTwister(std::uint32_t seed) {
  state_[0] = seed;
  for (std::uint32_t i = 1; i < kBlock; ++i) {
    const std::uint32_t previous = state_[i - 1];
    state_[i] = 1812433253u * (previous ^ (previous >> 30)) + i;
  }
}

// In three loops, each free of dependencies between near iterations, so that compilers make vectors of them.
void MersenneTwister::refill() {
  std::uint32_t* const state = state_.data();
  for (int i = 0; i < kBlock - kShift; ++i) state[i] = mix(state[i], state[i + 1], state[i + kShift]);
  for (int i = kBlock - kShift; i < kBlock - 1; ++i) state[i] = mix(state[i], state[i + 1], state[i + kShift - kBlock]);
  state[kBlock - 1] = mix(state[kBlock - 1], state[0], state[kShift - 1]);
  for (int i = 0; i < kBlock; ++i) {
    std::uint32_t bits = state[i];
    bits ^= bits >> 11;
    bits ^= (bits << 7) & 0x9d2c5680u;
    bits ^= (bits << 15) & 0xefc60000u;
    bits_[static_cast<std::size_t>(i)] = bits ^ (bits >> 18);
  }
  at_ = 0;
}

void MersenneTwister::skip(std::int64_t count) {
  while (count > 0) {
    if (at_ == kBlock) refill();
    const std::int64_t step = std::min<std::int64_t>(count, kBlock - at_);
    at_ += static_cast<int>(step);
    count -= step;
  }
}

void initialize(const LayerSpec& layer, std::uint32_t seed, float* weights, float* bias) {
  const Problem problem{layer, {}};
  const std::int64_t fan_in = problem.out_channels_per_group() * problem.kernel_points();
  MersenneTwister generator(seed);
  // nn.init.kaiming_uniform_ with a = sqrt(5). The order of these operations is that of nn.init, since each of them rounds.
  const double slope = std::sqrt(5.0);
  const double gain = std::sqrt(2.0 / (1.0 + slope * slope));
  const double root = std::sqrt(static_cast<double>(fan_in));
  if (weights == nullptr) {
    generator.skip(problem.weights_elements());
  } else {
    fill_uniform(weights, problem.weights_elements(), std::sqrt(3.0) * (gain / root), generator);
  }
  if (bias == nullptr) return;
  if (fan_in > 0) {
    fill_uniform(bias, layer.out_channels, 1.0 / root, generator);
  } else {
    std::fill_n(bias, layer.out_channels, 0.0f);
  }
}

}  // namespace convtranspose
