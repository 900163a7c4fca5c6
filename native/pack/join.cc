#include "pack/join.h"

#include <cstddef>
#include <cstring>

namespace convtranspose {
namespace {

// Short runs: a call for each would take longer than the copying.
void copy(float* to, const float* from, std::int64_t count) {
  constexpr std::int64_t kShort = 16;
  if (count > kShort) {
    std::memcpy(to, from, static_cast<std::size_t>(count) * sizeof(float));
    return;
  }
  std::int64_t i = 0;
  for (; i + 4 <= count; i += 4) std::memcpy(to + i, from + i, 4 * sizeof(float));
  for (; i < count; ++i) to[i] = from[i];
}

}  // namespace

void join_rows(const RowJoin& join, const float* from, const float* chunk, float* to, std::int64_t first,
               std::int64_t count) {
  from += first * join.held + join.held - join.kept;
  chunk += first * join.added;
  to += first * (join.kept + join.added);
  for (std::int64_t r = 0; r < count; ++r) {
    copy(to, from, join.kept);
    copy(to + join.kept, chunk, join.added);
    from += join.held;
    chunk += join.added;
    to += join.kept + join.added;
  }
}

}  // namespace convtranspose
