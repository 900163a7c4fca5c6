// What every packed form of the weights has in common.
#pragma once

#include <cstdint>
#include <string>

namespace convtranspose {

// 64-byte aligned floats; data() is nullptr when the allocation failed.
class FloatArray {
 public:
  explicit FloatArray(std::int64_t count);
  ~FloatArray();
  FloatArray(const FloatArray&) = delete;
  FloatArray& operator=(const FloatArray&) = delete;
  float* data() const { return data_; }
  std::int64_t count() const { return count_; }

 private:
  float* data_;
  std::int64_t count_;
};

// A form of the weights that an algorithm computes with. Packing is cut into independent tasks, so that threads can share it
// and an abort need not wait for the end of it.
class PackedForm {
 public:
  virtual ~PackedForm() = default;
  virtual std::int64_t elements() const = 0;
  // Equal keys mean equal packed bytes for the same raw weights.
  virtual const std::string& key() const = 0;

  // At most 2^46, each of about kPackTask floats if the form can be cut like that; none if there are no elements.
  virtual std::int64_t tasks() const = 0;
  // Tasks write floats of their own, all together elements() of them, and may run in any order and at the same time.
  virtual void pack_task(const float* weights, std::int64_t task, float* packed) const noexcept = 0;
};

// Floats that one task of packing writes: a fraction of a millisecond, and small beside the caches.
inline constexpr std::int64_t kPackTask = std::int64_t{1} << 16;

// Runs all tasks: fills elements() floats.
void pack_all(const PackedForm& form, const float* weights, float* packed);

}  // namespace convtranspose
