#include "problem/canonical.h"

#include <algorithm>

namespace convtranspose {
namespace {

constexpr std::int64_t kMinChannelsForUnitInput = 8;
constexpr std::int64_t kMaxPhasesForUnitInput = 256;

bool is_pointwise(const Problem& p, int d) {
  return p.layer.kernel[d] == 1 && p.layer.stride[d] == 1 && p.call.pad_begin[d] == 0 && p.call.out[d] == p.call.in[d];
}

bool is_unit(const Problem& p, int d) { return is_pointwise(p, d) && p.call.in[d] == 1; }

void set_unit(Problem* p, int d) {
  p->layer.kernel[d] = p->layer.stride[d] = p->layer.dilation[d] = 1;
  p->call.in[d] = p->call.out[d] = 1;
  p->call.pad_begin[d] = 0;
}

void move_dimension(Problem* p, int from, int to) {
  p->layer.kernel[to] = p->layer.kernel[from];
  p->layer.stride[to] = p->layer.stride[from];
  p->layer.dilation[to] = p->layer.dilation[from];
  p->call.in[to] = p->call.in[from];
  p->call.out[to] = p->call.out[from];
  p->call.pad_begin[to] = p->call.pad_begin[from];
}

void move_units_to_front(Problem* p) {
  int to = kSpatialDims - 1;
  for (int from = kSpatialDims - 1; from >= 0; --from) {
    if (is_unit(*p, from)) continue;
    if (from != to) move_dimension(p, from, to);
    --to;
  }
  for (; to >= 0; --to) set_unit(p, to);
}

void fold_pointwise(Problem* p) {
  const int last = kSpatialDims - 1;
  for (int d = last - 1; d >= 0; --d) {
    if (!is_pointwise(*p, last) || !is_pointwise(*p, d)) return;
    p->call.in[last] *= p->call.in[d];
    p->call.out[last] = p->call.in[last];
    set_unit(p, d);
  }
}

void split_unit_inputs(Problem* p) {
  if (p->out_channels_per_group() < kMinChannelsForUnitInput) return;
  std::int64_t phases = 1;
  for (int d = 0; d < kSpatialDims; ++d) {
    const std::int64_t extent = p->layer.dilation[d] * (p->layer.kernel[d] - 1) + 1;
    const std::int64_t stride = p->call.in[d] == 1 ? extent : p->layer.stride[d];
    if (stride > kMaxPhasesForUnitInput / phases) return;
    phases *= stride;
  }
  for (int d = 0; d < kSpatialDims; ++d) {
    if (p->call.in[d] == 1) p->layer.stride[d] = p->layer.dilation[d] * (p->layer.kernel[d] - 1) + 1;
  }
}

}  // namespace

Problem canonical(const Problem& problem, bool finite_weights) {
  Problem p = problem;
  if (p.layer.in_channels == 1 && p.layer.out_channels == 1) p.call.format = MemoryFormat::kContiguous;
  for (int d = 0; d < kSpatialDims; ++d) {
    if (p.layer.kernel[d] == 1) p.layer.dilation[d] = 1;
  }
  move_units_to_front(&p);
  fold_pointwise(&p);
  if (finite_weights) split_unit_inputs(&p);
  return p;
}

}  // namespace convtranspose
