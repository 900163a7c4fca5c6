#include <algorithm>
#include <cstring>
#include <vector>

#include "problem/canonical.h"
#include "problem/phases.h"
#include "small_problem.h"
#include "targets.h"

namespace convtranspose {
namespace {

// Numbers of floats. A product that is refused for not fitting 63 bits stays refused, whatever zero it meets later.
struct Wide {
  __int128 value;
  bool ever_large = false;  // a product on the way did not fit 63 bits
  Wide operator*(std::int64_t factor) const {
    constexpr __int128 kMost = INT64_MAX;
    Wide product{value, ever_large};
    // Factors are below 2^53, so that this cannot overflow.
    product.value *= factor;
    if (product.value > kMost) {
      product.value = kMost;
      product.ever_large = true;
    }
    return product;
  }
  bool acceptable() const { return !ever_large && 4 * value < (__int128{1} << 53); }
};

constexpr std::int64_t kSizes = std::int64_t{1} << 53;

bool size_ok(std::int64_t value, std::int64_t least) { return value >= least && value < kSizes; }

bool layer_is_valid(const LayerSpec& l) {
  if (l.rank < 1 || l.rank > 3) return false;
  if (!size_ok(l.groups, 1) || !size_ok(l.in_channels, 0) || !size_ok(l.out_channels, 0)) return false;
  if (l.in_channels % l.groups != 0 || l.out_channels % l.groups != 0) return false;
  Wide floats{1};
  floats = floats * l.in_channels * (l.out_channels / l.groups);
  for (int d = 0; d < kSpatialDims; ++d) {
    if (!size_ok(l.kernel[d], 1) || !size_ok(l.stride[d], 1) || !size_ok(l.dilation[d], 1)) return false;
    if (d < kSpatialDims - l.rank && (l.kernel[d] != 1 || l.stride[d] != 1 || l.dilation[d] != 1)) return false;
    if (__int128{l.dilation[d]} * (l.kernel[d] - 1) + 1 >= kSizes) return false;
    floats = floats * l.kernel[d];
  }
  return floats.acceptable();
}

bool call_is_valid(const LayerSpec& l, const CallSpec& c) {
  if (!layer_is_valid(l) || !size_ok(c.batch, 0) || !size_ok(c.workspace_limit, 0)) return false;
  if (!(c.post_ops.lower <= c.post_ops.upper)) return false;
  Wide src{1}, dst{1}, in_plane{1}, out_plane{1};
  src = src * c.batch * l.in_channels;
  dst = dst * c.batch * l.out_channels;
  for (int d = 0; d < kSpatialDims; ++d) {
    if (!size_ok(c.in[d], 0) || !size_ok(c.out[d], 0)) return false;
    if (d < kSpatialDims - l.rank && (c.in[d] != 1 || c.out[d] != 1 || c.pad_begin[d] != 0)) return false;
    const __int128 farthest = __int128{c.in[d]} * l.stride[d] + __int128{l.dilation[d]} * l.kernel[d];
    const __int128 last = __int128{c.out[d]} + c.pad_begin[d] + l.stride[d];
    if (farthest >= kSizes || last >= kSizes || last <= -kSizes) return false;
    if (c.pad_begin[d] >= kSizes || c.pad_begin[d] <= -kSizes) return false;
    src = src * c.in[d];
    dst = dst * c.out[d];
    in_plane = in_plane * c.in[d];
    out_plane = out_plane * c.out[d];
  }
  return src.acceptable() && dst.acceptable() && in_plane.acceptable() && out_plane.acceptable();
}

std::string check_status(const Status& status, bool valid, const char* of, const Problem& p) {
  if (status.ok() != valid) {
    return std::string(of) + (valid ? " was refused: " + status.message : " was accepted, which is wrong") + ": " +
           describe(p);
  }
  if (valid) return "";
  if (status.code != StatusCode::kInvalidArgument || std::strlen(status.argument) == 0 || status.message.empty()) {
    return std::string(of) + " was refused without a reason: " + describe(p);
  }
  return "";
}

// Fields of any size, most of them ordinary: one that is wrong is to be found among right ones.
std::string check_validation(Bytes& bytes) {
  Problem p;
  LayerSpec& l = p.layer;
  CallSpec& c = p.call;
  l.rank = static_cast<int>(bytes.chance(8) ? bytes.number() : bytes.pick(1, 3));
  l.groups = bytes.chance(3) ? bytes.number() : 1;
  l.in_channels = bytes.number();
  l.out_channels = bytes.number();
  if (bytes.chance(2) && size_ok(l.groups, 1) && size_ok(l.in_channels, 0) && size_ok(l.out_channels, 0)) {
    l.in_channels -= l.in_channels % l.groups;
    l.out_channels -= l.out_channels % l.groups;
  }
  c.batch = bytes.number();
  const bool strict = !bytes.chance(6);
  const int first = strict && l.rank >= 1 && l.rank <= kSpatialDims ? kSpatialDims - l.rank : 0;
  for (int d = first; d < kSpatialDims; ++d) {
    l.kernel[d] = bytes.chance(3) ? bytes.number() : bytes.pick(1, 5);
    l.stride[d] = bytes.chance(3) ? bytes.number() : bytes.pick(1, 5);
    l.dilation[d] = bytes.chance(3) ? bytes.number() : 1;
    c.in[d] = bytes.number();
    c.pad_begin[d] = bytes.chance(3) ? bytes.number() : 0;
    c.out[d] = bytes.number();
  }
  if (bytes.chance(4)) c.workspace_limit = bytes.number();
  if (bytes.chance(4)) c.post_ops.lower = static_cast<float>(bytes.number());
  if (bytes.chance(4)) c.post_ops.upper = static_cast<float>(bytes.number());
  if (const std::string failure = check_status(validate(l), layer_is_valid(l), "the layer", p); !failure.empty())
    return failure;
  return check_status(validate(l, c), call_is_valid(l, c), "the call", p);
}

std::string check_phases(Bytes& bytes) {
  const std::int64_t out = bytes.pick(0, 60), kernel = bytes.pick(1, 14), stride = bytes.pick(1, 14);
  const std::int64_t dilation = bytes.pick(1, 9), pad = bytes.pick(-30, 60), in = bytes.pick(1, 20);
  const PhaseSet1d set = make_phases(out, kernel, stride, dilation, pad);
  std::vector<int> seen(static_cast<std::size_t>(out), 0);
  for (const Phase1d& phase : set.phases) {
    for (std::int64_t j = 0; j < phase.size; ++j) {
      const std::int64_t o = phase.first + stride * j;
      if (o < 0 || o >= out) return "a phase has outputs outside";
      ++seen[static_cast<std::size_t>(o)];
      std::vector<bool> products(static_cast<std::size_t>(in * kernel));
      for (const Tap1d& tap : phase.taps) {
        if (tap.offset < set.min_offset || tap.offset > set.max_offset) return "an offset is outside of the range";
        const std::int64_t i = j + tap.offset;
        if (i >= 0 && i < in) products[static_cast<std::size_t>(i * kernel + tap.index)] = true;
      }
      for (std::int64_t i = 0; i < in; ++i) {
        for (std::int64_t k = 0; k < kernel; ++k) {
          const bool wanted = i * stride - pad + k * dilation == o;
          if (products[static_cast<std::size_t>(i * kernel + k)] != wanted) return "the products of an output are wrong";
        }
      }
    }
  }
  const bool once = std::all_of(seen.begin(), seen.end(), [](int times) { return times == 1; });
  return once ? "" : "an output is not in exactly one phase";
}

// The same memory, the same products.
std::string check_canonical(Bytes& bytes) {
  const Problem p = small_problem(bytes, 2000);
  const Problem reduced = canonical(p);
  if (const Status status = validate(reduced.layer, reduced.call); !status.ok()) {
    return "the canonical form is not valid: " + status.message + ", of " + describe(p);
  }
  Values v;
  const auto fill = [](std::vector<float>& values, std::int64_t count) {
    values.resize(static_cast<std::size_t>(count));
    for (std::size_t i = 0; i < values.size(); ++i) values[i] = static_cast<float>(i * 7 % 31) - 15.0f;
  };
  fill(v.x, p.src_elements());
  fill(v.w, p.weights_elements());
  fill(v.b, p.layer.out_channels);
  const Expected asked = definition(p, v);
  const Expected computed = definition(reduced, v);
  const bool same = asked.y == computed.y && asked.products == computed.products;
  return same ? "" : "the canonical form " + describe(reduced) + " is another problem than " + describe(p);
}

}  // namespace

std::string fuzz_problem(const std::uint8_t* data, std::size_t size) {
  Bytes bytes(data, size);
  switch (bytes.pick(0, 4)) {
    case 0:
      return check_phases(bytes);
    case 1:
      return check_canonical(bytes);
    default:
      return check_validation(bytes);
  }
}

}  // namespace convtranspose
