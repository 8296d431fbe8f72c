// SPDX-License-Identifier: Apache-2.0
// The ways of a large product that are not cuBLASLt's alone: rows of y off 16 bytes, and tails.
#include <gtest/gtest.h>

#include "kpt/cuda/cublaslt.h"
#include "kpt/kernels/conformance.h"
#include "kpt/kernels/lib/cuda/gemm_emulate.h"
#include "kpt/kernels/lib/cuda/gemm_padded.h"
#include "kpt/kernels/linear/linear.h"

namespace kpt {
namespace {

conformance::Case linear(DType d, int64_t m, int64_t n, int64_t k, bool bias, const std::string& act, bool residual) {
  using conformance::dense;
  std::vector<TensorDesc> inputs = {dense(d, {m, k}), dense(d, {n, k})};
  AttrList args = {In{0}, In{1}, None{}, None{}};
  if (bias) args[2] = In{static_cast<int>(inputs.size())}, inputs.push_back(dense(d, {n}));
  if (residual) args[3] = In{static_cast<int>(inputs.size())}, inputs.push_back(dense(d, {m, n}));
  conformance::Case c = conformance::make_case(cat(m, " ", n, " ", k, bias, act, residual, d), "kpt.linear", inputs,
                                               args, {{"act", act}}, {dense(d, {m, n})}, k);
  c.ranges = {{-1, 1}, {-1, 1}, {-1, 1}, {-1, 1}};
  c.scale = 1;
  return c;
}

GemmCall call_of(const conformance::Case& c) {
  GemmCall call;
  const Verdict v = linear_call(c.problem, call);
  EXPECT_TRUE(v.ok) << v.reason;
  return call;
}

PaddedGemm padded_of(const conformance::Case& c) {
  GemmCall call;
  EXPECT_TRUE(linear_call(c.problem, call));
  PaddedGemm p;
  EXPECT_TRUE(pad_gemm(call, p)) << c.label;
  return p;
}

// The products as cuBLASLt's documentation says, then what gemm_unpad.cu says of itself.
void emulate(const PaddedGemm& p, const float* x, const float* w, const float* bias, float* y) {
  const auto product = [&](const CudaGemm& gemm, const float* from, const float* of, float* to) {
    GemmCut cut;
    cut.gemm = gemm;
    cut.items = {{}};
    cut.m = gemm.columns, cut.n = gemm.rows;
    test::EmulatedGemm(cut).run(from, of, bias, nullptr, to);
  };
  const int64_t n = p.whole.n, edge_columns = p.edge_columns();
  std::vector<float> workspace(static_cast<size_t>(p.bytes()) / sizeof(float));
  float* const edge = workspace.data() + p.edge_offset() / 4;
  if (p.has_edge()) product(p.edge(), x, w + (n - edge_columns) * p.whole.gemm.lda, edge);
  for (int64_t first = 0; first < p.whole.m; first += p.chunk) {
    const int64_t rows = std::min(p.chunk, p.whole.m - first);
    product(p.of(rows), x + first * p.x_m, w, workspace.data());
    for (int64_t i = 0; i < rows * n; ++i) {
      const int64_t row = i / n, column = i % n;
      const bool main = column < p.main;
      double sum =
          main ? workspace[row * p.ld + column] : edge[(first + row) * edge_columns + column + edge_columns - n];
      if (bias && (!main || p.whole.tail_bias)) sum += bias[column];
      y[first * n + i] = static_cast<float>(activate(main ? p.whole.tail_act : p.act, sum));
    }
  }
}

TEST(PaddedGemm, ComputesWhatTheReferenceDoes) {
  for (const auto& c :
       {linear(DType::f32, 301, 1003, 12, true, "relu", false), linear(DType::f32, 301, 1001, 12, false, "gelu", false),
        linear(DType::f32, 301, 1001, 11, true, "none", false)}) {  // no edge: rows of 44 bytes
    PaddedGemm p = padded_of(c);
    EXPECT_EQ(p.has_edge(), c.problem.inputs[0].sizes.back() == 12) << c.label;
    p.chunk = 104;
    const std::vector<Tensor> inputs = conformance::make_inputs(c);
    std::vector<Tensor> want;
    ASSERT_EQ(conformance::run_reference(c.problem, inputs, want), "");
    const Tensor got = Tensor::zeros(DType::f32, c.problem.outputs[0].sizes);
    const auto at = [&](int i) {
      return i < 0 ? nullptr : static_cast<const float*>(inputs[static_cast<size_t>(i)].data);
    };
    emulate(p, at(p.whole.at.x), at(p.whole.at.w), at(p.whole.at.bias), static_cast<float*>(got.data));
    EXPECT_EQ(conformance::compare(got, want[0], conformance::tolerance(DType::f32, c.reduction), c.scale), "")
        << c.label;
  }
}

TEST(PaddedGemm, OnAGpuItAgreesWithTheReference) {
  if (const Verdict v = cublaslt_here(); !v) GTEST_SKIP() << "not checked: " << v.reason;
  const CudaGuard guard(0);
  for (const DType d : {DType::f32, DType::bf16, DType::f16})
    for (const auto& c :
         {linear(d, 301, 1003, 24, true, "relu", false), linear(d, 301, 1001, 24, false, "none", false),
          linear(d, 301, 1005, 24, true, "gelu", false), linear(d, 301, 1007, 23, true, "silu", false)}) {
      Kernel kernel{"kpt.linear",
                    "vendor",
                    "cuda",
                    "padded",
                    0,
                    [](const Problem&) { return yes(); },
                    [&](const Problem& problem) {
                      PaddedGemm p = padded_of(c);
                      p.chunk = 104;
                      return make_padded_gemm(std::move(p), make_unaligned_gemm(call_of(c), problem.gpu));
                    }};
      EXPECT_EQ(conformance::check(kernel, c), "") << c.label;
    }
}

// What gemm_tail.cu does in vectors: few rows and so many that a thread has two, and what cuBLASLt leaves of each.
TEST(GemmTail, OnAGpuItAgreesWithTheReference) {
  if (const Verdict v = cublaslt_here(); !v) GTEST_SKIP() << "not checked: " << v.reason;
  const CudaGuard guard(0);
  for (const DType d : {DType::f32, DType::bf16, DType::f16})
    for (const int64_t m : {300, 16901})
      for (const auto& c : {linear(d, m, 96, 8, true, "gelu", false), linear(d, m, 96, 8, false, "gelu", false),
                            linear(d, m, 96, 8, true, "silu", true), linear(d, m, 96, 8, false, "relu", true)}) {
        Kernel kernel{"kpt.linear",
                      "vendor",
                      "cuda",
                      "tail",
                      0,
                      [](const Problem&) { return yes(); },
                      [&](const Problem& p) { return make_cuda_gemm(call_of(c), p.gpu); }};
        EXPECT_EQ(conformance::check(kernel, c), "") << c.label;
      }
}

}  // namespace
}  // namespace kpt
