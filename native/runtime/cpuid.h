// The cpuid and xgetbv instructions. x86-64 only.
#pragma once

#include <cstdint>

#if defined(_MSC_VER) && !defined(__clang__)
#include <intrin.h>
#else
#include <cpuid.h>
#endif

namespace convtranspose {

struct Cpuid {
  std::uint32_t value[4];  // eax, ebx, ecx, edx
};

inline Cpuid cpuid(std::uint32_t leaf, std::uint32_t subleaf) {
  Cpuid result;
#if defined(_MSC_VER) && !defined(__clang__)
  __cpuidex(reinterpret_cast<int*>(result.value), static_cast<int>(leaf), static_cast<int>(subleaf));
#else
  __cpuid_count(leaf, subleaf, result.value[0], result.value[1], result.value[2], result.value[3]);
#endif
  return result;
}

// Register state that the operating system saves. Only where cpuid says OSXSAVE.
inline std::uint64_t read_xcr0() {
#if defined(_MSC_VER) && !defined(__clang__)
  return _xgetbv(0);
#else
  std::uint32_t low, high;
  __asm__("xgetbv" : "=a"(low), "=d"(high) : "c"(0));
  return static_cast<std::uint64_t>(high) << 32 | low;
#endif
}

}  // namespace convtranspose
