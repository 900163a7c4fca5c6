// Problems small enough to be computed by the definition thousands of times a second, and values for them.
#pragma once

#include "bytes.h"
#include "kernels/registry.h"
#include "test/bounds.h"
#include "test/definition.h"

namespace convtranspose {

// Of an instruction set that is compiled in and that this machine has.
const KernelTable& any_kernels(Bytes& bytes);

// Valid, with at least one output; at most `most_products` products and as many outputs.
Problem small_problem(Bytes& bytes, std::int64_t most_products);

// Other sizes for a call of the same layer, under the same bounds.
CallSpec small_call(Bytes& bytes, const LayerSpec& layer, std::int64_t most_products);

struct SmallValues {
  Values values;
  DataKind kind;
  bool finite;          // no infinity and no NaN among them
  bool finite_weights;  // none among the weights
};

SmallValues small_values(Bytes& bytes, const Problem& problem);

}  // namespace convtranspose
