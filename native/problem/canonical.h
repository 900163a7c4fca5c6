// The same problem in its simplest form: same memory, same products, fewer or plainer dimensions.
#pragma once

#include "problem/problem.h"

namespace convtranspose {

// Rules, each of which leaves the layout of src, weights and dst as it is:
// - tensors of one channel are contiguous: pixels of one value are planes;
// - a kernel of one position has dilation 1;
// - unit dimensions (in = out = kernel = 1, no padding) move to the front, so that the last dimensions are the long ones;
// - trailing dimensions that are all pointwise (kernel 1, stride 1, no padding, out = in) fold into one;
// - where the input has size 1 the stride is meaningless: it becomes the extent of the kernel, so that every output is a
//   phase of its own with at most one product instead of a row of zeros. Done for layers with enough channels only, since
//   phases are few rows each. Not done for weights that hold an infinity or a NaN (see algorithms/exact_border.h): it would
//   change which outputs have a tap outside the input.
Problem canonical(const Problem& problem, bool finite_weights = true);

}  // namespace convtranspose
