// Instruction sets of x86-64, by cpuid; what needs wider registers counts only if the operating system saves them.
#if defined(__x86_64__) || defined(_M_X64)

#include <algorithm>
#include <cstdint>
#include <cstring>
#include <string>

#include "runtime/cpu_detect.h"
#include "runtime/cpuid.h"

#if defined(__APPLE__)
#include <sys/sysctl.h>
#elif defined(__linux__)
#include <sys/syscall.h>
#include <unistd.h>
#endif

namespace convtranspose {
namespace {

enum Register { kEax, kEbx, kEcx, kEdx };

// What has to be saved by the operating system for a feature to be usable: bits of XCR0.
constexpr std::uint64_t kNoState = 0;
constexpr std::uint64_t kYmm = 0x6;        // XMM and YMM
constexpr std::uint64_t kZmm = 0xe6;       // and the mask registers and both parts of ZMM
constexpr std::uint64_t kTiles = 0x60000;  // AMX tile configuration and data

struct Feature {
  const char* name;
  std::uint32_t leaf;
  std::uint32_t subleaf;
  Register where;
  int bit;
  std::uint64_t state;
};

constexpr Feature kFeatures[] = {
    {"sse2", 1, 0, kEdx, 26, kNoState},   {"sse3", 1, 0, kEcx, 0, kNoState},     {"ssse3", 1, 0, kEcx, 9, kNoState},
    {"sse4.1", 1, 0, kEcx, 19, kNoState}, {"sse4.2", 1, 0, kEcx, 20, kNoState},  {"avx", 1, 0, kEcx, 28, kYmm},
    {"f16c", 1, 0, kEcx, 29, kYmm},       {"fma", 1, 0, kEcx, 12, kYmm},         {"avx2", 7, 0, kEbx, 5, kYmm},
    {"bmi2", 7, 0, kEbx, 8, kNoState},    {"avx512f", 7, 0, kEbx, 16, kZmm},     {"avx512dq", 7, 0, kEbx, 17, kZmm},
    {"avx512cd", 7, 0, kEbx, 28, kZmm},   {"avx512bw", 7, 0, kEbx, 30, kZmm},    {"avx512vl", 7, 0, kEbx, 31, kZmm},
    {"avx512ifma", 7, 0, kEbx, 21, kZmm}, {"avx512vbmi", 7, 0, kEcx, 1, kZmm},   {"avx512vnni", 7, 0, kEcx, 11, kZmm},
    {"avx512fp16", 7, 0, kEdx, 23, kZmm}, {"avx512bf16", 7, 1, kEax, 5, kZmm},   {"avxvnni", 7, 1, kEax, 4, kYmm},
    {"avxvnniint8", 7, 1, kEdx, 4, kYmm}, {"avxneconvert", 7, 1, kEdx, 5, kYmm}, {"amx-tile", 7, 0, kEdx, 24, kTiles},
    {"amx-int8", 7, 0, kEdx, 25, kTiles}, {"amx-bf16", 7, 0, kEdx, 22, kTiles},  {"amx-fp16", 7, 1, kEax, 21, kTiles},
};

std::uint64_t saved_state() {
  constexpr std::uint32_t kOsxsave = 1u << 27;
  if ((cpuid(1, 0).value[kEcx] & kOsxsave) == 0) return 0;
  std::uint64_t state = read_xcr0();
#if defined(__APPLE__)
  // Darwin enables ZMM for a thread when it first uses one, and says so only here.
  int avx512 = 0;
  std::size_t size = sizeof avx512;
  if (sysctlbyname("hw.optional.avx512f", &avx512, &size, nullptr, 0) == 0 && avx512 != 0) state |= kZmm;
#endif
  return state;
}

bool has_all(const std::vector<std::string>& features, std::initializer_list<const char*> names) {
  for (const char* name : names) {
    bool found = false;
    for (const std::string& feature : features) found |= feature == name;
    if (!found) return false;
  }
  return true;
}

// Whether this process may use AMX. Its registers are large, so Linux saves them only for processes that ask; other systems
// are not asked here, and their processors count as if they had none. Linux refuses where a thread has an alternate stack
// for signals that could not hold the registers, and from then on no thread may set up such a stack.
bool allow_tiles() {
#if defined(__linux__)
  constexpr long kRequestPermission = 0x1023;  // ARCH_REQ_XCOMP_PERM
  constexpr long kTileData = 18;               // XFEATURE_XTILEDATA
  return syscall(SYS_arch_prctl, kRequestPermission, kTileData) == 0;
#else
  return false;
#endif
}

bool names_one_of(const char* name, const std::vector<Isa>& isas) {
  return name != nullptr &&
         std::any_of(isas.begin(), isas.end(), [&](Isa isa) { return std::strcmp(name, isa_name(isa)) == 0; });
}

std::string brand() {
  constexpr std::uint32_t kFirst = 0x80000002, kLast = 0x80000004;
  if (cpuid(0x80000000, 0).value[kEax] < kLast) return {};
  char text[49] = {};
  for (std::uint32_t leaf = kFirst; leaf <= kLast; ++leaf) {
    std::memcpy(text + 16 * (leaf - kFirst), cpuid(leaf, 0).value, 16);
  }
  std::string brand = text;
  while (!brand.empty() && brand.back() == ' ') brand.pop_back();
  brand.erase(0, brand.find_first_not_of(' '));
  return brand;
}

}  // namespace

void detect_instruction_sets(CpuInfo* info, const char* cap) {
  info->arch = "x64";
  const Cpuid basic = cpuid(0, 0);
  char vendor[13] = {};
  std::memcpy(vendor, &basic.value[kEbx], 4);
  std::memcpy(vendor + 4, &basic.value[kEdx], 4);
  std::memcpy(vendor + 8, &basic.value[kEcx], 4);
  info->vendor = vendor;
  info->model = brand();

  const std::uint32_t highest_leaf = basic.value[kEax];
  const std::uint32_t highest_subleaf_of_7 = highest_leaf >= 7 ? cpuid(7, 0).value[kEax] : 0;
  const std::uint64_t state = saved_state();
  for (const Feature& feature : kFeatures) {
    if (feature.leaf > highest_leaf || (feature.leaf == 7 && feature.subleaf > highest_subleaf_of_7)) continue;
    const bool present = (cpuid(feature.leaf, feature.subleaf).value[feature.where] >> feature.bit & 1) != 0;
    if (present && (state & feature.state) == feature.state) info->features.push_back(feature.name);
  }

  info->supported = {Isa::kBaseline};
  if (!has_all(info->features, {"avx2", "fma", "f16c"})) return;
  info->supported.push_back(Isa::kAvx2);
  if (!has_all(info->features, {"avx512f", "avx512bw", "avx512vl", "avx512dq"})) return;
  info->supported.push_back(Isa::kAvx512);
  if (!has_all(info->features, {"avx512bf16", "amx-tile", "amx-bf16"}) || names_one_of(cap, info->supported)) return;
  if (allow_tiles()) info->supported.push_back(Isa::kAmx);
}

}  // namespace convtranspose

#endif
