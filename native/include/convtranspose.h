// The public C++ interface: transposed convolution in 1, 2 or 3 dimensions, no Node in it. Tests, fuzzers and benches
// use it.
//
//   LayerSpec spec;  spec.in_channels = 64; spec.out_channels = 32; spec.kernel = {1, 4, 4}; spec.stride = {1, 2, 2};
//   std::shared_ptr<Layer> layer;
//   Status status = Layer::create(spec, weights, nullptr, &layer);
//   CallSpec call;  call.in = {1, 16, 16}; call.pad_begin = {0, 1, 1}; call.out = {1, 32, 32};
//   status = layer->run(call, {src, dst}, 0);
#pragma once

#include "kernels/registry.h"
#include "layer/layer.h"
#include "problem/problem.h"
#include "runtime/buffer_pool.h"
#include "runtime/counters.h"
#include "runtime/cpu.h"
#include "runtime/thread_pool.h"
