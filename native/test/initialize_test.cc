#include "layer/initialize.h"

#include <doctest/doctest.h>

#include <cmath>
#include <random>
#include <vector>

#include "layer/layer.h"

namespace convtranspose {
namespace {

TEST_CASE("the generator is MT19937: the sequence of the C++ standard's, also after skipping") {
  for (const std::uint32_t seed : {0u, 5489u, 4294967295u}) {
    std::mt19937 expected(seed);
    MersenneTwister generator(seed);
    int wrong = 0;
    for (int i = 0; i < 3000; ++i) wrong += generator.next() != expected();
    for (const int count : {0, 1, 622, 624, 625, 10000}) {
      generator.skip(count);
      expected.discard(static_cast<unsigned long long>(count));
      wrong += generator.next() != expected();
    }
    CHECK(wrong == 0);
  }
}

TEST_CASE("drawn parameters: those of the seed, the bias the same whether the weights are drawn or given") {
  LayerSpec spec;
  spec.in_channels = 6;
  spec.out_channels = 4;
  spec.groups = 2;
  spec.kernel = {1, 3, 5};
  spec.has_bias = true;
  const std::int64_t count = 6 * 2 * 15;
  std::shared_ptr<Layer> drawn, again, other, given;
  const std::vector<float> weights(static_cast<std::size_t>(count), 1.5f);
  REQUIRE(Layer::create_seeded(spec, nullptr, nullptr, 7, &drawn).ok());
  REQUIRE(Layer::create_seeded(spec, nullptr, nullptr, 7, &again).ok());
  REQUIRE(Layer::create_seeded(spec, nullptr, nullptr, 8, &other).ok());
  REQUIRE(Layer::create_seeded(spec, weights.data(), nullptr, 7, &given).ok());
  const auto bits = [&](const Layer& layer) { return std::vector<float>(layer.weights(), layer.weights() + count); };
  const auto bias = [](const Layer& layer) { return std::vector<float>(layer.bias(), layer.bias() + 4); };
  CHECK(bits(*drawn) == bits(*again));
  CHECK(bits(*drawn) != bits(*other));
  CHECK(bits(*given) == weights);
  CHECK(bias(*drawn) == bias(*given));
  CHECK(bias(*drawn) != bias(*other));
  const float bound = static_cast<float>(1 / std::sqrt(30.0));
  for (const float value : bits(*drawn)) CHECK(std::fabs(value) <= bound);
}

TEST_CASE("nothing to draw for: the bias is zero") {
  LayerSpec spec;
  spec.in_channels = 2;
  spec.out_channels = 0;
  spec.has_bias = true;
  std::shared_ptr<Layer> layer;
  CHECK(Layer::create_seeded(spec, nullptr, nullptr, 1, &layer).ok());
}

}  // namespace
}  // namespace convtranspose
