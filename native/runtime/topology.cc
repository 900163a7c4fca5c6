// How many processors this process may use: affinity mask and control groups.
#include <algorithm>
#include <cmath>
#include <cstdio>
#include <cstdlib>
#include <string>
#include <thread>
#include <vector>

#include "runtime/cpu_detect.h"

#if defined(_WIN32)
#ifndef NOMINMAX
#define NOMINMAX
#endif
#include <windows.h>
#elif defined(__linux__)
#include <sched.h>
#endif

namespace convtranspose {
namespace {

std::vector<std::string> split(const std::string& text, char separator) {
  std::vector<std::string> parts;
  std::size_t start = 0;
  for (;;) {
    const std::size_t end = text.find(separator, start);
    parts.push_back(text.substr(start, end == std::string::npos ? end : end - start));
    if (end == std::string::npos) return parts;
    start = end + 1;
  }
}

bool contains(const std::vector<std::string>& list, const std::string& item) {
  return std::find(list.begin(), list.end(), item) != list.end();
}

// mountinfo writes blanks, tabs, line breaks and backslashes of a path as \ and three octal digits.
std::string unescape_mount_path(const std::string& text) {
  const auto octal = [&](std::size_t i) { return i < text.size() && text[i] >= '0' && text[i] <= '7'; };
  std::string path;
  for (std::size_t i = 0; i < text.size(); ++i) {
    if (text[i] == '\\' && octal(i + 1) && octal(i + 2) && octal(i + 3)) {
      path += static_cast<char>((text[i + 1] - '0') * 64 + (text[i + 2] - '0') * 8 + (text[i + 3] - '0'));
      i += 3;
    } else {
      path += text[i];
    }
  }
  return path;
}

// One mounted hierarchy that can limit the CPU, and the place of this process in it.
struct Hierarchy {
  bool v2;
  std::string mount;  // where it is mounted
  std::string below;  // path of the group relative to the mount point: "" or "/a/b"
};

std::vector<Hierarchy> find_hierarchies(const std::string& root) {
  std::string path_v1, path_v2;
  bool in_v1 = false, in_v2 = false;
  for (const std::string& line : split(read_text_file(root + "/proc/self/cgroup"), '\n')) {
    // hierarchy:controllers:path, and the path may hold colons
    const std::size_t first = line.find(':');
    if (first == std::string::npos) continue;
    const std::size_t second = line.find(':', first + 1);
    if (second == std::string::npos) continue;
    const std::string controllers = line.substr(first + 1, second - first - 1);
    if (controllers.empty()) {
      path_v2 = line.substr(second + 1);
      in_v2 = true;
    } else if (contains(split(controllers, ','), "cpu")) {
      path_v1 = line.substr(second + 1);
      in_v1 = true;
    }
  }

  std::vector<Hierarchy> hierarchies;
  for (const std::string& line : split(read_text_file(root + "/proc/self/mountinfo"), '\n')) {
    // id parent device root mount-point options [tags] - type source super-options
    const std::vector<std::string> fields = split(line, ' ');
    const auto dash = std::find(fields.begin(), fields.end(), "-");
    if (dash - fields.begin() < 6 || fields.end() - dash < 4) continue;
    const bool v2 = dash[1] == "cgroup2" && in_v2;
    const bool v1 = dash[1] == "cgroup" && in_v1 && contains(split(dash[3], ','), "cpu");
    if (!v1 && !v2) continue;
    const std::string shown = unescape_mount_path(fields[3]);  // the part of the hierarchy that is mounted here
    std::string below = v2 ? path_v2 : path_v1;
    // A container may see its group by its name on the host, with only that group mounted.
    if (shown != "/" && (below == shown || below.compare(0, shown.size() + 1, shown + "/") == 0)) {
      below.erase(0, shown.size());
    }
    if (below == "/" || below.find("/..") != std::string::npos) below.clear();  // the top, or outside of what is mounted
    hierarchies.push_back({v2, unescape_mount_path(fields[4]), below});
  }
  return hierarchies;
}

// quota / period, or 0 for anything that is not a limit ("max", -1, an unreadable file).
double ratio(const std::string& quota, const std::string& period) {
  const double numerator = std::strtod(quota.c_str(), nullptr);
  const double denominator = std::strtod(period.c_str(), nullptr);
  return std::isfinite(numerator) && numerator > 0 && denominator > 0 ? numerator / denominator : 0;
}

double quota_of_group(const std::string& folder, bool v2) {
  if (!v2) return ratio(read_text_file(folder + "/cpu.cfs_quota_us"), read_text_file(folder + "/cpu.cfs_period_us"));
  const std::vector<std::string> fields = split(read_text_file(folder + "/cpu.max"), ' ');
  return fields.size() == 2 ? ratio(fields[0], fields[1]) : 0;
}

}  // namespace

std::string read_text_file(const std::string& path) {
  std::FILE* file = std::fopen(path.c_str(), "rb");
  if (file == nullptr) return {};
  std::string text;
  char chunk[4096];
  constexpr std::size_t kMost = std::size_t{4} << 20;
  for (std::size_t got; text.size() < kMost && (got = std::fread(chunk, 1, sizeof chunk, file)) > 0;)
    text.append(chunk, got);
  std::fclose(file);
  while (!text.empty() && text.back() == '\n') text.pop_back();
  return text;
}

double cgroup_quota(const std::string& root) {
  double smallest = 0;
  for (const Hierarchy& hierarchy : find_hierarchies(root)) {
    std::string below = hierarchy.below;
    for (;;) {
      const double quota = quota_of_group(root + hierarchy.mount + below, hierarchy.v2);
      if (quota > 0 && (smallest == 0 || quota < smallest)) smallest = quota;
      if (below.empty()) break;
      const std::size_t slash = below.rfind('/');
      below.erase(slash == std::string::npos ? 0 : slash);
    }
  }
  return smallest;
}

int affinity_processors() {
#if defined(__linux__)
  // The mask must be as large as the kernel's, which is not known: grow it until it fits.
  for (int most = 1024; most <= 1 << 20; most *= 2) {
    cpu_set_t* mask = CPU_ALLOC(most);
    if (mask == nullptr) break;
    const std::size_t bytes = CPU_ALLOC_SIZE(most);
    const int count = sched_getaffinity(0, bytes, mask) == 0 ? CPU_COUNT_S(bytes, mask) : 0;
    CPU_FREE(mask);
    if (count > 0) return count;
  }
#elif defined(_WIN32)
  DWORD_PTR process = 0, system = 0;
  if (GetProcessAffinityMask(GetCurrentProcess(), &process, &system)) {
    int count = 0;
    for (; process != 0; process &= process - 1) ++count;
    if (count > 0) return count;
  }
#endif
  return std::max(1, static_cast<int>(std::thread::hardware_concurrency()));
}

int threads_for(int processors, double quota) {
  if (quota > 0 && quota < processors) processors = static_cast<int>(std::ceil(quota));
  return std::max(1, processors);
}

}  // namespace convtranspose
