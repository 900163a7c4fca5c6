// What tests hold results against: the scatter definition in double precision. Shares no code with the core but the
// description of the problem.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "problem/problem.h"

namespace convtranspose {

// Operands of a problem; the input in the memory format of the call. The bias is there even if the layer has none; the
// residual and the slopes may be empty.
struct Values {
  std::vector<float> x, w, b, residual, slopes;
};

// By output, in the memory format of the call.
struct Expected {
  std::vector<double> y;          // finished as the call asks
  std::vector<double> sum;        // before the activation, with the residual
  std::vector<double> magnitude;  // |b| + sum |x||w|
  std::vector<double> products;   // that reach the output, plus one
};

Expected definition(const Problem& problem, const Values& values);

// The activation of a sum in double precision. `slope` is the channel's, of Activation::kPrelu.
double activated(const PostOps& post_ops, float slope, double x);

// The channel of the output at an index in the memory format of the call.
std::int64_t channel_at(const Problem& problem, std::size_t index);

// NaN, plus infinity, minus infinity, or finite.
bool same_kind(double a, double b);

// In one line, for messages.
std::string describe(const Problem& problem);

// Where element (n, c, d, h, w) of src or dst stands.
std::int64_t element(const CallSpec& call, std::int64_t channels, const Dims& size, std::int64_t n, std::int64_t c,
                     std::int64_t d, std::int64_t h, std::int64_t w);

}  // namespace convtranspose
