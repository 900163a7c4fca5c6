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

// A form of the weights that an algorithm computes with.
class PackedForm {
 public:
  virtual ~PackedForm() = default;
  virtual std::int64_t elements() const = 0;
  // Equal keys mean equal packed bytes for the same raw weights.
  virtual const std::string& key() const = 0;
  // Fills elements() floats.
  virtual void pack(const float* weights, float* packed) const = 0;
};

}  // namespace convtranspose
