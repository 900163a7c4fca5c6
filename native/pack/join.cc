#include "pack/join.h"

#include <cstddef>
#include <cstring>

namespace convtranspose {
namespace {

template <int kCount>
void copy_some(float* to, const float* from) {
  std::memcpy(to, from, kCount * sizeof(float));
}

// Short runs: a call for each would take longer than the copying.
void copy(float* to, const float* from, std::int64_t count) {
  constexpr std::int64_t kShort = 16;
  if (count > kShort) {
    std::memcpy(to, from, static_cast<std::size_t>(count) * sizeof(float));
  } else if (count >= 4) {
    for (std::int64_t i = 0; i < count - 4; i += 4) copy_some<4>(to + i, from + i);
    copy_some<4>(to + count - 4, from + count - 4);  // some of them twice
  } else {
    if (count & 2) copy_some<2>(to, from);
    if (count & 1) copy_some<1>(to + count - 1, from + count - 1);
  }
}

}  // namespace

void join_rows(const RowJoin& join, const float* from, const float* chunk, float* to, std::int64_t first,
               std::int64_t count) {
  const auto [held, kept, added] = join;  // values, which no store can change
  from += first * held + held - kept;
  chunk += first * added;
  to += first * (kept + added);
  for (std::int64_t r = 0; r < count; ++r) {
    copy(to, from, kept);
    copy(to + kept, chunk, added);
    from += held;
    chunk += added;
    to += kept + added;
  }
}

}  // namespace convtranspose
