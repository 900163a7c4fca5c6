// Instruction sets of 64-bit Arm, and the plain answer for processors that have no file of their own.
#if !defined(__x86_64__) && !defined(_M_X64)

#include <cstdlib>
#include <string>

#include "runtime/cpu_detect.h"

#if defined(__aarch64__) && defined(__linux__)
#include <sys/auxv.h>
#elif defined(__APPLE__)
#include <sys/sysctl.h>
#endif

namespace convtranspose {

#if defined(__aarch64__) || defined(_M_ARM64)

namespace {

#if defined(__linux__)

struct Feature {
  const char* name;
  unsigned long vector;  // of the auxiliary vector
  int bit;
};

// Bit numbers from the kernel's list of ELF hwcaps, which old headers do not have in full.
constexpr Feature kFeatures[] = {
    {"fp", AT_HWCAP, 0},     {"neon", AT_HWCAP, 1},      {"asimdhp", AT_HWCAP, 10}, {"asimddp", AT_HWCAP, 20},
    {"sve", AT_HWCAP, 22},   {"asimdfhm", AT_HWCAP, 23}, {"sve2", AT_HWCAP2, 1},    {"i8mm", AT_HWCAP2, 13},
    {"bf16", AT_HWCAP2, 14}, {"sme", AT_HWCAP2, 23},
};

// The value of the first line "key : value" of /proc/cpuinfo.
std::string cpuinfo_field(const std::string& text, const std::string& key) {
  std::size_t line = 0;
  while (line < text.size()) {
    std::size_t end = text.find('\n', line);
    if (end == std::string::npos) end = text.size();
    if (text.compare(line, key.size(), key) == 0) {
      const std::size_t colon = text.find(':', line);
      if (colon < end) {
        const std::size_t value = text.find_first_not_of(" \t", colon + 1);
        return value < end ? text.substr(value, end - value) : std::string();
      }
    }
    line = end + 1;
  }
  return {};
}

std::string implementer_name(const std::string& code) {
  switch (std::strtoul(code.c_str(), nullptr, 0)) {
    case 0x41:
      return "ARM";
    case 0x42:
      return "Broadcom";
    case 0x43:
      return "Cavium";
    case 0x46:
      return "Fujitsu";
    case 0x48:
      return "HiSilicon";
    case 0x4e:
      return "NVIDIA";
    case 0x51:
      return "Qualcomm";
    case 0x61:
      return "Apple";
    case 0x6d:
      return "Microsoft";
    case 0xc0:
      return "Ampere";
    default:
      return code;
  }
}

void detect_details(CpuInfo* info) {
  for (const Feature& feature : kFeatures) {
    if ((getauxval(feature.vector) >> feature.bit & 1) != 0) info->features.push_back(feature.name);
  }
  const std::string text = read_text_file("/proc/cpuinfo");
  info->vendor = implementer_name(cpuinfo_field(text, "CPU implementer"));
  info->model = cpuinfo_field(text, "model name");
  if (info->model.empty()) {
    const std::string part = cpuinfo_field(text, "CPU part");
    if (!part.empty()) info->model = "part " + part;
  }
}

#elif defined(__APPLE__)

void detect_details(CpuInfo* info) {
  struct Feature {
    const char* name;
    const char* key;
  };
  constexpr Feature kFeatures[] = {
      {"asimdhp", "hw.optional.arm.FEAT_FP16"}, {"asimddp", "hw.optional.arm.FEAT_DotProd"},
      {"asimdfhm", "hw.optional.arm.FEAT_FHM"}, {"i8mm", "hw.optional.arm.FEAT_I8MM"},
      {"bf16", "hw.optional.arm.FEAT_BF16"},    {"sme", "hw.optional.arm.FEAT_SME"},
  };
  info->features = {"fp", "neon"};
  for (const Feature& feature : kFeatures) {
    int present = 0;
    std::size_t size = sizeof present;
    if (sysctlbyname(feature.key, &present, &size, nullptr, 0) == 0 && present != 0) info->features.push_back(feature.name);
  }
  info->vendor = "Apple";
  char brand[128] = {};
  std::size_t size = sizeof brand - 1;
  if (sysctlbyname("machdep.cpu.brand_string", brand, &size, nullptr, 0) == 0) info->model = brand;
}

#else

void detect_details(CpuInfo* info) { info->features = {"fp", "neon"}; }

#endif

}  // namespace

// Every 64-bit Arm has NEON.
void detect_instruction_sets(CpuInfo* info, const char*) {
  info->arch = "arm64";
  detect_details(info);
  info->supported = {Isa::kBaseline, Isa::kNeon};
}

#else

void detect_instruction_sets(CpuInfo* info, const char*) {
  info->arch = "other";
  info->supported = {Isa::kBaseline};
}

#endif

}  // namespace convtranspose

#endif
