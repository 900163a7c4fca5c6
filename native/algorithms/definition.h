// One output by the definition, term by term in double precision: no blocking, no packing, no kernel, nothing shared with
// the blocked algorithms. Right for every problem.
#pragma once

#include <array>
#include <cstdint>
#include <vector>

#include "algorithms/algorithm.h"
#include "problem/problem.h"

namespace convtranspose {

class Definition {
 public:
  explicit Definition(const Problem& problem);

  // Where the output at position o of a channel of an image stands.
  std::int64_t index(std::int64_t image, std::int64_t channel, const Dims& o) const;

  // That output, finished; args.raw_weights are read.
  float output(const RunArgs& args, std::int64_t image, std::int64_t channel, const Dims& o) const;

  // Whether any product is a term of the output at o.
  bool reached(const Dims& o) const;

  // Whether some tap of o's phase, in any dimension, falls outside the input.
  bool at_border(const Dims& o) const;

  // Products that an output has at most.
  double products_per_output() const;

 private:
  // The taps of one dimension that reach an output position: k_first, k_first + k_step, ... (`count` of them), while the
  // input position falls from i_first by i_step.
  struct Reach {
    std::int64_t k_first = 0, k_step = 1, i_first = 0, i_step = 0, count = 0;
    bool whole = true;  // no tap of the phase was left out because it falls outside the input
  };
  Reach reach(int d, std::int64_t o) const;

  Problem problem_;
  std::array<std::int64_t, kSpatialDims> gcd_;  // of stride and dilation: it divides the residues that have taps
  // Per dimension, by residue (position mod stride) / gcd: the smallest k with k*dilation = residue (mod stride), or -1.
  // Empty where the stride is too long to list.
  std::array<std::vector<std::int64_t>, kSpatialDims> first_tap_;
};

}  // namespace convtranspose
