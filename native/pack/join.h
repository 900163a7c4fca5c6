// The input window of a stream: rows that lose their beginning and grow at their end. A row is one channel of one image, or
// one whole image where channels come last.
#pragma once

#include <cstdint>

namespace convtranspose {

// In floats per row.
struct RowJoin {
  std::int64_t held;   // of a row of `from`
  std::int64_t kept;   // the last ones of them, at most `held`
  std::int64_t added;  // of a row of `chunk`
};

// Row r of `to`, kept + added floats: the last `kept` of row r of `from`, then row r of `chunk`; for `count` rows from
// `first`. `to` has no memory in common with the others.
void join_rows(const RowJoin& join, const float* from, const float* chunk, float* to, std::int64_t first,
               std::int64_t count);

}  // namespace convtranspose
