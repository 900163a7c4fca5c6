// The parts that cpu_info() is put together from. What reads files takes the root of the file system, so that it can be
// tested on made-up trees.
#pragma once

#include <string>

#include "runtime/cpu.h"

namespace convtranspose {

// Fills vendor, model, arch, features and supported (baseline included). `cap` is the value of CONVTRANSPOSE_ISA, or
// nullptr: what changes the process, as the permission for AMX does, is not asked for if a set below is named.
void detect_instruction_sets(CpuInfo* info, const char* cap);

// Sizes of the caches of the first processor; what cannot be found keeps the defaults of CacheInfo.
CacheInfo detect_caches();

// Processors that the affinity mask of the calling thread allows; at least 1.
int affinity_processors();

// Processors' worth of CPU time that the control groups of this process (v1 and v2, and all their ancestors) allow: the
// smallest quota / period; 0 if there is no limit. Reads <root>/proc/self/cgroup, <root>/proc/self/mountinfo and the control
// files below the mount points that they name. root: "" for the real file system.
double cgroup_quota(const std::string& root);

// max(1, min(processors, ceil(quota))); quota 0 is none.
int threads_for(int processors, double quota);

// Size in bytes of "32K", "1024K", "32M" or "65536", as sysfs writes cache sizes; 0 if it is not one.
std::size_t parse_cache_size(const std::string& text);

// As detect_caches on Linux, from <root>/sys/devices/system/cpu/cpu0/cache. False if there is nothing usable.
bool caches_from_sysfs(const std::string& root, CacheInfo* caches);

// Whole contents of a small text file without the last line break; empty if it cannot be read.
std::string read_text_file(const std::string& path);

}  // namespace convtranspose
