// Sets of the kernels of one table, for counting and naming what a run calls. Every kernel of a table that is worth a name
// has a number: first the wide tile kernels, then the channels and the mixed ones, the row kernels, the pixel kernel, the
// lane kernel, the window kernels, Winograd's and the term kernels.
#pragma once

#include <bitset>

#include "kernels/kernel.h"

namespace convtranspose {

inline constexpr int kMaxKernels = 192;
using KernelSet = std::bitset<kMaxKernels>;

inline int wide_number(const KernelTable&, int row) { return row; }
inline int channels_number(const KernelTable& table, int row) { return table.wide_count + row; }
inline int mixed_number(const KernelTable& table, int row) { return channels_number(table, table.channels_count) + row; }
inline int rows_number(const KernelTable& table, int row) { return mixed_number(table, table.mixed_count) + row; }
inline int pixels_number(const KernelTable& table) { return rows_number(table, table.rows_count); }
inline int lane_number(const KernelTable& table) { return pixels_number(table) + 1; }
inline int windows_number(const KernelTable& table, int row) {
  return lane_number(table) + (table.lane.fn == nullptr ? 0 : 1) + row;
}
inline int winograd_input_number(const KernelTable& table, int row) { return windows_number(table, 2) + row; }
inline int winograd_output_number(const KernelTable& table, int row) {
  return winograd_input_number(table, table.winograd_input_count) + row;
}
inline int winograd_rows_number(const KernelTable& table, int row) {
  return winograd_output_number(table, table.winograd_output_count) + row;
}
inline int term_number(const KernelTable& table, int row) {
  return winograd_rows_number(table, table.winograd_rows_count) + row;
}
inline int kernel_count(const KernelTable& table) {
  return term_number(table, table.terms == nullptr ? 0 : table.terms->count);
}

// Its name: "8x3". number in [0, kernel_count(table)).
inline const char* kernel_name(const KernelTable& table, int number) {
  if (number < table.wide_count) return table.wide[number].name;
  if (number < mixed_number(table, 0)) return table.channels[number - channels_number(table, 0)].name;
  if (number < rows_number(table, 0)) return table.mixed[number - mixed_number(table, 0)].name;
  if (number < pixels_number(table)) return table.rows[number - rows_number(table, 0)].name;
  if (number == pixels_number(table)) return table.pixels.name;
  if (number < windows_number(table, 0)) return table.lane.name;
  if (number < winograd_input_number(table, 0)) return table.windows[number - windows_number(table, 0)].name;
  if (number < winograd_output_number(table, 0)) return table.winograd_input[number - winograd_input_number(table, 0)].name;
  if (number < winograd_rows_number(table, 0)) return table.winograd_output[number - winograd_output_number(table, 0)].name;
  if (number < term_number(table, 0)) return table.winograd_rows[number - winograd_rows_number(table, 0)].name;
  return table.terms->multiply[number - term_number(table, 0)].name;
}

}  // namespace convtranspose
