// SPDX-License-Identifier: Apache-2.0
// Times every CUDA kernel for linear layers and convolutions of real models:
//
//   kpt_gemm_speed [words...]     only cases whose line holds one of the words: "bert-large", "decode", "conv"
//
// One line a kernel: microseconds a run, TFLOP/s, GB/s (each operand once), preparation, what it chose. Runs stand in a
// CUDA graph one behind the other, with as many copies of the weights as outsize the L2 cache twice; the median of 7.
#include <chrono>
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
  double flops;
};

TensorDesc dense(DType d, const Dims& sizes) { return TensorDesc::contiguous(d, sizes); }

Case linear(const std::string& model, DType d, int64_t m, int64_t n, int64_t k, const char* act = "none",
            bool residual = false, bool bias = true) {
  Problem p;
  p.op = "kpt.linear";
  p.inputs = {dense(d, {m, k}), dense(d, {n, k})};
  p.args = {In{0}, In{1}, None{}, None{}};
  if (bias) {
    p.args[2] = In{static_cast<int>(p.inputs.size())};
    p.inputs.push_back(dense(d, {n}));
  }
  if (residual) {
    p.args[3] = In{static_cast<int>(p.inputs.size())};
    p.inputs.push_back(dense(d, {m, n}));
  }
  p.kwargs = {{"act", act}};
  p.outputs = {dense(d, {m, n})};
  return {cat(model, " ", d, " m", m, " n", n, " k", k, " ", act, residual ? " residual" : ""), p,
          2.0 * static_cast<double>(m * n * k)};
}

Case convolution(DType d, int64_t b, int64_t c, int64_t size, int64_t o, int64_t kernel, int64_t stride, bool relu) {
  const int64_t pad = kernel / 2, out = (size + 2 * pad - kernel) / stride + 1;
  Problem p;
  p.op = "kpt.convolution";
  p.inputs = {dense(d, {b, c, size, size}), dense(d, {o, c, kernel, kernel}), dense(d, {o})};
  p.args = {In{0}, In{1}, In{2}};
  p.kwargs = {{"stride", AttrList{stride, stride}}, {"padding", AttrList{pad, pad}},
              {"dilation", AttrList{1, 1}},         {"transposed", false},
              {"output_padding", AttrList{0, 0}},   {"groups", 1},
              {"act", relu ? "relu" : "none"}};
  p.outputs = {dense(d, {b, o, out, out})};
  return {cat("conv ", d, " b", b, " ", c, "x", size, " -> ", o, " k", kernel, " s", stride, relu ? " relu" : ""), p,
          2.0 * static_cast<double>(b * o * out * out * c * kernel * kernel)};
}

std::vector<Case> cases() {
  const DType h = DType::bf16;
  std::vector<Case> all;
  for (int64_t m : {4096, 16384}) {
    all.push_back(linear("bert-large", h, m, 3072, 1024));
    all.push_back(linear("bert-large", h, m, 1024, 1024, "none", true));
    all.push_back(linear("bert-large", h, m, 4096, 1024, "gelu"));
    all.push_back(linear("bert-large", h, m, 1024, 4096, "none", true));
  }
  all.push_back(linear("gpt2-medium", h, 8192, 3072, 1024));
  all.push_back(linear("gpt2-medium", h, 8192, 4096, 1024, "gelu_tanh"));
  all.push_back(linear("gpt2-medium", h, 8192, 1024, 4096, "none", true));
  for (int64_t m : {8192, 16, 8, 1}) {
    const std::string model = m > 16 ? "llama-8b prefill" : "llama-8b decode";
    all.push_back(linear(model, h, m, 6144, 4096, "none", false, false));
    all.push_back(linear(model, h, m, 4096, 4096, "none", true, false));
    all.push_back(linear(model, h, m, 28672, 4096, "none", false, false));
    all.push_back(linear(model, h, m, 4096, 14336, "none", true, false));
    if (m <= 16) all.push_back(linear(model, h, m, 128256, 4096, "none", false, false));
  }
  for (DType d : {h, DType::f32})
    for (int64_t hidden : {384, 768}) {
      all.push_back(linear("batch-1", d, 128, 3 * hidden, hidden));
      all.push_back(linear("batch-1", d, 128, hidden, hidden, "none", true));
      all.push_back(linear("batch-1", d, 128, 4 * hidden, hidden, "gelu"));
      all.push_back(linear("batch-1", d, 128, hidden, 4 * hidden, "none", true));
    }
  for (int64_t b : {1, 64}) {
    all.push_back(convolution(h, b, 3, 224, 64, 7, 2, true));
    all.push_back(convolution(h, b, 64, 56, 64, 1, 1, true));
    all.push_back(convolution(h, b, 64, 56, 64, 3, 1, true));
    all.push_back(convolution(h, b, 64, 56, 256, 1, 1, false));
    all.push_back(convolution(h, b, 256, 56, 128, 1, 1, true));
    all.push_back(convolution(h, b, 128, 56, 128, 3, 2, true));
    all.push_back(convolution(h, b, 256, 14, 256, 3, 1, true));
    all.push_back(convolution(h, b, 1024, 14, 256, 1, 1, true));
    all.push_back(convolution(h, b, 512, 7, 512, 3, 1, true));
    all.push_back(convolution(h, b, 512, 7, 2048, 1, 1, false));
  }
  return all;
}

constexpr float kDeviation = 0.05f;  // of activations and weights

double median_us(const Launch& launch, const Case& c, const Clock& clock) {
  const Problem& p = c.problem;
  const auto l2 = static_cast<size_t>(cuda_devices().front().l2_bytes);
  const size_t copies = std::clamp<size_t>(2 * l2 / p.inputs[1].bytes() + 1, 1, 40);
  std::vector<Memory> inputs, weights;
  for (const TensorDesc& d : p.inputs) inputs.emplace_back(d, clock.stream, kDeviation);
  for (size_t i = 0; i < copies; ++i) weights.emplace_back(p.inputs[1], clock.stream, kDeviation);
  const Memory output(p.outputs[0], clock.stream);
  const Memory workspace = speed::workspace(launch.workspace_bytes(), clock.stream);
  std::vector<const void*> in;
  for (const Memory& m : inputs) in.push_back(m.data());
  void* out = output.data();
  const auto run = [&](size_t turn, CUstream on) {
    in[1] = weights[turn % copies].data();
    launch.run({in.data(), &out, workspace.data(), on});
  };
  double bytes = 0;
  for (const TensorDesc& d : p.inputs) bytes += static_cast<double>(d.bytes());
  // By a guess of 400 TFLOP/s and 3 TB/s.
  return clock.median_us(speed::runs_of(std::max(c.flops / 400e12, bytes / 3e12)), run);
}

void measure(Case c, const Clock& clock) {
  const CudaDevice& device = cuda_devices().front();
  c.problem.gpu = {device.arch, device.multiprocessors, device.l2_bytes, device.shared_bytes};
  double bytes = static_cast<double>(c.problem.outputs[0].bytes());
  for (const TensorDesc& d : c.problem.inputs) bytes += static_cast<double>(d.bytes());
  for (const auto& kernel : kernel_registry().find(c.problem.op, "cuda")) {
    if (kernel->provider == "aten") continue;
    if (const Verdict v = kernel->supports(c.problem); !v) {
      std::printf("%-58s %-22s no: %s\n", c.label.c_str(), kernel->name.c_str(), v.reason.c_str());
      continue;
    }
    const auto start = std::chrono::steady_clock::now();
    const auto launch = kernel->make(c.problem);
    launch->prepare(Effort::timed);
    const std::chrono::duration<double, std::milli> prepared = std::chrono::steady_clock::now() - start;
    const double us = median_us(*launch, c, clock);
    std::printf("%-58s %-22s %9.2f us %7.1f TFLOP/s %6.0f GB/s  prepare %6.1f ms  %s\n", c.label.c_str(),
                kernel->name.c_str(), us, c.flops / us * 1e-6, bytes / us * 1e-3, prepared.count(),
                launch->config().c_str());
    std::fflush(stdout);
  }
}

void time_all(const std::vector<std::string>& words) {
  const Clock clock;
  std::printf("%s, %d multiprocessors, driver %d\n", cuda_devices().front().name.c_str(),
              cuda_devices().front().multiprocessors, cuda_devices().front().driver_version);
  for (const Case& c : cases())
    if (speed::wanted(c.label, words)) measure(c, clock);
}

}  // namespace
}  // namespace kpt

int main(int argc, char** argv) {
  return kpt::speed::main_of("kpt_gemm_speed", [&] { kpt::time_all({argv + 1, argv + argc}); });
}
