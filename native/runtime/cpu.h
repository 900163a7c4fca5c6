// What this machine is: instruction sets, caches, processors that this process may use.
#pragma once

#include <cstddef>
#include <string>
#include <vector>

#include "problem/status.h"

namespace convtranspose {

enum class Isa { kBaseline, kAvx2, kAvx512, kAmx, kNeon };

const char* isa_name(Isa isa);

struct CacheInfo {
  std::size_t l1d = 32 * 1024;  // bytes, per core
  std::size_t l2 = 512 * 1024;
  std::size_t l3 = 0;  // bytes, shared; 0: none or unknown
  std::size_t line = 64;
};

struct CpuInfo {
  std::string vendor;
  std::string model;
  std::string arch;                   // "x64", "arm64", ...
  std::vector<std::string> features;  // "sse2", "avx2", "fma", "f16c", "avx512f", ..., "amx-bf16", "neon", "sve"
  std::vector<Isa> supported;         // ascending; processor and operating system both allow it
  CacheInfo caches;
  int processors = 1;       // that the affinity mask allows
  double quota = 0.0;       // processors' worth of cgroup CPU quota (v1 and v2, nested); 0: none
  int default_threads = 1;  // what affinity and quota allow, at least 1
};

// Detected once, thread-safe.
const CpuInfo& cpu_info();

// The instruction set to use: the best supported one, capped by CONVTRANSPOSE_ISA (baseline, avx2, avx512, amx, neon). An
// unknown or unsupported name is an error: kInvalidArgument, argument "CONVTRANSPOSE_ISA". The environment is read at the
// first call.
Status active_isa(Isa* isa);

}  // namespace convtranspose
