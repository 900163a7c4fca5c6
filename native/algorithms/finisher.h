// What is done to outputs between the sums and memory: the bias and the bounds of an Epilogue as they are stored, and a
// finish kernel over what has just been stored where that is not enough.
#pragma once

#include <cstddef>
#include <cstdint>

#include "algorithms/algorithm.h"
#include "kernels/kernel.h"
#include "problem/problem.h"

namespace convtranspose {

class Finisher {
 public:
  Finisher(const Problem& problem, const KernelTable& table);

  // For the store kernels of a run.
  const Epilogue& epilogue(const RunArgs& args) const { return args.residual == nullptr ? bounds_ : kNoBounds; }

  // Whether stored outputs of a run are to be finished. If not, row() and pixels() do nothing.
  bool follows(const RunArgs& args) const { return activates_ || args.residual != nullptr; }
  // Whether they are in every run.
  bool always_follows() const { return activates_; }

  // Finishes data[0, count), neighbouring outputs of one channel that belong at args.dst + index.
  void row(const RunArgs& args, std::int64_t channel, float* data, std::ptrdiff_t index, std::int64_t count) const {
    if (follows(args)) finish_row(args, channel, data, index, count);
  }

  // Stores the output of a channel that no product reaches at args.dst + index: with the same bits in every algorithm that
  // does not compute the definition alone.
  void unreached(const RunArgs& args, std::int64_t channel, std::ptrdiff_t index) const;

  // Finishes data[i*stride + j], i in [0, pixels), j in [0, channels): outputs of the channels from first_channel on, in
  // channels-last order, that belong at args.dst + index + i*stride + j.
  void pixels(const RunArgs& args, std::int64_t first_channel, float* data, std::ptrdiff_t stride, std::ptrdiff_t index,
              std::int64_t pixels, std::int64_t channels) const {
    if (follows(args)) finish_pixels(args, first_channel, data, stride, index, pixels, channels);
  }

 private:
  static const Epilogue kNoBounds;
  void finish_row(const RunArgs& args, std::int64_t channel, float* data, std::ptrdiff_t index, std::int64_t count) const;
  void finish_pixels(const RunArgs& args, std::int64_t first_channel, float* data, std::ptrdiff_t stride,
                     std::ptrdiff_t index, std::int64_t pixels, std::int64_t channels) const;
  FinishArgs make_args(const RunArgs& args, float* data, std::ptrdiff_t index) const;

  PostOps post_ops_;
  Epilogue bounds_;
  bool activates_;
  FinishFn finish_;
  FinishFn leaky_;  // of a row whose channel has a slope of its own
};

}  // namespace convtranspose
