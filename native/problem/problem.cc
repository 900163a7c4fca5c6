#include "problem/problem.h"

#include <cmath>

#include "problem/checked.h"

namespace convtranspose {
namespace {

constexpr const char* kDimName[kSpatialDims] = {"depth", "height", "width"};

Status expect(const char* argument, const std::string& expected, std::int64_t got) {
  return Status::invalid(argument, "expected " + expected + ", got " + std::to_string(got));
}

}  // namespace

double Problem::flops() const {
  return 2.0 * static_cast<double>(call.batch) * static_cast<double>(layer.in_channels) *
         static_cast<double>(out_channels_per_group()) * static_cast<double>(in_points()) *
         static_cast<double>(kernel_points());
}

Status validate(const LayerSpec& layer) {
  if (layer.rank < 1 || layer.rank > kSpatialDims) return expect("rank", "1, 2 or 3 spatial dimensions", layer.rank);
  if (layer.groups < 1 || layer.groups >= kMaxSize) return expect("groups", "a positive integer", layer.groups);
  if (layer.in_channels < 0 || layer.in_channels >= kMaxSize || layer.in_channels % layer.groups != 0) {
    return expect("inChannels", "a multiple of groups (" + std::to_string(layer.groups) + ")", layer.in_channels);
  }
  if (layer.out_channels < 0 || layer.out_channels >= kMaxSize || layer.out_channels % layer.groups != 0) {
    return expect("outChannels", "a multiple of groups (" + std::to_string(layer.groups) + ")", layer.out_channels);
  }
  Checked weights = Checked(layer.in_channels) * (layer.out_channels / layer.groups);
  for (int d = 0; d < kSpatialDims; ++d) {
    const std::string where = std::string(" in ") + kDimName[d];
    if (layer.kernel[d] < 1 || layer.kernel[d] >= kMaxSize) {
      return expect("kernelSize", "a positive integer" + where, layer.kernel[d]);
    }
    if (layer.stride[d] < 1 || layer.stride[d] >= kMaxSize) {
      return expect("stride", "a positive integer" + where, layer.stride[d]);
    }
    if (layer.dilation[d] < 1 || layer.dilation[d] >= kMaxSize) {
      return expect("dilation", "a positive integer" + where, layer.dilation[d]);
    }
    if (d < kSpatialDims - layer.rank && (layer.kernel[d] != 1 || layer.stride[d] != 1 || layer.dilation[d] != 1)) {
      return expect("kernelSize", "unit parameters in a dimension that the rank leaves out", layer.kernel[d]);
    }
    if (!(Checked(layer.dilation[d]) * (layer.kernel[d] - 1) + 1).fits()) {
      return expect("dilation", "dilation * (kernel - 1) below 2^53" + where, layer.dilation[d]);
    }
    weights = weights * layer.kernel[d];
  }
  if (!(weights * 4).fits()) return Status::invalid("weight", "expected fewer than 2^53 bytes of weights");
  return {};
}

Status validate(const LayerSpec& layer, const CallSpec& call) {
  if (Status status = validate(layer); !status.ok()) return status;
  if (call.batch < 0 || call.batch >= kMaxSize) return expect("input", "a batch size of 0 or more", call.batch);
  Checked src = Checked(call.batch) * layer.in_channels;
  Checked dst = Checked(call.batch) * layer.out_channels;
  Checked in_plane = 1;
  Checked out_plane = 1;
  for (int d = 0; d < kSpatialDims; ++d) {
    const std::string where = std::string(" in ") + kDimName[d];
    if (call.in[d] < 0 || call.in[d] >= kMaxSize) return expect("input", "a size of 0 or more" + where, call.in[d]);
    if (call.out[d] < 0 || call.out[d] >= kMaxSize) {
      return expect("outputSize", "an output size of 0 or more" + where, call.out[d]);
    }
    if (d < kSpatialDims - layer.rank && (call.in[d] != 1 || call.out[d] != 1 || call.pad_begin[d] != 0)) {
      return expect("input", "unit sizes in a dimension that the rank leaves out", call.in[d]);
    }
    const bool reach = (Checked(call.in[d]) * layer.stride[d] + Checked(layer.dilation[d]) * layer.kernel[d]).fits() &&
                       (Checked(call.out[d]) + call.pad_begin[d] + layer.stride[d]).fits_signed() &&
                       Checked(call.pad_begin[d]).fits_signed();
    if (!reach) {
      return Status::invalid("input", "expected every position to stay below 2^53" + where + ", got input size " +
                                          std::to_string(call.in[d]) + " with stride " + std::to_string(layer.stride[d]));
    }
    src = src * call.in[d];
    dst = dst * call.out[d];
    in_plane = in_plane * call.in[d];
    out_plane = out_plane * call.out[d];
  }
  // The planes are checked apart: an empty batch must not hide a product that overflows.
  if (!(src * 4).fits() || !(in_plane * 4).fits())
    return Status::invalid("input", "expected fewer than 2^53 bytes of input");
  if (!(dst * 4).fits() || !(out_plane * 4).fits()) {
    return Status::invalid("outputSize", "expected fewer than 2^53 bytes of output");
  }
  if (call.workspace_limit < 0 || call.workspace_limit >= kMaxSize) {
    return expect("workspaceLimit", "0 or a number of bytes", call.workspace_limit);
  }
  if (!(call.post_ops.lower <= call.post_ops.upper)) {
    return Status::invalid("activation", "expected min <= max and neither of them NaN");
  }
  if (!std::isfinite(call.post_ops.alpha)) return Status::invalid("activation", "expected a finite slope or alpha");
  return {};
}

}  // namespace convtranspose
