// Decisions out of the bytes that a fuzzer chose. Beyond their end every decision is the least.
#pragma once

#include <cstddef>
#include <cstdint>

namespace convtranspose {

class Bytes {
 public:
  Bytes(const std::uint8_t* data, std::size_t size) : next_(data), end_(data + size) {}

  bool empty() const { return next_ == end_; }

  std::uint8_t byte() { return empty() ? 0 : *next_++; }

  // low .. high, both included; no more than 256 values.
  std::int64_t pick(std::int64_t low, std::int64_t high) { return low + byte() % (high - low + 1); }

  // True for one byte in `of`.
  bool chance(int of) { return byte() % of == of - 1; }

  // Any number, the ends of the types and of the accepted sizes often.
  std::int64_t number() {
    constexpr std::int64_t kEdges[] = {0, std::int64_t{1} << 31, std::int64_t{1} << 32, std::int64_t{1} << 53, INT64_MAX};
    const int kind = byte();
    if (kind < 120) return kind % 40;
    if (kind < 160) return byte() * (std::int64_t{1} << (kind % 56));
    if (kind < 220) {
      const std::int64_t edge = kEdges[kind % 5];
      const std::int64_t beside = byte() % 8 - 4;
      const bool beyond = beside > 0 && edge > INT64_MAX - beside;
      const std::int64_t value = beyond ? edge : edge + beside;
      return kind % 2 == 0 ? value : -value;
    }
    std::uint64_t value = 0;
    for (int i = 0; i < 8; ++i) value = value << 8 | byte();
    return static_cast<std::int64_t>(value);
  }

 private:
  const std::uint8_t* next_;
  const std::uint8_t* end_;
};

}  // namespace convtranspose
