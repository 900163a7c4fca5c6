#include "pack/packed_form.h"

#include <algorithm>
#include <cstddef>

#include "runtime/aligned_memory.h"

namespace convtranspose {
namespace {

std::size_t bytes_of(std::int64_t count) {
  return static_cast<std::size_t>(std::max<std::int64_t>(count, 1)) * sizeof(float);
}

}  // namespace

FloatArray::FloatArray(std::int64_t count)
    : data_(reinterpret_cast<float*>(allocate_aligned(bytes_of(count)))), count_(count) {}

FloatArray::~FloatArray() {
  if (data_ != nullptr) free_aligned(reinterpret_cast<std::byte*>(data_), bytes_of(count_));
}

void pack_all(const PackedForm& form, const float* weights, float* packed) {
  for (std::int64_t task = 0; task < form.tasks(); ++task) form.pack_task(weights, task, packed);
}

}  // namespace convtranspose
