// SPDX-License-Identifier: Apache-2.0
#include "kpt/base/threads.h"
#include "kpt/kernels/lib/cpu/bench_util.h"

namespace kpt {
namespace {

void bmm(benchmark::State& state) {
  const int64_t b = state.range(0), m = state.range(1), n = state.range(2), k = state.range(3);
  Problem p;
  p.op = "aten.bmm";
  p.inputs = {TensorDesc::contiguous(DType::f32, {b, m, k}), TensorDesc::contiguous(DType::f32, {b, k, n})};
  p.args = {In{0}, In{1}};
  p.outputs = {TensorDesc::contiguous(DType::f32, {b, m, n})};
  p.threads = usable_processors();
  bench::run(state, p, 2.0 * static_cast<double>(b * m * n * k));
}
BENCHMARK(bmm)
    ->Args({384, 128, 128, 32})
    ->Args({384, 128, 32, 128})
    ->Args({1, 1024, 1024, 1024})
    ->Args({1, 1, 2304, 768})
    ->UseRealTime();

}  // namespace
}  // namespace kpt
