#include "algorithms/tile_kernels.h"

#include <algorithm>

#include "problem/checked.h"

namespace convtranspose {

TileKernels::TileKernels(const KernelTable& table, Family family)
    : lanes_(table.lanes),
      load_(family == Family::kChannels      ? cost::kWeightVectors
            : family == Family::kWideAligned ? cost::kAlignedPixels
                                             : cost::kUnalignedPixels) {
  // Pixels come from further away than weights do: a vector of them counts two.
  const double vector_weight = family == Family::kChannels ? 1.0 : 2.0;
  int count = 0;
  switch (family) {
    case Family::kWide:
    case Family::kWideAligned:
      first_ = table.wide;
      first_number_ = wide_number(table, 0);
      count = table.wide_count;
      break;
    case Family::kChannels:
      first_ = table.channels;
      first_number_ = channels_number(table, 0);
      count = table.channels_count;
      break;
    case Family::kMixed:
      first_ = table.mixed;
      first_number_ = mixed_number(table, 0);
      count = table.mixed_count;
      break;
  }
  double best = 0.0;
  for (int i = 0; i < count; ++i) {
    const TileKernel& kernel = first_[i];
    if (static_cast<int>(by_rows_.size()) <= kernel.mr) by_rows_.resize(kernel.mr + 1);
    by_rows_[kernel.mr].push_back(&kernel);
    max_columns_ = std::max(max_columns_, kernel.nr);
    const double vectors = static_cast<double>(kernel.nr) / lanes_;
    const double intensity = kernel.mr * vectors / (kernel.mr + vectors * vector_weight);
    if (intensity > best) {
      best = intensity;
      preferred_rows_ = kernel.mr;
    }
  }
  for (auto& row : by_rows_) {
    std::sort(row.begin(), row.end(), [](const TileKernel* a, const TileKernel* b) { return a->nr < b->nr; });
  }
}

bool TileKernels::has_rows(std::int64_t rows) const {
  return rows >= 1 && rows <= max_rows() && !by_rows_[static_cast<std::size_t>(rows)].empty();
}

const TileKernel& TileKernels::pick(std::int64_t rows, std::int64_t columns) const {
  const auto& kernels = by_rows_[static_cast<std::size_t>(rows)];
  const std::int64_t widest = kernels.back()->nr;
  if (columns >= 2 * widest) return *kernels.back();
  // Short calls notice a division.
  const std::int64_t share = columns <= widest ? columns : ceil_div(columns, 2);
  for (const TileKernel* kernel : kernels) {
    if (kernel->nr >= share) return *kernel;
  }
  return *kernels.back();
}

std::int64_t TileKernels::covered(std::int64_t rows, std::int64_t columns) const {
  // Long runs repeat the widest kernel.
  const std::int64_t widest = by_rows_[static_cast<std::size_t>(rows)].back()->nr;
  std::int64_t done = columns >= 2 * widest ? (columns / widest - 1) * widest : 0;
  while (done < columns) done += pick(rows, columns - done).nr;
  return done;
}

KernelSet TileKernels::set_for(std::int64_t rows, std::int64_t columns) const {
  KernelSet set;
  // After the first of a long run the picks repeat.
  const std::int64_t widest = by_rows_[static_cast<std::size_t>(rows)].back()->nr;
  if (columns >= 2 * widest) {
    set.set(number(pick(rows, columns)));
    columns -= (columns / widest - 1) * widest;
  }
  for (std::int64_t left = columns; left > 0;) {
    const TileKernel& kernel = pick(rows, left);
    set.set(number(kernel));
    left -= kernel.nr;
  }
  return set;
}

double TileKernels::call_cycles(const TileKernel& kernel, double steps) const {
  return cost::call(kernel, lanes_, steps, load_);
}

double TileKernels::cycles(std::int64_t rows, std::int64_t columns, double steps) const {
  double sum = 0.0;
  // Long runs repeat the widest kernel: count those at once.
  const TileKernel& widest = *by_rows_[static_cast<std::size_t>(rows)].back();
  const std::int64_t repeats = columns >= 2 * widest.nr ? columns / widest.nr - 1 : 0;
  sum += static_cast<double>(repeats) * call_cycles(widest, steps);
  for (std::int64_t left = columns - repeats * widest.nr; left > 0;) {
    const TileKernel& kernel = pick(rows, left);
    sum += call_cycles(kernel, steps);
    left -= kernel.nr;
  }
  return sum;
}

}  // namespace convtranspose
