// Problems as text, the same in the suite, on the command line and in reports:
//
//   n16 c512 o256 i4x4 k4x4 s2x2 p1x1 op0x0 d1x1 g1
//
// c, o, i and k are required: channels in and out (all groups together), input size, kernel size. n (batch) and g (groups)
// default to 1, s (stride) and d (dilation) to 1, p (padding) and op (output padding) to 0. The number of sizes behind i
// is the number of spatial dimensions; the other sizes have as many, or one for all. Order is free, each word once.
#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "problem/problem.h"

namespace convtranspose::bench {

struct NamedProblem {
  std::string name;  // of the suite; the text itself for one's own
  std::string text;
  LayerSpec layer;
  CallSpec call;
};

// Fills layer and call from problem->text. Says what is wrong, or nothing.
std::string parse_problem(NamedProblem* problem);

// Reads "name problem" lines; '#' begins a comment. Says what is wrong, or nothing.
std::string read_suite(const std::string& path, std::vector<NamedProblem>* suite);

// The problems that `arguments` name, in their order: names of the suite at `path`, with * and ? as wildcards, or problems
// as text (which holds a space); without any, the whole suite. Says what is wrong, or nothing.
std::string select_problems(const std::string& path, const std::vector<std::string>& arguments,
                            std::vector<NamedProblem>* selected);

}  // namespace convtranspose::bench
