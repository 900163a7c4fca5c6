#include "pack/packed_form.h"

#include <cstddef>
#include <new>

namespace convtranspose {
namespace {

constexpr std::align_val_t kAlignment{64};

}  // namespace

FloatArray::FloatArray(std::int64_t count) : data_(nullptr), count_(count) {
  data_ = static_cast<float*>(
      ::operator new(static_cast<std::size_t>(count > 0 ? count : 1) * sizeof(float), kAlignment, std::nothrow));
}

FloatArray::~FloatArray() { ::operator delete(data_, kAlignment); }

}  // namespace convtranspose
