// SPDX-License-Identifier: Apache-2.0
#include "kpt/base/threads.h"
#include "kpt/kernels/lib/cpu/bench_util.h"

namespace kpt {
namespace {

// Arguments: batch, heads, queries, keys, size of a head.
void attention(benchmark::State& state, bool key_mask, bool causal) {
  const int64_t b = state.range(0), h = state.range(1), s = state.range(2), t = state.range(3), d = state.range(4);
  Problem p;
  p.op = "kpt.attention";
  const TensorDesc keys = TensorDesc::contiguous(DType::f32, {b, h, t, d});
  p.inputs = {TensorDesc::contiguous(DType::f32, {b, h, s, d}), keys, keys};
  p.args = {In{0}, In{1}, In{2}};
  if (key_mask) {
    p.inputs.push_back(TensorDesc::contiguous(DType::boolean, {b, t}));
    p.args.push_back(In{3});
  }
  p.kwargs = {{"causal", causal}, {"mask_kind", key_mask ? "key" : "none"}, {"layout", "bshd"}};
  p.outputs = {TensorDesc::contiguous(DType::f32, {b, s, h, d})};
  p.threads = usable_processors();
  bench::run(state, p, 4.0 * static_cast<double>(b * h * s * t * d) / (causal ? 2 : 1));
}

void sizes(benchmark::internal::Benchmark* b) {
  b->Args({32, 12, 128, 128, 32})->Args({1, 12, 16, 16, 32})->Args({4, 12, 512, 512, 64})->UseRealTime();
}
BENCHMARK_CAPTURE(attention, plain, false, false)->Apply(sizes);
BENCHMARK_CAPTURE(attention, key_mask, true, false)->Apply(sizes);
BENCHMARK_CAPTURE(attention, causal, false, true)->Apply(sizes);
BENCHMARK_CAPTURE(attention, decode, false, false)
    ->Args({1, 12, 1, 1024, 64})
    ->Args({16, 32, 1, 2048, 64})
    ->UseRealTime();

}  // namespace
}  // namespace kpt
