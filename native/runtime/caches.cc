#include <algorithm>
#include <cstdint>
#include <string>
#include <vector>

#include "runtime/cpu_detect.h"

#if defined(_WIN32)
#ifndef NOMINMAX
#define NOMINMAX
#endif
#include <windows.h>
#elif defined(__APPLE__)
#include <sys/sysctl.h>
#elif defined(__x86_64__)
#include "runtime/cpuid.h"
#endif

namespace convtranspose {
namespace {

// Takes over one cache if its size is believable: emulators and some firmware report zeros.
void note_cache(int level, bool holds_data, std::size_t bytes, std::size_t line, CacheInfo* caches) {
  if (!holds_data || bytes < 4096) return;
  if (level == 1) caches->l1d = bytes;
  if (level == 2) caches->l2 = bytes;
  if (level == 3) caches->l3 = bytes;
  if (level == 1 && line >= 16 && line <= 1024) caches->line = line;
}

#if defined(__x86_64__) && !defined(_WIN32) && !defined(__APPLE__)

// Leaf 4 is Intel's, 0x8000001d AMD's, in the same form: one subleaf a cache.
void caches_from_cpuid(CacheInfo* caches) {
  std::uint32_t leaf = 0;
  constexpr std::uint32_t kIntel = 4, kAmd = 0x8000001d;
  if (cpuid(0x80000000, 0).value[0] >= kAmd && (cpuid(kAmd, 0).value[0] & 31) != 0) {
    leaf = kAmd;
  } else if (cpuid(0, 0).value[0] >= kIntel) {
    leaf = kIntel;
  } else {
    return;
  }
  for (std::uint32_t subleaf = 0; subleaf < 16; ++subleaf) {
    const Cpuid cache = cpuid(leaf, subleaf);
    const std::uint32_t type = cache.value[0] & 31;
    if (type == 0) return;
    constexpr std::uint32_t kData = 1, kUnified = 3;
    const std::size_t line = (cache.value[1] & 0xfff) + 1;
    const std::size_t partitions = (cache.value[1] >> 12 & 0x3ff) + 1;
    const std::size_t ways = (cache.value[1] >> 22) + 1;
    const std::size_t sets = static_cast<std::size_t>(cache.value[2]) + 1;
    note_cache(static_cast<int>(cache.value[0] >> 5 & 7), type == kData || type == kUnified, line * partitions * ways * sets,
               line, caches);
  }
}

#endif

}  // namespace

std::size_t parse_cache_size(const std::string& text) {
  std::size_t value = 0;
  std::size_t i = 0;
  for (; i < text.size() && text[i] >= '0' && text[i] <= '9'; ++i) {
    value = value * 10 + static_cast<std::size_t>(text[i] - '0');
    if (value > (std::size_t{1} << 40)) return 0;
  }
  if (i == 0) return 0;
  if (i == text.size()) return value;
  if (i + 1 != text.size()) return 0;
  if (text[i] == 'K') return value << 10;
  if (text[i] == 'M') return value << 20;
  if (text[i] == 'G') return value << 30;
  return 0;
}

bool caches_from_sysfs(const std::string& root, CacheInfo* caches) {
  bool found = false;
  for (int index = 0; index < 16; ++index) {
    const std::string folder = root + "/sys/devices/system/cpu/cpu0/cache/index" + std::to_string(index) + "/";
    const std::string level = read_text_file(folder + "level");
    if (level.size() != 1 || level[0] < '1' || level[0] > '9') break;
    const std::size_t bytes = parse_cache_size(read_text_file(folder + "size"));
    if (bytes == 0) continue;
    note_cache(level[0] - '0', read_text_file(folder + "type") != "Instruction", bytes,
               parse_cache_size(read_text_file(folder + "coherency_line_size")), caches);
    found = true;
  }
  return found;
}

CacheInfo detect_caches() {
  CacheInfo caches;
#if defined(_WIN32)
  DWORD bytes = 0;
  GetLogicalProcessorInformation(nullptr, &bytes);
  std::vector<SYSTEM_LOGICAL_PROCESSOR_INFORMATION> entries(bytes / sizeof(SYSTEM_LOGICAL_PROCESSOR_INFORMATION));
  if (!entries.empty() && GetLogicalProcessorInformation(entries.data(), &bytes)) {
    for (const auto& entry : entries) {
      if (entry.Relationship != RelationCache || (entry.ProcessorMask & 1) == 0) continue;
      note_cache(entry.Cache.Level, entry.Cache.Type != CacheInstruction, entry.Cache.Size, entry.Cache.LineSize, &caches);
    }
  }
#elif defined(__APPLE__)
  const auto read = [](const char* key) {
    std::int64_t value = 0;
    std::size_t size = sizeof value;
    return sysctlbyname(key, &value, &size, nullptr, 0) == 0 && value > 0 ? static_cast<std::size_t>(value) : 0;
  };
  // Level 0 of the performance levels is the fast cores; older systems know the plain names only.
  const auto read_level = [&](const char* fast, const char* plain) {
    const std::size_t value = read(fast);
    return value != 0 ? value : read(plain);
  };
  note_cache(1, true, read_level("hw.perflevel0.l1dcachesize", "hw.l1dcachesize"), read("hw.cachelinesize"), &caches);
  note_cache(2, true, read_level("hw.perflevel0.l2cachesize", "hw.l2cachesize"), 0, &caches);
  note_cache(3, true, read("hw.l3cachesize"), 0, &caches);
#else
  if (!caches_from_sysfs("", &caches)) {
#if defined(__x86_64__)
    caches_from_cpuid(&caches);
#endif
  }
#endif
  return caches;
}

}  // namespace convtranspose
