// SPDX-License-Identifier: Apache-2.0
#include "kpt/base/threads.h"
#include "kpt/kernels/lib/cpu/bench_util.h"

namespace kpt {
namespace {

// Arguments: batch, channels in, height and width, channels out, kernel, stride, groups. Padding kernel / 2.
void convolution(benchmark::State& state) {
  const int64_t b = state.range(0), c = state.range(1), size = state.range(2), o = state.range(3);
  const int64_t kernel = state.range(4), stride = state.range(5), groups = state.range(6), pad = kernel / 2;
  const int64_t out = (size + 2 * pad - kernel) / stride + 1;
  Problem p;
  p.op = "aten.convolution";
  p.inputs = {TensorDesc::contiguous(DType::f32, {b, c, size, size}),
              TensorDesc::contiguous(DType::f32, {o, c / groups, kernel, kernel}),
              TensorDesc::contiguous(DType::f32, {o})};
  p.args = {In{0}, In{1}, In{2}};
  p.kwargs = {{"stride", AttrList{stride, stride}}, {"padding", AttrList{pad, pad}}, {"groups", groups}};
  p.outputs = {TensorDesc::contiguous(DType::f32, {b, o, out, out})};
  p.threads = usable_processors();
  bench::run(state, p, 2.0 * static_cast<double>(b * o * out * out * (c / groups) * kernel * kernel));
}

// The layers of ResNet-50, and two depthwise ones of MobileNetV2.
BENCHMARK(convolution)
    ->Args({1, 3, 224, 64, 7, 2, 1})
    ->Args({1, 64, 56, 64, 3, 1, 1})
    ->Args({1, 64, 56, 256, 1, 1, 1})
    ->Args({1, 128, 28, 128, 3, 1, 1})
    ->Args({1, 512, 28, 128, 1, 1, 1})
    ->Args({1, 256, 14, 256, 3, 1, 1})
    ->Args({1, 1024, 14, 2048, 1, 2, 1})
    ->Args({1, 512, 7, 512, 3, 1, 1})
    ->Args({1, 96, 112, 96, 3, 2, 96})
    ->Args({1, 144, 56, 144, 3, 1, 144})
    ->UseRealTime();

}  // namespace
}  // namespace kpt
