// PyTorch's default initialisation, bit for bit: torch.manual_seed(seed) followed by nn.ConvTransposeNd on the CPU.
#pragma once

#include <array>
#include <cstdint>

#include "problem/problem.h"

namespace convtranspose {

// The generator behind torch.manual_seed on the CPU: MT19937 (Matsumoto and Nishimura 1998).
class MersenneTwister {
 public:
  static constexpr int kBlock = 624;
  explicit MersenneTwister(std::uint32_t seed);

  // The next 32 random bits.
  std::uint32_t next() {
    if (at_ == kBlock) refill();
    return bits_[static_cast<std::size_t>(at_++)];
  }
  void skip(std::int64_t count);

 private:
  void refill();

  std::array<std::uint32_t, kBlock> state_;
  std::array<std::uint32_t, kBlock> bits_;  // what next() gives
  int at_ = kBlock;
};

// Draws the weights, then the bias: uniform within 1/sqrt(fan_in), as nn.init computes it, where fan_in is what PyTorch
// takes for these layers: output channels of a group times kernel points. `weights` or `bias` may be nullptr: the numbers
// that they would have taken are passed over. A bias without anything to draw for (fan_in is 0) becomes zero.
void initialize(const LayerSpec& layer, std::uint32_t seed, float* weights, float* bias);

}  // namespace convtranspose
