#include "algorithms/streaming.h"

#include <doctest/doctest.h>

#include <random>
#include <vector>

#include "kernels/registry.h"
#include "pack/packed_form.h"
#include "runtime/cpu.h"

namespace convtranspose {

TEST_CASE("rows that follow each other in memory are stored whole, whatever their lengths, and nothing beside them") {
  std::mt19937 random(11);
  for (const Isa isa : cpu_info().supported) {
    const KernelTable& table = *kernel_table(isa);
    if (table.stream == nullptr) continue;
    for (int round = 0; round < 300; ++round) {
      constexpr std::size_t kChannels = 3, kPlane = 512;
      FloatArray memory(kChannels * kPlane);
      std::vector<float> expected(kChannels * kPlane, -1.0f), row(200);
      std::copy(expected.begin(), expected.end(), memory.data());
      LineStream lines(table);
      std::size_t at = random() % 20;
      float value = 1.0f;
      for (int i = 0; i < 6; ++i) {
        const std::size_t count = round % 3 == 0 ? random() % 12 : random() % 80;  // some shorter than a line
        for (std::size_t channel = 0; channel < kChannels; ++channel) {
          const std::size_t first = channel * (kPlane - 7) + at;  // planes begin anywhere in a line
          for (std::size_t j = 0; j < count; ++j) expected[first + j] = row[j] = value++;
          lines.put(static_cast<std::int64_t>(channel), row.data(), static_cast<std::int64_t>(count), memory.data() + first);
        }
        at += count + (random() % 4 == 0 ? random() % 5 : 0);  // now and then a row begins elsewhere
      }
      lines.flush();
      table.stream_fence();
      std::size_t wrong = 0;
      for (std::size_t i = 0; i < expected.size(); ++i) wrong += memory.data()[i] != expected[i];
      INFO("round " << round);
      CHECK(wrong == 0);
    }
  }
}

}  // namespace convtranspose
