// Sets of the kernels of one table, for counting and naming what a run calls. Every kernel of a table that is worth a name
// has a number: first the wide tile kernels, then the channels tile kernels.
#pragma once

#include <bitset>

#include "kernels/kernel.h"

namespace convtranspose {

inline constexpr int kMaxKernels = 128;
using KernelSet = std::bitset<kMaxKernels>;

inline int wide_number(const KernelTable&, int row) { return row; }
inline int channels_number(const KernelTable& table, int row) { return table.wide_count + row; }
inline int kernel_count(const KernelTable& table) { return table.wide_count + table.channels_count; }

// Its name: "8x3". number in [0, kernel_count(table)).
inline const char* kernel_name(const KernelTable& table, int number) {
  return number < table.wide_count ? table.wide[number].name : table.channels[number - table.wide_count].name;
}

}  // namespace convtranspose
