#include "definition.h"

#include <algorithm>
#include <cmath>

namespace convtranspose {

std::int64_t element(const CallSpec& call, std::int64_t channels, const Dims& size, std::int64_t n, std::int64_t c,
                     std::int64_t d, std::int64_t h, std::int64_t w) {
  if (call.format == MemoryFormat::kChannelsLast) return (((n * size[0] + d) * size[1] + h) * size[2] + w) * channels + c;
  return (((n * channels + c) * size[0] + d) * size[1] + h) * size[2] + w;
}

Expected definition(const Problem& p, const Values& v) {
  const LayerSpec& l = p.layer;
  const CallSpec& c = p.call;
  Expected e;
  const std::size_t count = static_cast<std::size_t>(p.dst_elements());
  e.y.assign(count, 0.0);
  e.magnitude.assign(count, 0.0);
  e.products.assign(count, 1.0);
  const std::int64_t ig = p.in_channels_per_group(), og = p.out_channels_per_group();
  for (std::int64_t n = 0; n < c.batch; ++n)
    for (std::int64_t co = 0; co < l.out_channels; ++co)
      for (std::int64_t d = 0; d < c.out[0]; ++d)
        for (std::int64_t h = 0; h < c.out[1]; ++h)
          for (std::int64_t w = 0; w < c.out[2]; ++w) {
            const std::size_t at = static_cast<std::size_t>(element(c, l.out_channels, c.out, n, co, d, h, w));
            e.y[at] = l.has_bias ? v.b[static_cast<std::size_t>(co)] : 0.0;
            e.magnitude[at] = std::fabs(e.y[at]);
          }
  for (std::int64_t n = 0; n < c.batch; ++n)
    for (std::int64_t ci = 0; ci < l.in_channels; ++ci)
      for (std::int64_t d = 0; d < c.in[0]; ++d)
        for (std::int64_t h = 0; h < c.in[1]; ++h)
          for (std::int64_t w = 0; w < c.in[2]; ++w) {
            const double x = v.x[static_cast<std::size_t>(element(c, l.in_channels, c.in, n, ci, d, h, w))];
            for (std::int64_t kd = 0; kd < l.kernel[0]; ++kd)
              for (std::int64_t kh = 0; kh < l.kernel[1]; ++kh)
                for (std::int64_t kw = 0; kw < l.kernel[2]; ++kw) {
                  const std::int64_t od = d * l.stride[0] - c.pad_begin[0] + kd * l.dilation[0];
                  const std::int64_t oh = h * l.stride[1] - c.pad_begin[1] + kh * l.dilation[1];
                  const std::int64_t ow = w * l.stride[2] - c.pad_begin[2] + kw * l.dilation[2];
                  if (od < 0 || oh < 0 || ow < 0 || od >= c.out[0] || oh >= c.out[1] || ow >= c.out[2]) continue;
                  for (std::int64_t co = 0; co < og; ++co) {
                    const double weight = v.w[static_cast<std::size_t>(
                        (((ci * og + co) * l.kernel[0] + kd) * l.kernel[1] + kh) * l.kernel[2] + kw)];
                    const std::size_t at =
                        static_cast<std::size_t>(element(c, l.out_channels, c.out, n, ci / ig * og + co, od, oh, ow));
                    e.y[at] += x * weight;
                    e.magnitude[at] += std::fabs(x * weight);
                    e.products[at] += 1.0;
                  }
                }
          }
  for (std::size_t i = 0; i < count && !v.residual.empty(); ++i) e.y[i] += static_cast<double>(v.residual[i]);
  e.sum = e.y;
  for (std::size_t i = 0; i < count; ++i) {
    const float slope = v.slopes.empty() ? 0.0f : v.slopes[static_cast<std::size_t>(channel_at(p, i))];
    e.y[i] = activated(c.post_ops, slope, e.sum[i]);
  }
  return e;
}

double activated(const PostOps& post_ops, float slope, double x) {
  const double alpha = static_cast<double>(post_ops.alpha);
  const auto logistic = [](double w) { return w < 0 ? std::exp(w) / (1 + std::exp(w)) : 1 / (1 + std::exp(-w)); };
  switch (post_ops.activation) {
    case Activation::kClamp:
      return std::isnan(x) ? x : std::clamp(x, static_cast<double>(post_ops.lower), static_cast<double>(post_ops.upper));
    case Activation::kLeakyRelu:
      return x > 0 ? x : alpha * x;
    case Activation::kPrelu:
      return x > 0 ? x : static_cast<double>(slope) * x;
    case Activation::kTanh:
      return std::tanh(x);
    case Activation::kSigmoid:
      return logistic(x);
    case Activation::kGelu:
      return x * 0.5 * std::erfc(-x * 0.70710678118654752440);
    case Activation::kGeluTanh:
      return x * logistic(1.5957691216057307118 * (x + 0.044715 * x * x * x));
    case Activation::kSilu:
      return x * logistic(x);
    case Activation::kElu:
      return x < 0 ? alpha * std::expm1(x) : x;
  }
  return x;
}

std::int64_t channel_at(const Problem& p, std::size_t index) {
  const std::int64_t i = static_cast<std::int64_t>(index);
  if (p.call.format == MemoryFormat::kChannelsLast) return i % p.layer.out_channels;
  return i / p.out_points() % p.layer.out_channels;
}

bool same_kind(double a, double b) {  // NaN, +inf, -inf or finite
  if (std::isnan(a) || std::isnan(b)) return std::isnan(a) && std::isnan(b);
  if (std::isinf(a) || std::isinf(b)) return a == b;
  return true;
}

std::string describe(const Problem& p) {
  std::string text;
  text.append("g").append(std::to_string(p.layer.groups)).append(" c").append(std::to_string(p.layer.in_channels));
  text.append(" o").append(std::to_string(p.layer.out_channels)).append(" n").append(std::to_string(p.call.batch));
  const auto add = [&text](const char* name, const Dims& dims) {
    text.append(" ").append(name);
    for (const std::int64_t value : dims) text.append(" ").append(std::to_string(value));
  };
  add("i", p.call.in);
  add("k", p.layer.kernel);
  add("s", p.layer.stride);
  add("d", p.layer.dilation);
  add("p", p.call.pad_begin);
  add("out", p.call.out);
  return text.append(p.call.format == MemoryFormat::kChannelsLast ? " last" : "");
}

}  // namespace convtranspose
