#include "binding/join.h"

#include <cmath>

namespace convtranspose::binding {
namespace {

constexpr double kMost = 1e15;  // more floats than any memory holds; sums of a few are exact

bool read_count(napi_env env, napi_value value, std::int64_t* count, Failure* failure) {
  double number = 0;
  if (napi_get_value_double(env, value, &number) != napi_ok || !(number >= 0 && number <= kMost) ||
      number != std::trunc(number)) {
    *failure = {kInvalidValue, "join", "expected whole numbers from 0 to 10^15"};
    return false;
  }
  *count = static_cast<std::int64_t>(number);
  return true;
}

// Whether the product of two counts is a count.
bool is_count(std::int64_t a, std::int64_t b) { return static_cast<double>(a) * static_cast<double>(b) <= kMost; }

}  // namespace

bool read_join(napi_env env, const napi_value* args, std::int64_t elements, JoinViews* join, Failure* failure) {
  RowJoin& widths = join->widths;
  if (!read_count(env, args[0], &widths.held, failure) || !read_count(env, args[1], &widths.kept, failure) ||
      !read_count(env, args[2], &widths.added, failure)) {
    return false;
  }
  const std::int64_t width = widths.kept + widths.added;
  join->rows = width == 0 ? 0 : elements / width;
  if (widths.kept > widths.held || join->rows * width != elements || !is_count(join->rows, widths.held)) {
    *failure = {kInvalidValue, "join", "expected rows that fit together"};
    return false;
  }
  const std::int64_t held = join->rows * widths.held;
  const std::int64_t added = join->rows * widths.added;
  if (!view_floats(env, args[3], "window", held, false, &join->from, failure) ||
      !view_floats(env, args[4], "chunk", added, false, &join->chunk, failure) ||
      !view_floats(env, args[5], "window", elements, false, &join->to, failure)) {
    return false;
  }
  if (overlap(join->to.data, elements, join->chunk.data, added) || overlap(join->to.data, elements, join->from.data, held)) {
    *failure = {kOverlap, "chunk", "expected memory of its own, got an array that overlaps the window"};
    return false;
  }
  return true;
}

napi_value join_rows(napi_env env, napi_callback_info info) {
  std::size_t arguments = 9;
  napi_value args[9];
  napi_get_cb_info(env, info, &arguments, args, nullptr, nullptr);

  // From the first view to the end no JavaScript runs, so that the pointers hold.
  Failure failure;
  JoinViews join;
  std::int64_t rows = 0;
  std::int64_t first = 0;
  std::int64_t count = 0;
  RowJoin widths;
  if (!read_count(env, args[1], &widths.kept, &failure) || !read_count(env, args[2], &widths.added, &failure) ||
      !read_count(env, args[6], &rows, &failure) || !read_count(env, args[7], &first, &failure) ||
      !read_count(env, args[8], &count, &failure)) {
    return throw_failure(env, failure);
  }
  if (!is_count(rows, widths.kept + widths.added) || first + count > rows) {
    return throw_failure(env, {kInvalidValue, "join", "expected rows that are there"});
  }
  if (!read_join(env, args, rows * (widths.kept + widths.added), &join, &failure)) return throw_failure(env, failure);
  convtranspose::join_rows(join.widths, join.from.data, join.chunk.data, join.to.data, first, count);
  return nullptr;
}

}  // namespace convtranspose::binding
