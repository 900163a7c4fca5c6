#include "small_problem.h"

#include <algorithm>
#include <cmath>
#include <limits>

namespace convtranspose {
namespace {

std::int64_t natural_size(const LayerSpec& layer, int d, std::int64_t in) {
  return (in - 1) * layer.stride[d] + layer.dilation[d] * (layer.kernel[d] - 1) + 1;
}

bool too_large(const Problem& p, std::int64_t most_products) {
  return p.flops() / 2 > static_cast<double>(most_products) || p.dst_elements() > most_products ||
         p.src_elements() > most_products || p.weights_elements() > most_products;
}

// Halves what is largest.
void shrink(LayerSpec& layer) {
  std::int64_t* largest = &layer.kernel[0];
  for (std::int64_t& size : layer.kernel) {
    if (size > *largest) largest = &size;
  }
  std::int64_t in = layer.in_channels / layer.groups, out = layer.out_channels / layer.groups;
  if (*largest >= std::max({in, out, layer.groups})) {
    *largest = (*largest + 1) / 2;
    return;
  }
  std::int64_t groups = layer.groups;
  std::int64_t& most = groups >= in && groups >= out ? groups : in >= out ? in : out;
  most = (most + 1) / 2;
  layer.groups = groups;
  layer.in_channels = groups * in;
  layer.out_channels = groups * out;
}

struct Random {  // splitmix64
  std::uint64_t state;
  std::uint64_t next() {
    std::uint64_t z = state += 0x9e3779b97f4a7c15u;
    z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9u;
    z = (z ^ (z >> 27)) * 0x94d049bb133111ebu;
    return z ^ (z >> 31);
  }
  float uniform() { return static_cast<float>(static_cast<std::int64_t>(next() >> 40) - (1 << 23)) * 0x1p-23f; }  // -1 .. 1
};

float special_value(std::uint8_t which) {
  using Limits = std::numeric_limits<float>;
  constexpr float kValues[] = {
      Limits::infinity(), -Limits::infinity(), Limits::quiet_NaN(), 0.0f, -0.0f, Limits::denorm_min(), -0x1p-130f, 0x1p-60f};
  constexpr float kLarge[] = {0x1p30f, -0x1p30f, 0x1.fffffep29f, 0x1p17f};  // where amx and others draw lines
  return which < 224 ? kValues[which % 8] : kLarge[which % 4];
}

}  // namespace

const KernelTable& any_kernels(Bytes& bytes) {
  static const std::vector<const KernelTable*> tables = [] {
    std::vector<const KernelTable*> found;
    for (const Isa isa : cpu_info().supported) {
      if (const KernelTable* table = kernel_table(isa); table != nullptr) found.push_back(table);
    }
    return found;
  }();
  return *tables[bytes.byte() % tables.size()];
}

CallSpec small_call(Bytes& bytes, const LayerSpec& layer, std::int64_t most_products) {
  Problem p;
  p.layer = layer;
  CallSpec& c = p.call;
  if (bytes.chance(2)) c.format = MemoryFormat::kChannelsLast;
  const std::int64_t images = bytes.byte();  // seldom so many that an algorithm may put them side by side
  c.batch = images < 224 ? 1 + images % 3 : images - 208;
  Dims end{};
  for (int d = kSpatialDims - layer.rank; d < kSpatialDims; ++d) {
    c.in[d] = bytes.pick(1, layer.rank == 1 ? 120 : layer.rank == 2 ? 24 : 8);
    const std::int64_t extent = layer.dilation[d] * (layer.kernel[d] - 1);
    // No padding often: then kernels as large as their strides are a matrix product.
    c.pad_begin[d] = bytes.chance(2) ? bytes.pick(-2, std::min<std::int64_t>(extent + 2, 40)) : 0;
    end[d] = bytes.chance(2) ? bytes.pick(-3, std::min<std::int64_t>(extent + 2, 40)) : 0;
  }
  const auto resize = [&] {
    for (int d = kSpatialDims - layer.rank; d < kSpatialDims; ++d) {
      c.out[d] = std::max<std::int64_t>(natural_size(layer, d, c.in[d]) - c.pad_begin[d] - end[d], 1);
    }
  };
  resize();
  while (too_large(p, most_products)) {
    std::int64_t* largest = &c.batch;
    for (std::int64_t& size : c.in) {
      if (size > *largest) largest = &size;
    }
    if (*largest == 1) break;  // the layer alone is small enough, but its extent is not
    *largest = (*largest + 1) / 2;
    resize();
  }
  for (int d = kSpatialDims - layer.rank; d < kSpatialDims && too_large(p, most_products); ++d) c.out[d] = 1;
  if (bytes.chance(4)) c.post_ops.lower = 0.0f;
  if (bytes.chance(4)) c.post_ops.upper = 0.5f;
  if (bytes.chance(4)) c.invariant = true;
  if (bytes.chance(4)) c.weights_reused = false;
  if (bytes.chance(3)) c.workspace_limit = std::int64_t{1} << bytes.pick(8, 20);
  c.precision = static_cast<Precision>(bytes.pick(0, 2));
  if (bytes.chance(3)) {
    c.post_ops = {};
    c.post_ops.activation = static_cast<Activation>(bytes.pick(1, 8));
    c.post_ops.alpha = static_cast<float>(bytes.pick(0, 16)) / 8.0f - 1.0f;
  }
  return c;
}

Problem small_problem(Bytes& bytes, std::int64_t most_products) {
  Problem p;
  LayerSpec& l = p.layer;
  l.rank = static_cast<int>(bytes.pick(1, 3));
  l.groups = bytes.chance(3) ? bytes.pick(2, 20) : 1;
  const std::int64_t most_channels = bytes.chance(3) ? 80 : 9;
  l.in_channels = l.groups * bytes.pick(1, most_channels);
  l.out_channels = l.groups * bytes.pick(1, most_channels);
  l.has_bias = bytes.chance(2);
  const bool equal = bytes.chance(4);
  for (int d = kSpatialDims - l.rank; d < kSpatialDims; ++d) {
    l.kernel[d] = bytes.pick(1, l.rank == 1 ? 16 : 5);
    l.stride[d] = equal ? l.kernel[d] : bytes.pick(1, l.rank == 1 ? 9 : 4);
    l.dilation[d] = bytes.chance(3) ? bytes.pick(2, 5) : 1;
  }
  while (p.flops() / 2 > static_cast<double>(most_products) || l.in_channels > most_products ||
         l.out_channels > most_products) {
    shrink(l);
  }
  p.call = small_call(bytes, l, most_products);
  return p;
}

SmallValues small_values(Bytes& bytes, const Problem& problem) {
  SmallValues made{{}, DataKind::kMixedSigns, true, true};
  Values& v = made.values;
  v.x.resize(static_cast<std::size_t>(problem.src_elements()));
  v.w.resize(static_cast<std::size_t>(problem.weights_elements()));
  v.b.resize(static_cast<std::size_t>(problem.layer.out_channels));
  const std::int64_t style = bytes.pick(0, 5);
  Random random{bytes.byte()};
  const auto fill = [&](auto value) {
    for (auto* values : {&v.x, &v.w, &v.b}) {
      for (float& each : *values) each = value();
    }
  };
  switch (style) {
    case 0:
      made.kind = DataKind::kSmallIntegers;
      fill([&] { return static_cast<float>(static_cast<int>(random.next() % 17) - 8); });
      break;
    case 1:  // one sign
      made.kind = DataKind::kAny;
      fill([&] { return std::fabs(random.uniform()) + 0.5f; });
      break;
    case 2:  // magnitudes from 2^-20 to 2^20
      made.kind = DataKind::kAny;
      fill([&] { return std::ldexp(random.uniform(), static_cast<int>(random.next() % 41) - 20); });
      break;
    case 3:  // products around the smallest normal number
      made.kind = DataKind::kAny;
      fill([&] { return random.uniform() * 0x1p-65f; });
      break;
    default:
      fill([&] { return random.uniform(); });
  }
  if (made.kind != DataKind::kSmallIntegers && bytes.chance(3)) {
    for (std::int64_t count = bytes.pick(1, 3); count > 0; --count) {
      const bool in_weights = bytes.chance(3);
      std::vector<float>& target = in_weights ? v.w : v.x;
      if (target.empty()) continue;
      const float value = special_value(bytes.byte());
      target[random.next() % target.size()] = value;
      if (std::isfinite(value)) continue;
      made.finite = false;
      if (in_weights) made.finite_weights = false;
    }
    if (made.kind == DataKind::kMixedSigns) made.kind = DataKind::kAny;
  }
  if (bytes.chance(4)) {
    v.residual.resize(static_cast<std::size_t>(problem.dst_elements()));
    for (float& value : v.residual) value = random.uniform();
  }
  v.slopes.resize(v.b.size());
  for (float& value : v.slopes) value = random.uniform();
  return made;
}

}  // namespace convtranspose
