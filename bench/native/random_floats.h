// Tensors of the native benches.
#pragma once

#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <memory>
#include <random>
#include <span>

#include "runtime/buffer_pool.h"

namespace convtranspose::bench {

// Aligned memory of the package's own pool, filled with normal deviates (or left as it is). Ends the program where there is
// not enough.
struct Floats {
  std::shared_ptr<Buffer> buffer;
  std::span<float> values;

  explicit Floats(std::int64_t count) {
    buffer = allocate_buffer(static_cast<std::size_t>(count) * sizeof(float));
    if (buffer == nullptr) {
      std::fprintf(stderr, "not enough memory for %lld values\n", static_cast<long long>(count));
      std::exit(1);
    }
    values = {reinterpret_cast<float*>(buffer->data()), static_cast<std::size_t>(count)};
  }
  Floats(std::int64_t count, unsigned seed) : Floats(count) {
    std::mt19937 generator(seed);
    std::normal_distribution<float> normal;
    for (float& value : values) value = normal(generator);
  }
  float* data() const { return values.data(); }
};

}  // namespace convtranspose::bench
