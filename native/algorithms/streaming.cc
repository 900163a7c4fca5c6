#include "algorithms/streaming.h"

#include <algorithm>
#include <cstring>

namespace convtranspose {
namespace {

constexpr std::int64_t kFloatsPerLine = 16;
constexpr std::int64_t kLineBytes = 64;
constexpr std::int64_t kLongRow = 256;  // of which the lines at its ends are few

}  // namespace

bool streams(const Problem& problem, const KernelTable& table, const CacheInfo& caches, double caches_full) {
  const double bytes = static_cast<double>(problem.dst_elements()) * sizeof(float);
  return table.stream != nullptr && bytes > caches_full * static_cast<double>(caches.l2);
}

bool rows_share_lines(const CallSpec& call) {
  return call.format == MemoryFormat::kContiguous && call.out[2] % kFloatsPerLine != 0 && call.out[2] < kLongRow;
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

void LineStream::flush(Waiting* waiting) const {
  if (waiting->count == 0) return;
  std::memcpy(waiting->end - waiting->count, waiting->floats, static_cast<std::size_t>(waiting->count) * sizeof(float));
  waiting->count = 0;
}

void LineStream::flush() {
  for (std::int64_t i = 0; i < channels_; ++i) flush(&waiting_[static_cast<std::size_t>(i)]);
}

void LineStream::put(std::int64_t channel, const float* src, std::int64_t count, float* dst) {
  Waiting& waiting = waiting_[static_cast<std::size_t>(channel)];
  channels_ = std::max(channels_, channel + 1);
  if (waiting.end != dst) flush(&waiting);
  waiting.end = dst + count;
  if (waiting.count > 0) {
    const std::int64_t more = std::min(count, kFloatsPerLine - waiting.count);
    std::memcpy(waiting.floats + waiting.count, src, static_cast<std::size_t>(more) * sizeof(float));
    waiting.count += more;
    if (waiting.count < kFloatsPerLine) return;
    src += more;
    dst += more;
    count -= more;
    table_->stream(waiting.floats, dst - kFloatsPerLine, kFloatsPerLine);
  }
  const std::int64_t stored = stream_lines(*table_, src, count, dst);
  waiting.count = count - stored;
  if (!is_line(dst + stored)) {  // a row within a line
    std::memcpy(dst, src, static_cast<std::size_t>(count) * sizeof(float));
    waiting.count = 0;
    return;
  }
  std::memcpy(waiting.floats, src + stored, static_cast<std::size_t>(waiting.count) * sizeof(float));
}

}  // namespace convtranspose
