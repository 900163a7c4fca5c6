#include "runtime/cpu.h"

#include <cstdlib>

#include "runtime/cpu_detect.h"
#include "runtime/environment.h"

namespace convtranspose {
namespace {

constexpr const char* kIsaVariable = "CONVTRANSPOSE_ISA";

}  // namespace

const char* isa_name(Isa isa) {
  switch (isa) {
    case Isa::kBaseline:
      return "baseline";
    case Isa::kAvx2:
      return "avx2";
    case Isa::kAvx512:
      return "avx512";
    case Isa::kAmx:
      return "amx";
    case Isa::kNeon:
      return "neon";
  }
  return "";
}

const CpuInfo& cpu_info() {
  // Never destroyed: pool threads run until the process ends.
  static const CpuInfo* const info = [] {
    CpuInfo* made = new CpuInfo;
    detect_instruction_sets(made, std::getenv(kIsaVariable));
    made->caches = detect_caches();
    made->processors = affinity_processors();
    made->quota = cgroup_quota("");
    made->default_threads = threads_for(made->processors, made->quota);
    return made;
  }();
  return *info;
}

Status active_isa(Isa* isa) {
  struct Choice {
    Isa isa;
    Status status;
  };
  static const Choice* const choice = [] {
    Choice* made = new Choice;
    made->status = parse_isa_cap(std::getenv(kIsaVariable), cpu_info().supported, &made->isa);
    return made;
  }();
  *isa = choice->isa;
  return choice->status;
}

}  // namespace convtranspose
