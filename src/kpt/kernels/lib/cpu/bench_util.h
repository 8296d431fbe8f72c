// SPDX-License-Identifier: Apache-2.0
// For the benchmarks of kernels: random contiguous inputs, one launch, GFLOP/s as a counter.
#pragma once
#include <benchmark/benchmark.h>

#include <random>
#include <vector>

#include "kpt/kernels/kernel.h"

namespace kpt::bench {

inline Tensor random(const TensorDesc& desc) {
  Tensor t = Tensor::empty(desc.dtype, desc.sizes);
  std::mt19937 engine(1);
  std::normal_distribution<float> normal;
  for (int64_t i = 0; i < desc.numel(); ++i) t.set(i, desc.dtype == DType::boolean ? 1 : normal(engine));
  return t;
}

// Runs the best kernel of the provider for the problem.
inline void run(benchmark::State& state, const Problem& problem, double flops, std::string_view provider = "kpt") {
  for (const auto& kernel : kernel_registry().find(problem.op, "cpu")) {
    if (kernel->provider != provider || !kernel->supports(problem)) continue;
    const auto launch = kernel->make(problem);
    std::vector<Tensor> tensors;
    std::vector<const void*> in;
    std::vector<void*> out;
    for (const TensorDesc& d : problem.inputs) in.push_back(tensors.emplace_back(random(d)).data);
    for (const TensorDesc& d : problem.outputs)
      out.push_back(tensors.emplace_back(Tensor::empty(d.dtype, d.sizes)).data);
    const Tensor workspace = Tensor::empty(DType::u8, {static_cast<int64_t>(launch->workspace_bytes()) + 1});
    for (auto _ : state) launch->run({in.data(), out.data(), workspace.data});
    state.SetLabel(launch->config());
    state.counters["GFLOP/s"] = benchmark::Counter(flops / 1e9, benchmark::Counter::kIsIterationInvariantRate);
    return;
  }
  state.SkipWithError("no kernel takes the problem");
}

}  // namespace kpt::bench
