// SPDX-License-Identifier: Apache-2.0
// Times every CUDA kernel for attention at the shapes of real models:
//
//   kpt_attention_speed [words...]     only cases whose line holds one of the words: "bert", "decode", "causal"
//
// One line a kernel: microseconds a run, TFLOP/s (products of what is not hidden), GB/s (each operand once), what it
// chose. Runs stand in a CUDA graph one behind the other and take turns in copies of the inputs that outsize the L2
// cache twice; the median of 7. q, k and v have the strides that a merged projection leaves.
#include <cstdio>

#include "benchmarks/cuda/speed.h"
#include "kpt/kernels/kernel.h"

namespace kpt {
namespace {

using speed::Clock;
using speed::Memory;

struct Case {
  std::string label;
  Problem problem;
  double flops = 0;
};

struct Shape {
  const char* model;
  int64_t b, h, kv, s, t, d;
  bool causal = false, key_mask = false;
};

// [b, heads, length, d] at offset 0 of rows of `row` elements.
TensorDesc view(DType d, int64_t b, int64_t heads, int64_t length, int64_t size, int64_t row) {
  return {d, {b, heads, length, size}, {length * row, size, row, 1}};
}

Case attention(const Shape& a, DType d) {
  Problem p;
  p.op = "kpt.attention";
  const int64_t row = a.s == a.t ? (a.h + 2 * a.kv) * a.d : 0;  // merged; a cache stands alone
  p.inputs = {view(d, a.b, a.h, a.s, a.d, row ? row : a.h * a.d)};
  for (int i = 0; i < 2; ++i)
    p.inputs.push_back(row ? view(d, a.b, a.kv, a.t, a.d, row) : TensorDesc::contiguous(d, {a.b, a.kv, a.t, a.d}));
  p.args = {In{0}, In{1}, In{2}, None{}};
  if (a.key_mask) {
    p.inputs.push_back(TensorDesc::contiguous(DType::boolean, {a.b, a.t}));
    p.args[3] = In{3};
  }
  p.kwargs = {{"causal", a.causal}, {"mask_kind", a.key_mask ? "key" : "none"}, {"layout", "bshd"}};
  p.outputs = {TensorDesc::contiguous(d, {a.b, a.s, a.h, a.d})};
  const CudaDevice& gpu = cuda_devices().front();
  p.gpu = {gpu.arch, gpu.multiprocessors, gpu.l2_bytes, gpu.shared_bytes};
  const double all = 4.0 * static_cast<double>(a.b * a.h * a.s * a.t * a.d);
  return {cat(a.model, " ", d, " b", a.b, " h", a.h, "/", a.kv, " s", a.s, " t", a.t, " d", a.d,
              a.causal ? " causal" : "", a.key_mask ? " key_mask" : ""),
          p, a.causal ? all / 2 : all};
}

std::vector<Case> cases() {
  std::vector<Case> all;
  for (const Shape& a :
       {Shape{"bert-large", 32, 16, 16, 128, 128, 64}, Shape{"bert-large", 32, 16, 16, 128, 128, 64, false, true},
        Shape{"bert-large", 32, 16, 16, 512, 512, 64}, Shape{"bert-large", 32, 16, 16, 512, 512, 64, false, true},
        Shape{"bert-base", 1, 12, 12, 128, 128, 64}, Shape{"gpt2-medium", 8, 16, 16, 1024, 1024, 64, true},
        Shape{"gpt2-medium decode", 8, 16, 16, 1, 1024, 64}, Shape{"llama-8b", 4, 32, 8, 2048, 2048, 128, true},
        Shape{"llama-8b decode", 16, 32, 8, 1, 2048, 128}, Shape{"llama-8b decode", 1, 32, 8, 1, 2048, 128},
        Shape{"vit-large", 32, 16, 16, 197, 197, 64}, Shape{"vit-large", 1, 16, 16, 197, 197, 64}})
    all.push_back(attention(a, DType::bf16));
  for (const Shape& a :
       {Shape{"minilm", 1, 12, 12, 128, 128, 32}, Shape{"minilm", 32, 12, 12, 128, 128, 32},
        Shape{"minilm", 32, 12, 12, 128, 128, 32, false, true}, Shape{"bert-base", 8, 12, 12, 512, 512, 64}})
    all.push_back(attention(a, DType::f32));
  return all;
}

double useful_bytes(const Problem& p) {
  double bytes = static_cast<double>(p.outputs[0].bytes());
  for (const TensorDesc& d : p.inputs) bytes += static_cast<double>(d.bytes());
  return bytes;
}

double median_us(const Launch& launch, const Case& c, const Clock& clock) {
  const Problem& p = c.problem;
  const auto l2 = static_cast<double>(cuda_devices().front().l2_bytes);
  const auto copies = static_cast<size_t>(std::clamp(2 * l2 / useful_bytes(p) + 1, 1.0, 40.0));
  std::vector<std::vector<Memory>> inputs(copies);
  for (auto& set : inputs)
    for (const TensorDesc& d : p.inputs) set.emplace_back(d, clock.stream);
  const Memory output(p.outputs[0], clock.stream);
  const Memory workspace = speed::workspace(launch.workspace_bytes(), clock.stream);
  void* out = output.data();
  const auto run = [&](size_t turn, CUstream on) {
    std::vector<const void*> in;
    for (const Memory& m : inputs[turn % copies]) in.push_back(m.data());
    launch.run({in.data(), &out, workspace.data(), on});
  };
  // By a guess of 200 TFLOP/s and 3 TB/s.
  return clock.median_us(speed::runs_of(std::max(c.flops / 200e12, useful_bytes(p) / 3e12)), run);
}

void time_all(const std::vector<std::string>& words) {
  const Clock clock;
  for (const Case& c : cases()) {
    if (!speed::wanted(c.label, words)) continue;
    for (const auto& kernel : kernel_registry().find(c.problem.op, "cuda")) {
      if (const Verdict v = kernel->supports(c.problem); !v) {
        std::printf("%-58s %-16s no: %s\n", c.label.c_str(), kernel->name.c_str(), v.reason.c_str());
        continue;
      }
      const auto launch = kernel->make(c.problem);
      launch->prepare(Effort::timed);
      const double us = median_us(*launch, c, clock);
      std::printf("%-58s %-16s %9.2f us %7.1f TFLOP/s %7.0f GB/s  %s\n", c.label.c_str(), kernel->name.c_str(), us,
                  c.flops / us * 1e-6, useful_bytes(c.problem) / us * 1e-3, launch->config().c_str());
      std::fflush(stdout);
    }
  }
}

}  // namespace
}  // namespace kpt

int main(int argc, char** argv) {
  return kpt::speed::main_of("kpt_attention_speed", [&] { kpt::time_all({argv + 1, argv + argc}); });
}
