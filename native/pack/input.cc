#include "pack/input.h"

#include <algorithm>
#include <cstring>

#include "problem/checked.h"

namespace convtranspose {
namespace {

constexpr std::int64_t kFloatsPerLine = 16;
constexpr std::int64_t kLongRow = 256;  // from here on the library's copy, which knows the processor, is worth its call

void zero(float* dst, std::int64_t count) {
  if (count > 0) std::memset(dst, 0, static_cast<std::size_t>(count) * sizeof(float));
}

// Floats from p to the next cache line.
std::int64_t to_line(const float* p) {
  const auto floats = static_cast<std::int64_t>(reinterpret_cast<std::uintptr_t>(p) / sizeof(float));
  return round_up(floats, kFloatsPerLine) - floats;
}

void copy(float* dst, const float* src, std::int64_t count) {
  if (count > 0) std::memcpy(dst, src, static_cast<std::size_t>(count) * sizeof(float));
}

// The part of a box that lies inside the input, along one dimension, as box coordinates [begin, end).
struct Inside {
  std::int64_t begin;
  std::int64_t end;
};

Inside inside(const InputView& input, const InputBox& box, int d) {
  const std::int64_t begin = std::clamp<std::int64_t>(-box.first[d], 0, box.size[d]);
  const std::int64_t end = std::clamp<std::int64_t>(input.in[d] - box.first[d], begin, box.size[d]);
  return {begin, end};
}

// src of box coordinates (d, h, w), which must lie inside the input, channel 0.
const float* at(const InputView& input, const InputBox& box, std::int64_t d, std::int64_t h, std::int64_t w) {
  const std::int64_t position = ((box.first[0] + d) * input.in[1] + box.first[1] + h) * input.in[2] + box.first[2] + w;
  return input.data + position * input.pixel_stride;
}

}  // namespace

InputView input_view(const Problem& problem, const float* src, std::int64_t image, std::int64_t group) {
  InputView view;
  view.format = problem.call.format;
  view.in = problem.call.in;
  view.channels = problem.in_channels_per_group();
  const std::int64_t first_channel = group * view.channels;
  const std::int64_t image_elements = problem.layer.in_channels * problem.in_points();
  if (view.format == MemoryFormat::kContiguous) {
    view.pixel_stride = 1;
    view.data = src + image * image_elements + first_channel * problem.in_points();
  } else {
    view.pixel_stride = problem.layer.in_channels;
    view.data = src + image * image_elements + first_channel;
  }
  return view;
}

void pack_planes(const InputView& input, const InputBox& box, std::int64_t stride_d, std::int64_t stride_h,
                 std::int64_t stride_c, const KernelTable& kernels, float* dst) {
  const Inside rows_d = inside(input, box, 0);
  const Inside rows_h = inside(input, box, 1);
  const Inside columns = inside(input, box, 2);
  const std::int64_t width = columns.end - columns.begin;
  const std::int64_t plane = input.in[0] * input.in[1] * input.in[2];
  const bool contiguous = input.format == MemoryFormat::kContiguous;
  const auto zero_rows = [&](float* row, std::int64_t begin, std::int64_t end) {
    for (std::int64_t h = begin; h < end; ++h) zero(row + h * stride_h, box.size[2]);
  };
  CopyRowsArgs rows;
  rows.src_stride = input.in[2];
  rows.dst_stride = stride_h;
  rows.rows = rows_h.end - rows_h.begin;
  rows.before = columns.begin;
  rows.count = width;
  rows.after = box.size[2] - columns.end;
  for (std::int64_t c = 0; c < input.channels; ++c) {
    for (std::int64_t d = 0; d < box.size[0]; ++d) {
      float* const first = dst + d * stride_d + c * stride_c;
      if (width <= 0 || rows.rows <= 0 || d < rows_d.begin || d >= rows_d.end) {
        zero_rows(first, 0, box.size[1]);
        continue;
      }
      zero_rows(first, 0, rows_h.begin);
      zero_rows(first, rows_h.end, box.size[1]);
      rows.dst = first + rows_h.begin * stride_h;
      rows.src = contiguous ? at(input, box, d, rows_h.begin, columns.begin) + c * plane : nullptr;
      if (contiguous && width < kLongRow) {
        kernels.copy_rows(&rows);
        continue;
      }
      for (std::int64_t h = 0; h < rows.rows; ++h) {
        float* const row = rows.dst + h * stride_h;
        zero(row, columns.begin);
        if (contiguous) copy(row + columns.begin, rows.src + h * rows.src_stride, width);
        zero(row + columns.end, box.size[2] - columns.end);
      }
    }
  }
  if (contiguous || width <= 0) return;
  // Squares begin at lines of the rows, if the rows of all channels do: a store that crosses a line takes as long as two.
  const bool lines = stride_c % kFloatsPerLine == 0;
  for (std::int64_t d = rows_d.begin; d < rows_d.end; ++d) {
    for (std::int64_t h = rows_h.begin; h < rows_h.end; ++h) {
      float* const row = dst + d * stride_d + h * stride_h + columns.begin;
      const std::int64_t before = lines ? std::min(to_line(row), width) : 0;
      const auto transpose = [&](std::int64_t first, std::int64_t count) {
        const TransposeArgs args{
            at(input, box, d, h, columns.begin + first), input.pixel_stride, row + first, stride_c, count, input.channels};
        kernels.transpose(&args);
      };
      if (before > 0) transpose(0, before);
      if (before < width) transpose(before, width - before);
    }
  }
}

void pack_pixels(const InputView& input, const InputBox& box, std::int64_t stride_pixel, TransposeFn transpose, float* dst) {
  const Inside rows_d = inside(input, box, 0);
  const Inside rows_h = inside(input, box, 1);
  const Inside columns = inside(input, box, 2);
  const std::int64_t width = columns.end - columns.begin;
  const std::int64_t plane = input.in[0] * input.in[1] * input.in[2];
  for (std::int64_t d = 0; d < box.size[0]; ++d) {
    for (std::int64_t h = 0; h < box.size[1]; ++h) {
      float* row = dst + (d * box.size[1] + h) * box.size[2] * stride_pixel;
      if (width <= 0 || d < rows_d.begin || d >= rows_d.end || h < rows_h.begin || h >= rows_h.end) {
        zero(row, box.size[2] * stride_pixel);
        continue;
      }
      zero(row, columns.begin * stride_pixel);
      zero(row + columns.end * stride_pixel, (box.size[2] - columns.end) * stride_pixel);
      const float* from = at(input, box, d, h, columns.begin);
      float* to = row + columns.begin * stride_pixel;
      if (input.format == MemoryFormat::kChannelsLast) {
        for (std::int64_t w = 0; w < width; ++w) copy(to + w * stride_pixel, from + w * input.pixel_stride, input.channels);
      } else {
        const TransposeArgs args{from, plane, to, stride_pixel, input.channels, width};
        transpose(&args);
      }
    }
  }
}

void pack_strips(const InputView& input, std::int64_t first, std::int64_t count, std::int64_t at, std::int64_t strip,
                 const KernelTable& kernels, float* dst) {
  const std::int64_t strip_floats = input.channels * strip;
  if (input.format == MemoryFormat::kChannelsLast) {
    for (std::int64_t j = 0; j < count;) {
      const std::int64_t column = (at + j) % strip;
      const std::int64_t run = std::min(strip - column, count - j);
      const TransposeArgs args{input.data + (first + j) * input.pixel_stride,
                               input.pixel_stride,
                               dst + (at + j) / strip * strip_floats + column,
                               strip,
                               run,
                               input.channels};
      kernels.transpose(&args);
      j += run;
    }
    return;
  }
  // Channel by channel, so that a plane is read in one run: what ends a strip that has begun, whole strips, and the rest.
  const std::int64_t plane = input.in[0] * input.in[1] * input.in[2];
  const std::int64_t before = std::min(round_up(at, strip) - at, count);
  const std::int64_t whole = (count - before) / strip;
  const std::int64_t after = count - before - whole * strip;
  for (std::int64_t c = 0; c < input.channels; ++c) {
    const float* const from = input.data + c * plane + first;
    float* const begun = dst + at / strip * strip_floats + c * strip + at % strip;
    float* const strips = dst + ceil_div(at, strip) * strip_floats + c * strip;
    if (before > 0) copy(begun, from, before);
    const CopyRowsArgs rows{from + before, strip, strips, strip_floats, whole, 0, strip, 0};
    kernels.copy_rows(&rows);
    if (after > 0) copy(strips + whole * strip_floats, from + before + whole * strip, after);
  }
}

}  // namespace convtranspose
