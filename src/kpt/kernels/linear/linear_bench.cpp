// SPDX-License-Identifier: Apache-2.0
#include "kpt/base/threads.h"
#include "kpt/kernels/lib/cpu/bench_util.h"

namespace kpt {
namespace {

// The layers of MiniLM (384, 1,536): projection, merged q k v, first and second of the feed-forward.
void linear(benchmark::State& state, DType dtype, int64_t n, int64_t k, const char* act, bool residual) {
  const int64_t m = state.range(0);
  Problem p;
  p.op = "kpt.linear";
  p.inputs = {TensorDesc::contiguous(dtype, {m, k}), TensorDesc::contiguous(dtype, {n, k}),
              TensorDesc::contiguous(dtype, {n})};
  p.args = {In{0}, In{1}, In{2}};
  if (residual) {
    p.inputs.push_back(TensorDesc::contiguous(dtype, {m, n}));
    p.args.push_back(In{3});
  }
  p.kwargs = {{"act", act}};
  p.outputs = {TensorDesc::contiguous(dtype, {m, n})};
  p.threads = usable_processors();
  bench::run(state, p, 2.0 * static_cast<double>(m * n * k));
}

void rows(benchmark::internal::Benchmark* b) { b->Arg(1)->Arg(16)->Arg(128)->Arg(1024)->Arg(4096)->UseRealTime(); }
BENCHMARK_CAPTURE(linear, f32_384x384, DType::f32, 384, 384, "none", false)->Apply(rows);
BENCHMARK_CAPTURE(linear, f32_1152x384, DType::f32, 1152, 384, "none", false)->Apply(rows);
BENCHMARK_CAPTURE(linear, f32_1536x384, DType::f32, 1536, 384, "none", false)->Apply(rows);
BENCHMARK_CAPTURE(linear, f32_1536x384_gelu, DType::f32, 1536, 384, "gelu", false)->Apply(rows);
BENCHMARK_CAPTURE(linear, f32_384x1536_residual, DType::f32, 384, 1536, "none", true)->Apply(rows);
BENCHMARK_CAPTURE(linear, bf16_1152x384, DType::bf16, 1152, 384, "none", false)->Apply(rows);

}  // namespace
}  // namespace kpt
