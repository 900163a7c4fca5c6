// Memory that the package hands out: reference-counted, 64-byte aligned, uninitialised, and recycled within a bound, so that
// outputs cost no page faults and asynchronous runs can hold on to what they touch whatever JavaScript does with it.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>

namespace convtranspose {

class Buffer {  // the block returns to the pool when the last reference goes
 public:
  std::byte* data() const noexcept { return data_; }
  std::size_t bytes() const noexcept { return bytes_; }
  // Whether somebody has written to all of it, in this use or an earlier one: pages of others come from the system when they
  // are first touched. One thread at a time.
  bool touched() const noexcept { return touched_; }
  void set_touched() noexcept { touched_ = true; }
  Buffer(std::byte* data, std::size_t bytes, std::size_t capacity, bool touched)
      : data_(data), bytes_(bytes), capacity_(capacity), touched_(touched) {}
  ~Buffer();
  Buffer(const Buffer&) = delete;
  Buffer& operator=(const Buffer&) = delete;

 private:
  std::byte* data_;
  std::size_t bytes_;
  std::size_t capacity_;
  bool touched_;
};

// nullptr when there is no memory. bytes may be 0.
std::shared_ptr<Buffer> allocate_buffer(std::size_t bytes);

// The live buffer that holds [data, data + bytes), or nullptr if that memory is not this package's. Thread-safe.
std::shared_ptr<Buffer> find_buffer(const void* data, std::size_t bytes);

struct BufferStats {
  std::uint64_t live_bytes;
  std::uint64_t recycled_bytes;  // held for reuse; bounded
  std::uint64_t allocations;     // from the system, since the start
};
BufferStats buffer_stats();

}  // namespace convtranspose
