#include "algorithms/streaming.h"

#include <algorithm>
#include <cstring>

namespace convtranspose {
namespace {

constexpr std::int64_t kFloatsPerLine = 16;
constexpr std::int64_t kLineBytes = 64;

}  // namespace

bool streams(const Problem& problem, const KernelTable& table, const CacheInfo& caches, double caches_full) {
  const double bytes = static_cast<double>(problem.dst_elements()) * sizeof(float);
  return table.stream != nullptr && bytes > caches_full * static_cast<double>(caches.l2);
}

bool is_line(const float* p) { return reinterpret_cast<std::uintptr_t>(p) % kLineBytes == 0; }

std::int64_t stream_lines(const KernelTable& table, const float* src, std::int64_t count, float* dst) {
  const std::int64_t beyond = static_cast<std::int64_t>(reinterpret_cast<std::uintptr_t>(dst) % kLineBytes / sizeof(float));
  const std::int64_t head = beyond == 0 ? 0 : kFloatsPerLine - beyond;
  if (count < head) return 0;
  std::memcpy(dst, src, static_cast<std::size_t>(head) * sizeof(float));
  const std::int64_t lines = (count - head) / kFloatsPerLine * kFloatsPerLine;
  table.stream(src + head, dst + head, lines);
  return head + lines;
}

void stream_row(const KernelTable& table, const float* src, std::int64_t count, float* dst) {
  const std::int64_t stored = stream_lines(table, src, count, dst);
  std::memcpy(dst + stored, src + stored, static_cast<std::size_t>(count - stored) * sizeof(float));
}

}  // namespace convtranspose
