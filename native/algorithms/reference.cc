// The definition, term by term in double precision: no blocking, no packing, no kernel, nothing shared with the other
// algorithms. Right for every problem; chosen only where nothing else can run, or when asked for by name.
#include <algorithm>
#include <memory>
#include <string>

#include "algorithms/algorithm.h"

namespace convtranspose {
namespace {

constexpr double kSecondsPerProduct = 2.0e-9;
constexpr double kSecondsPerOutput = 2.0e-8;
constexpr std::int64_t kOutputsPerTask = 4096;

// The taps of one dimension that reach output position o: k and i with o + pad = i*stride + k*dilation, ascending k, are
// k_first, k_first + k_step, ... (count of them), and i falls by i_step.
struct Reach {
  std::int64_t k_first = 0, k_step = 1, i_first = 0, i_step = 0, count = 0;
};

std::int64_t gcd(std::int64_t a, std::int64_t b) { return b == 0 ? a : gcd(b, a % b); }

Reach reach(const Problem& p, int d, std::int64_t o) {
  const std::int64_t stride = p.layer.stride[d];
  const std::int64_t dilation = p.layer.dilation[d];
  const std::int64_t position = o + p.call.pad_begin[d];  // = i*stride + k*dilation
  Reach r;
  const std::int64_t last_i = p.call.in[d] - 1;
  const std::int64_t last_k = p.layer.kernel[d] - 1;
  if (last_i < 0 || position < 0) return r;
  const std::int64_t g = gcd(stride, dilation);
  if (position % g != 0) return r;
  r.k_step = stride / g;
  r.i_step = dilation / g;
  // The first tap that is congruent; the others follow at steps of stride/g.
  std::int64_t k = 0;
  while (k <= last_k && k < r.k_step && (position - k * dilation) % stride != 0) ++k;
  if (k > last_k || k == r.k_step) return r;
  // i = (position - k*dilation)/stride must not pass the end of the input ...
  const std::int64_t excess = position - last_i * stride - k * dilation;
  if (excess > 0) {
    if (r.k_step > last_k) return r;
    const std::int64_t step = r.k_step * dilation;
    k += (excess + step - 1) / step * r.k_step;
  }
  // ... nor fall below its beginning.
  const std::int64_t most_k = std::min(last_k, position / dilation);
  if (k > most_k) return r;
  r.k_first = k;
  r.i_first = (position - k * dilation) / stride;
  r.count = (most_k - k) / r.k_step + 1;
  return r;
}

class ReferenceExecution final : public Execution {
 public:
  explicit ReferenceExecution(const Problem& problem) : problem_(problem) {
    const double products = problem.flops() / 2.0;
    estimated_seconds = products * kSecondsPerProduct + static_cast<double>(problem.dst_elements()) * kSecondsPerOutput;
    phases = 1;
    blocking = {{"outputs", kOutputsPerTask}};
  }

  const PackedForm* packed_form() const override { return nullptr; }
  std::int64_t tasks() const override { return (problem_.dst_elements() + kOutputsPerTask - 1) / kOutputsPerTask; }
  std::size_t workspace_bytes() const override { return 0; }

  void run_task(const RunArgs& args, std::int64_t task, Workspace) const noexcept override {
    const std::int64_t end = std::min((task + 1) * kOutputsPerTask, problem_.dst_elements());
    for (std::int64_t index = task * kOutputsPerTask; index < end; ++index) args.dst[index] = output(args, index);
  }

 private:
  float output(const RunArgs& args, std::int64_t index) const {
    const Problem& p = problem_;
    const bool last = p.call.format == MemoryFormat::kChannelsLast;
    std::int64_t rest = index;
    std::int64_t channel = 0;
    Dims o;
    if (last) {
      channel = rest % p.layer.out_channels;
      rest /= p.layer.out_channels;
    }
    for (int d = kSpatialDims - 1; d >= 0; --d) {
      o[d] = rest % p.call.out[d];
      rest /= p.call.out[d];
    }
    if (!last) {
      channel = rest % p.layer.out_channels;
      rest /= p.layer.out_channels;
    }
    const std::int64_t image = rest;
    const std::int64_t in_per_group = p.in_channels_per_group();
    const std::int64_t out_per_group = p.out_channels_per_group();
    const std::int64_t group = channel / out_per_group;
    const std::int64_t pixel_step = last ? p.layer.in_channels : 1;
    const std::int64_t channel_step = last ? 1 : p.in_points();

    const Reach rd = reach(p, 0, o[0]), rh = reach(p, 1, o[1]), rw = reach(p, 2, o[2]);
    double sum = args.bias == nullptr ? 0.0 : static_cast<double>(args.bias[channel]);
    for (std::int64_t c = 0; c < in_per_group; ++c) {
      const std::int64_t in_channel = group * in_per_group + c;
      const float* x = args.src + image * p.layer.in_channels * p.in_points() + in_channel * channel_step;
      const float* w = args.weights + (in_channel * out_per_group + channel % out_per_group) * p.kernel_points();
      for (std::int64_t a = 0; a < rd.count; ++a) {
        for (std::int64_t b = 0; b < rh.count; ++b) {
          const std::int64_t x_row =
              ((rd.i_first - a * rd.i_step) * p.call.in[1] + rh.i_first - b * rh.i_step) * p.call.in[2];
          const std::int64_t w_row =
              ((rd.k_first + a * rd.k_step) * p.layer.kernel[1] + rh.k_first + b * rh.k_step) * p.layer.kernel[2];
          for (std::int64_t e = 0; e < rw.count; ++e) {
            sum += static_cast<double>(x[(x_row + rw.i_first - e * rw.i_step) * pixel_step]) *
                   static_cast<double>(w[w_row + rw.k_first + e * rw.k_step]);
          }
        }
      }
    }
    float y = static_cast<float>(sum);
    if (y < p.call.post_ops.lower) y = p.call.post_ops.lower;
    if (y > p.call.post_ops.upper) y = p.call.post_ops.upper;
    return y;
  }

  Problem problem_;
};

class Reference final : public Algorithm {
 public:
  const char* name() const override { return "reference"; }
  AlgorithmChoice choice() const override { return AlgorithmChoice::kReference; }
  std::unique_ptr<Execution> plan(const PlanRequest& request, std::string*) const override {
    return std::make_unique<ReferenceExecution>(request.original);
  }
};

}  // namespace

const Algorithm& reference() {
  static const Reference algorithm;
  return algorithm;
}

}  // namespace convtranspose
