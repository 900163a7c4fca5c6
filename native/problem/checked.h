// Arithmetic on sizes that come from outside: every operation says whether the result fits.
#pragma once

#include <cstdint>

namespace convtranspose {

// Every size, offset and byte count of an accepted problem stays below this, so that it is exact in a double.
inline constexpr std::int64_t kMaxSize = std::int64_t{1} << 53;

// a value that remembers whether any operation on the way to it overflowed 63 bits
struct Checked {
  std::int64_t value = 0;
  bool ok = true;

  Checked() = default;
  Checked(std::int64_t v) : value(v) {}  // NOLINT: implicit on purpose, so that expressions read as arithmetic

  friend Checked operator+(Checked a, Checked b) {
    Checked r;
    r.ok = !__builtin_add_overflow(a.value, b.value, &r.value) && a.ok && b.ok;
    return r;
  }
  friend Checked operator-(Checked a, Checked b) {
    Checked r;
    r.ok = !__builtin_sub_overflow(a.value, b.value, &r.value) && a.ok && b.ok;
    return r;
  }
  friend Checked operator*(Checked a, Checked b) {
    Checked r;
    r.ok = !__builtin_mul_overflow(a.value, b.value, &r.value) && a.ok && b.ok;
    return r;
  }

  bool fits() const { return ok && value >= 0 && value < kMaxSize; }
  bool fits_signed() const { return ok && value > -kMaxSize && value < kMaxSize; }
};

// Quotients that round towards minus and plus infinity; b > 0.
inline std::int64_t floor_div(std::int64_t a, std::int64_t b) { return a >= 0 ? a / b : -((-a + b - 1) / b); }
inline std::int64_t ceil_div(std::int64_t a, std::int64_t b) { return -floor_div(-a, b); }
inline std::int64_t floor_mod(std::int64_t a, std::int64_t b) { return a - floor_div(a, b) * b; }
inline std::int64_t round_up(std::int64_t a, std::int64_t b) { return ceil_div(a, b) * b; }

// The last digit of *index, of which there are `count`; the digits before it are left.
inline std::int64_t take_digit(std::int64_t* index, std::int64_t count) {
  const std::int64_t digit = *index % count;
  *index /= count;
  return digit;
}

}  // namespace convtranspose
