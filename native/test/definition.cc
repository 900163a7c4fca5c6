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
  for (double& y : e.y) {
    y = std::max(y, static_cast<double>(c.post_ops.lower));
    y = std::min(y, static_cast<double>(c.post_ops.upper));
  }
  return e;
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
