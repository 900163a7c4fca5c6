#include "peak.h"

#include <algorithm>
#include <chrono>
#include <cstdint>
#include <thread>
#include <vector>

#if defined(__x86_64__)
#include <immintrin.h>
#elif defined(__aarch64__)
#include <arm_neon.h>
#endif

namespace convtranspose::bench {
namespace {

using Clock = std::chrono::steady_clock;

// Independent chains: enough to cover a latency of 4 to 5 cycles with two units, few enough for 16 registers.
constexpr int kChains = 12;

// A loop runs acc = acc*half + one, `iterations` times on kChains vectors that start at start, start + 1, ..., and returns
// something that depends on all of them. The values stay near 2, so no operand is ever subnormal or infinite. The start is
// an argument because 2 is a fixed point: a compiler that knows the values drops that chain and the peak looks too high.
using PeakLoop = float (*)(std::int64_t iterations, float start);

struct PeakKernel {
  PeakLoop loop;  // nullptr: not available
  int lanes;
};

#if defined(__x86_64__)

__attribute__((target("avx512f"))) float loop_avx512(std::int64_t iterations, float start) {
  const __m512 half = _mm512_set1_ps(0.5f), one = _mm512_set1_ps(1.0f);
  __m512 acc[kChains];
  for (int i = 0; i < kChains; ++i) acc[i] = _mm512_set1_ps(start + static_cast<float>(i));
  for (std::int64_t n = 0; n < iterations; ++n) {
#pragma GCC unroll 12
    for (int i = 0; i < kChains; ++i) acc[i] = _mm512_fmadd_ps(acc[i], half, one);
  }
  __m512 sum = acc[0];
  for (int i = 1; i < kChains; ++i) sum = _mm512_add_ps(sum, acc[i]);
  return _mm512_cvtss_f32(sum);
}

__attribute__((target("avx2,fma"))) float loop_avx2(std::int64_t iterations, float start) {
  const __m256 half = _mm256_set1_ps(0.5f), one = _mm256_set1_ps(1.0f);
  __m256 acc[kChains];
  for (int i = 0; i < kChains; ++i) acc[i] = _mm256_set1_ps(start + static_cast<float>(i));
  for (std::int64_t n = 0; n < iterations; ++n) {
#pragma GCC unroll 12
    for (int i = 0; i < kChains; ++i) acc[i] = _mm256_fmadd_ps(acc[i], half, one);
  }
  __m256 sum = acc[0];
  for (int i = 1; i < kChains; ++i) sum = _mm256_add_ps(sum, acc[i]);
  return _mm256_cvtss_f32(sum);
}

// SSE2 has no fused multiply-add: one multiply and one add count as the two operations.
float loop_baseline(std::int64_t iterations, float start) {
  const __m128 half = _mm_set1_ps(0.5f), one = _mm_set1_ps(1.0f);
  __m128 acc[kChains];
  for (int i = 0; i < kChains; ++i) acc[i] = _mm_set1_ps(start + static_cast<float>(i));
  for (std::int64_t n = 0; n < iterations; ++n) {
#pragma GCC unroll 12
    for (int i = 0; i < kChains; ++i) acc[i] = _mm_add_ps(_mm_mul_ps(acc[i], half), one);
  }
  __m128 sum = acc[0];
  for (int i = 1; i < kChains; ++i) sum = _mm_add_ps(sum, acc[i]);
  return _mm_cvtss_f32(sum);
}

PeakKernel find_kernel(const std::string& isa) {
  __builtin_cpu_init();
  // Of floats, also where a unit for matrices of smaller numbers makes up their products.
  if ((isa == "avx512" || isa == "amx") && __builtin_cpu_supports("avx512f")) return {loop_avx512, 16};
  if (isa == "avx2" && __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma")) return {loop_avx2, 8};
  if (isa == "baseline") return {loop_baseline, 4};
  return {nullptr, 0};
}

constexpr const char* kIsas[] = {"avx512", "avx2", "baseline"};

#elif defined(__aarch64__)

float loop_neon(std::int64_t iterations, float start) {
  const float32x4_t half = vdupq_n_f32(0.5f);
  const float32x4_t one = vdupq_n_f32(1.0f);
  float32x4_t acc[kChains];
  for (int i = 0; i < kChains; ++i) acc[i] = vdupq_n_f32(start + static_cast<float>(i));
  for (std::int64_t n = 0; n < iterations; ++n) {
#pragma GCC unroll 12
    // The accumulator is the addend of this instruction: acc + acc*-half would cancel, so one - acc*half is used.
    for (int i = 0; i < kChains; ++i) acc[i] = vfmsq_f32(one, acc[i], half);
  }
  float32x4_t sum = acc[0];
  for (int i = 1; i < kChains; ++i) sum = vaddq_f32(sum, acc[i]);
  return vgetq_lane_f32(sum, 0);
}

// Every armv8 processor has NEON, so the portable kernels are measured against the same loop.
PeakKernel find_kernel(const std::string& isa) {
  if (isa == "neon" || isa == "baseline") return {loop_neon, 4};
  return {nullptr, 0};
}

constexpr const char* kIsas[] = {"neon"};

#else

PeakKernel find_kernel(const std::string&) { return {nullptr, 0}; }
constexpr const char* kIsas[] = {"baseline"};

#endif

double seconds_since(Clock::time_point start) { return std::chrono::duration<double>(Clock::now() - start).count(); }

// The best slice of one thread, in GFLOP/s.
double best_slice(const PeakKernel& kernel, double seconds) {
  constexpr int kLeastSlices = 8;                // other processes may take most of the time away
  constexpr std::int64_t kIterations = 100'000;  // about half a millisecond at two instructions per cycle and 3 GHz
  const double flops = 2.0 * kernel.lanes * kChains * kIterations;
  volatile float start_value = 0.25f;
  volatile float sink = kernel.loop(kIterations, start_value);  // wakes the vector units
  double best = 0;
  const Clock::time_point start = Clock::now();
  int slices = 0;
  do {
    const Clock::time_point slice = Clock::now();
    sink = kernel.loop(kIterations, start_value);
    best = std::max(best, flops / seconds_since(slice) * 1e-9);
    ++slices;
  } while (seconds_since(start) < seconds || slices < kLeastSlices);
  (void)sink;
  return best;
}

}  // namespace

double measure_peak(const std::string& isa, int threads, double seconds) {
  const PeakKernel kernel = find_kernel(isa);
  if (kernel.loop == nullptr) return 0;
  std::vector<double> rates(static_cast<std::size_t>(std::max(threads, 1)));
  std::vector<std::thread> others;
  for (std::size_t i = 1; i < rates.size(); ++i) {
    others.emplace_back([&rates, &kernel, i, seconds] { rates[i] = best_slice(kernel, seconds); });
  }
  rates[0] = best_slice(kernel, seconds);
  for (std::thread& other : others) other.join();
  double total = 0;
  for (double rate : rates) total += rate;
  return total;
}

std::string best_peak_isa() {
  for (const char* isa : kIsas) {
    if (find_kernel(isa).loop != nullptr) return isa;
  }
  return "baseline";
}

}  // namespace convtranspose::bench
