// Speed of every kernel of every instruction set that this machine can run, on data in the first-level cache:
//
//   kernels_bench [isa]
//
// Tile kernels in GFLOP/s and as a share of the peak of multiply-adds of the same instruction set (the best so far: it is
// measured first and once more beside each kernel, because any one measurement may be disturbed), for one tap (a plain
// matrix product) and for four; the epilogues and the transpose in nanoseconds per element and bytes per nanosecond, of
// source and destination together.
#include <algorithm>
#include <chrono>
#include <cstdint>
#include <cstdio>
#include <functional>
#include <limits>
#include <string>
#include <vector>

#include "kernels/kernel.h"
#include "kernels/registry.h"
#include "peak.h"
#include "runtime/cpu.h"

using namespace convtranspose;

namespace {

using Clock = std::chrono::steady_clock;

constexpr std::size_t kCacheBytes = 16 * 1024;  // of data for one kernel
constexpr double kSeconds = 4e-3;               // of timing for one number
constexpr double kFirstPeakSeconds = 50e-3;
constexpr double kPeakSeconds = 2e-3;

// Seconds of one call: the best of many slices of some twenty microseconds.
double time_call(const std::function<void()>& call) {
  using Seconds = std::chrono::duration<double>;
  int repeats = 1;
  double best = std::numeric_limits<double>::infinity();
  const auto start = Clock::now();
  while (Seconds(Clock::now() - start).count() < kSeconds) {
    const auto slice = Clock::now();
    for (int i = 0; i < repeats; ++i) call();
    const double seconds = Seconds(Clock::now() - slice).count();
    best = std::min(best, seconds / repeats);
    if (seconds < 20e-6) repeats *= 2;
  }
  return best;
}

// Floats that begin on a cache line.
class Floats {
 public:
  explicit Floats(std::size_t size) : storage_(size + 16) {
    for (std::size_t i = 0; i < storage_.size(); ++i) storage_[i] = static_cast<float>(i % 13) * 0.0625f - 0.375f;
    while (reinterpret_cast<std::uintptr_t>(storage_.data() + start_) % 64 != 0) ++start_;
  }
  float* data() { return storage_.data() + start_; }

 private:
  std::vector<float> storage_;
  std::size_t start_ = 0;
};

// `by_steps`: with steps_fn, all taps of those that weights are kept for.
double tile_gflops(const TileKernel& kernel, bool wide, int taps, bool by_steps = false) {
  const int64_t channels = std::max<int64_t>(8, kCacheBytes / sizeof(float) / (kernel.mr + kernel.nr) / taps);
  std::vector<ptrdiff_t> tap_offset, row_offset;
  for (int t = 0; t < taps; ++t) tap_offset.push_back(wide ? t : t * channels);
  for (int i = 0; i < kernel.mr; ++i) row_offset.push_back(i * channels);
  const ptrdiff_t channel_stride = (kernel.nr + taps + 15) / 16 * 16;
  Floats src(wide ? channels * channel_stride : (kernel.mr + taps) * channels);
  Floats weights(channels * taps * (wide ? kernel.mr : kernel.nr));
  Floats tile(static_cast<std::size_t>(kernel.mr) * kernel.nr);
  TileArgs args{};
  args.src = src.data();
  args.tap_offset = tap_offset.data();
  args.row_offset = row_offset.data();
  args.src_channel_stride = channel_stride;
  args.weights = weights.data();
  args.channels = channels;
  args.taps = taps;
  args.tile = tile.data();
  args.tile_stride = kernel.nr;
  std::vector<TapStep> steps;
  for (int t = 0; t < taps; ++t) steps.push_back({tap_offset[t], t * kernel.nr});
  args.steps = by_steps ? steps.data() : nullptr;
  args.weights_channel_stride = static_cast<ptrdiff_t>(taps) * kernel.nr;
  const double operations = 2.0 * channels * taps * kernel.mr * kernel.nr;
  return operations / time_call([&] { (by_steps ? kernel.steps_fn : kernel.fn)(&args); }) * 1e-9;
}

void bench_tiles(const KernelTable& table, bool wide) {
  const TileKernel* kernels = wide ? table.wide : table.channels;
  std::printf("%s %s tiles      1 tap     share    4 taps     share%s\n", table.isa, wide ? "wide" : "channels",
              wide ? "" : "    by steps   share");
  double peak = bench::measure_peak(table.isa, 1, kFirstPeakSeconds);
  for (int k = 0; k < (wide ? table.wide_count : table.channels_count); ++k) {
    const double one = tile_gflops(kernels[k], wide, 1);
    const double four = tile_gflops(kernels[k], wide, 4);
    peak = std::max(peak, bench::measure_peak(table.isa, 1, kPeakSeconds));
    std::printf("  %-16s %12.1f %8.1f%% %9.1f %8.1f%%", kernels[k].name, one, 100 * one / peak, four, 100 * four / peak);
    if (!wide) {
      const double by_steps = tile_gflops(kernels[k], wide, 4, true);
      std::printf(" %9.1f %8.1f%%", by_steps, 100 * by_steps / peak);
    }
    std::printf("\n");
  }
}

void print_copy(const std::string& what, int64_t elements, double seconds) {
  std::printf("  %-28s %8.3f ns/element %8.1f bytes/ns\n", what.c_str(), seconds * 1e9 / elements,
              2.0 * sizeof(float) * elements / seconds * 1e-9);
}

constexpr Epilogue kEpilogue{0.0f, 6.0f};

void bench_stores(const KernelTable& table) {
  std::printf("%s epilogues and transpose\n", table.isa);
  constexpr int64_t kCount = 1920;  // divisible by all numbers of phases here
  Floats src(kCacheBytes), dst(kCacheBytes), bias(64);
  for (int64_t phases : {1, 2, 3, 4, 5, 6, 8, 10, 16}) {
    const ptrdiff_t stride = (kCount / phases + 31) / 16 * 16;
    const RowStoreArgs args{src.data(), stride, phases, kCount, dst.data(), 0.5f, &kEpilogue};
    print_copy("row_store " + std::to_string(phases) + " phases", kCount, time_call([&] { table.row_store(&args); }));
  }
  for (int64_t columns : {3, 20, 32, 48}) {
    const PixelStoreArgs args{src.data(), 48, 32, columns, dst.data(), 48, bias.data(), &kEpilogue};
    print_copy("pixel_store 32 x " + std::to_string(columns), 32 * columns, time_call([&] { table.pixel_store(&args); }));
  }
  for (int64_t rows : {3, 16, 32}) {
    for (int64_t columns : {3, 15, 64}) {
      const TransposeArgs args{src.data(), columns, dst.data(), rows, rows, columns};
      print_copy("transpose " + std::to_string(rows) + " x " + std::to_string(columns), rows * columns,
                 time_call([&] { table.transpose(&args); }));
    }
  }
}

}  // namespace

int main(int argc, char** argv) {
  for (Isa isa : cpu_info().supported) {
    const KernelTable* table = kernel_table(isa);
    if (table == nullptr || (argc > 1 && std::string(argv[1]) != table->isa)) continue;
    bench_tiles(*table, true);
    bench_tiles(*table, false);
    bench_stores(*table);
  }
  return 0;
}
