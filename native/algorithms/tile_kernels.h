// Picks tile kernels from a table: the rows are given by a panel (wide, mixed) or by what is left of the pixels (channels),
// the columns are covered by the fewest, most even kernels.
#pragma once

#include <cstddef>
#include <cstdint>
#include <vector>

#include "algorithms/cost_model.h"
#include "kernels/kernel.h"
#include "kernels/kernel_set.h"
#include "problem/checked.h"

namespace convtranspose {

class TileKernels {
 public:
  // Wide kernels, which read rows of pixels at any offset, or of strips that begin on whole lines; channels kernels; mixed
  // ones.
  enum class Family { kWide, kWideAligned, kChannels, kMixed };

  TileKernels(const KernelTable& table, Family family);

  int lanes() const { return lanes_; }
  int max_rows() const { return static_cast<int>(by_rows_.size()) - 1; }
  int max_columns() const { return max_columns_; }
  int widest(std::int64_t rows) const { return by_rows_[static_cast<std::size_t>(rows)].back()->nr; }  // columns

  // Whether there are kernels with exactly so many rows.
  bool has_rows(std::int64_t rows) const;

  // The kernel with exactly `rows` rows to use next when `columns` columns are left: the smallest one that covers an even
  // share of them. has_rows(rows), columns >= 1.
  const TileKernel& pick(std::int64_t rows, std::int64_t columns) const;

  // Columns that successive picks write for `columns` columns (at least as many).
  std::int64_t covered(std::int64_t rows, std::int64_t columns) const;

  // The number of a kernel in the table (kernel_set.h), and the set of successive picks.
  std::size_t number(const TileKernel& kernel) const { return static_cast<std::size_t>(first_number_ + (&kernel - first_)); }
  KernelSet set_for(std::int64_t rows, std::int64_t columns) const;

  // Cycles of successive picks over `columns` columns and `steps` steps.
  double cycles(std::int64_t rows, std::int64_t columns, double steps) const;

  // Cycles of one call of `kernel` over `steps` steps.
  double call_cycles(const TileKernel& kernel, double steps) const;

  // Calls visit(first, rows) for even tiles of at most preferred_rows() rows over `count` of them.
  template <typename Visit>
  void for_each_tile(std::int64_t count, Visit visit) const {
    const std::int64_t tiles = ceil_div(count, std::int64_t{preferred_rows_});
    for (std::int64_t t = 0; t < tiles; ++t) {
      const std::int64_t first = count * t / tiles;
      visit(first, count * (t + 1) / tiles - first);
    }
  }

  // Rows of the kernel that does most multiplications per load: the panel height to prefer.
  int preferred_rows() const { return preferred_rows_; }

 private:
  const TileKernel* first_;
  std::ptrdiff_t first_number_;
  int lanes_;
  cost::VectorLoad load_;
  int max_columns_ = 0;
  int preferred_rows_ = 1;
  std::vector<std::vector<const TileKernel*>> by_rows_;  // [rows], ascending columns
};

}  // namespace convtranspose
