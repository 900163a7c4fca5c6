// Validation, phases and canonical form.
#include "problem/problem.h"

#include <doctest/doctest.h>

#include <string>

#include "problem/canonical.h"
#include "problem/checked.h"
#include "problem/phases.h"

namespace convtranspose {
namespace {

LayerSpec layer_1d(std::int64_t kernel, std::int64_t stride, std::int64_t dilation) {
  LayerSpec layer;
  layer.rank = 1;
  layer.kernel = {1, 1, kernel};
  layer.stride = {1, 1, stride};
  layer.dilation = {1, 1, dilation};
  return layer;
}

TEST_CASE("phases hold exactly the products of the definition") {
  int products = 0;
  for (std::int64_t kernel = 1; kernel <= 7; ++kernel) {
    for (std::int64_t stride = 1; stride <= 5; ++stride) {
      for (std::int64_t dilation = 1; dilation <= 4; ++dilation) {
        for (std::int64_t pad = -3; pad <= 6; ++pad) {
          const std::int64_t in = 6, out = 23;
          const PhaseSet1d set = make_phases(out, kernel, stride, dilation, pad);
          std::vector<std::vector<bool>> expected(out, std::vector<bool>(static_cast<std::size_t>(in * kernel)));
          for (std::int64_t i = 0; i < in; ++i) {
            for (std::int64_t k = 0; k < kernel; ++k) {
              const std::int64_t o = i * stride - pad + k * dilation;
              if (o >= 0 && o < out) expected[static_cast<std::size_t>(o)][static_cast<std::size_t>(i * kernel + k)] = true;
            }
          }
          std::int64_t outputs = 0;
          for (const Phase1d& phase : set.phases) {
            outputs += phase.size;
            REQUIRE(phase.residue == floor_mod(phase.first + pad, stride));
            for (std::int64_t j = 0; j < phase.size; ++j) {
              auto& row = expected[static_cast<std::size_t>(phase.first + stride * j)];
              for (const Tap1d& tap : phase.taps) {
                REQUIRE(tap.offset >= set.min_offset);
                REQUIRE(tap.offset <= set.max_offset);
                const std::int64_t i = j + tap.offset;
                if (i < 0 || i >= in) continue;
                REQUIRE(row[static_cast<std::size_t>(i * kernel + tap.index)]);
                row[static_cast<std::size_t>(i * kernel + tap.index)] = false;
                ++products;
              }
            }
          }
          REQUIRE(outputs == out);
          for (const auto& row : expected) {
            for (const bool missing : row) REQUIRE(!missing);
          }
        }
      }
    }
  }
  CHECK(products > 10000);
}

TEST_CASE("k4 s2 p1 has two phases of two taps, k3 s2 one of two and one of one, k2 s5 three without any") {
  const PhaseSet1d even = make_phases(32, 4, 2, 1, 1);
  REQUIRE(even.count() == 2);
  CHECK(even.phases[0].taps.size() == 2);
  CHECK(even.phases[1].taps.size() == 2);
  const PhaseSet1d odd = make_phases(32, 3, 2, 1, 1);
  CHECK(odd.phases[0].taps.size() + odd.phases[1].taps.size() == 3);
  const PhaseSet1d sparse = make_phases(32, 2, 5, 1, 0);
  std::size_t empty = 0;
  for (const Phase1d& phase : sparse.phases) empty += phase.taps.empty() ? 1 : 0;
  CHECK(empty == 3);
}

TEST_CASE("checked arithmetic remembers overflow") {
  const Checked big = std::int64_t{1} << 62;
  CHECK(!(big * 4).ok);
  CHECK(!(big + big).fits());
  CHECK(!(big * 4 - big * 4).fits());
  CHECK((Checked(3) * 5 - 1).value == 14);
  CHECK(!(Checked(3) - 5).fits());
  CHECK((Checked(3) - 5).fits_signed());
  CHECK(floor_div(-7, 2) == -4);
  CHECK(ceil_div(-7, 2) == -3);
  CHECK(floor_mod(-7, 2) == 1);
  CHECK(round_up(17, 16) == 32);
}

TEST_CASE("validation names the field") {
  const auto argument = [](const LayerSpec& layer, const CallSpec& call) {
    return std::string(validate(layer, call).argument);
  };
  LayerSpec layer = layer_1d(3, 2, 1);
  CallSpec call;
  call.in = {1, 1, 8};
  call.out = {1, 1, 17};
  CHECK(validate(layer, call).ok());
  const auto with_layer = [&](auto change) {
    LayerSpec changed = layer;
    change(&changed);
    return argument(changed, call);
  };
  const auto with_call = [&](auto change) {
    CallSpec changed = call;
    change(&changed);
    return argument(layer, changed);
  };
  CHECK(with_layer([](LayerSpec* l) { l->groups = 0; }) == "groups");
  CHECK(with_layer([](LayerSpec* l) { l->groups = 2; }) == "inChannels");
  CHECK(with_layer([](LayerSpec* l) { l->stride[2] = 0; }) == "stride");
  CHECK(with_layer([](LayerSpec* l) { l->kernel[2] = 0; }) == "kernelSize");
  CHECK(with_layer([](LayerSpec* l) { l->dilation[2] = -1; }) == "dilation");
  CHECK(with_layer([](LayerSpec* l) { l->dilation[2] = kMaxSize - 1; }) == "dilation");
  CHECK(with_layer([](LayerSpec* l) { l->stride[2] = kMaxSize - 1; }) == "input");
  CHECK(with_layer([](LayerSpec* l) { l->kernel[0] = 2; }) == "kernelSize");
  CHECK(with_layer([](LayerSpec* l) { l->rank = 4; }) == "rank");
  CHECK(with_layer([](LayerSpec* l) { l->in_channels = l->out_channels = std::int64_t{1} << 30; }) == "weight");
  CHECK(with_call([](CallSpec* c) { c->batch = -1; }) == "input");
  CHECK(with_call([](CallSpec* c) { c->batch = std::int64_t{1} << 52; }) == "input");
  CHECK(with_call([](CallSpec* c) { c->out[2] = -1; }) == "outputSize");
  CHECK(with_call([](CallSpec* c) { c->out[2] = std::int64_t{1} << 52; }) == "outputSize");
  CHECK(with_call([](CallSpec* c) { c->post_ops.lower = 2.0f, c->post_ops.upper = 1.0f; }) == "activation");
  CHECK(with_call([](CallSpec* c) { c->workspace_limit = -1; }) == "workspaceLimit");
}

TEST_CASE("canonical form") {
  Problem p;
  p.layer.rank = 2;
  p.call.in = {1, 7, 9};
  p.call.out = {1, 7, 9};
  Problem c = canonical(p);  // pointwise: one row of pixels
  CHECK(c.call.in == Dims{1, 1, 63});
  CHECK(c.call.out == Dims{1, 1, 63});

  p.layer.kernel = {1, 4, 1};  // a column: becomes a row
  p.layer.stride = {1, 2, 1};
  p.call.in = {1, 7, 1};
  p.call.out = {1, 14, 1};
  p.call.pad_begin = {0, 1, 0};
  c = canonical(p);
  CHECK(c.layer.kernel == Dims{1, 1, 4});
  CHECK(c.call.pad_begin == Dims{0, 0, 1});
  CHECK(c.call.out == Dims{1, 1, 14});

  Problem tiny;  // 1x1 input: every output a phase of its own
  tiny.layer.out_channels = 64;
  tiny.layer.kernel = {1, 4, 4};
  tiny.call.in = {1, 1, 1};
  tiny.call.out = {1, 4, 4};
  c = canonical(tiny);
  CHECK(c.layer.stride == Dims{1, 4, 4});
  tiny.layer.out_channels = 1;                                      // with few channels a row of taps is better
  CHECK(canonical(tiny, false).layer.stride == tiny.layer.stride);  // weights that are not finite: the border stays
  CHECK(canonical(tiny).layer.stride == Dims{1, 1, 1});

  Problem gray;  // one channel: both orders are the same
  gray.call.format = MemoryFormat::kChannelsLast;
  gray.call.in = gray.call.out = {1, 5, 5};
  CHECK(canonical(gray).call.format == MemoryFormat::kContiguous);
  gray.layer.out_channels = 2;
  CHECK(canonical(gray).call.format == MemoryFormat::kChannelsLast);
}

}  // namespace
}  // namespace convtranspose
