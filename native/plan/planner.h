// Chooses the algorithm for a problem: asks each one of the ordered list, keeps the reasons of those that decline, takes the
// cheapest of the others. A choice depends on the problem, the instruction set, the options and the cache sizes alone.
#pragma once

#include <memory>
#include <string>
#include <vector>

#include "algorithms/algorithm.h"

namespace convtranspose {

struct Rejection {
  std::string name;
  std::string reason;
  bool for_workspace = false;
};

// Immutable; shared by all runs of one shape.
struct Plan {
  Problem problem;    // as asked
  Problem canonical;  // as computed
  const Algorithm* algorithm = nullptr;
  std::unique_ptr<const Execution> execution;
  std::string reason;
  std::vector<Rejection> rejected;
  std::vector<std::string> notes;
};

// The word of the `algorithm` option.
const char* choice_word(AlgorithmChoice choice);

// The word of the `precision` option.
const char* precision_word(Precision precision);

// The activation in words, with its parameters: "leakyRelu 0.1"; "" where it changes nothing.
std::string activation_text(const PostOps& post_ops);

// The list, best first, reference last.
const std::vector<const Algorithm*>& algorithm_list();

// `problem` is valid. Fails with kUnsupported (argument "algorithm") when the forced algorithm declines.
Status make_plan(const Problem& problem, const WeightFacts& weights, const KernelTable& kernels, const CacheInfo& caches,
                 std::shared_ptr<const Plan>* plan);

// The same with one algorithm of the list, whatever the problem asks for.
Status make_plan_with(const Problem& problem, const Algorithm& algorithm, const WeightFacts& weights,
                      const KernelTable& kernels, const CacheInfo& caches, std::shared_ptr<const Plan>* plan);

}  // namespace convtranspose
