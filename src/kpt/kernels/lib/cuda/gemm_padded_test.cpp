// SPDX-License-Identifier: Apache-2.0
#include "kpt/kernels/lib/cuda/gemm_padded.h"

#include <gtest/gtest.h>

#include "kpt/cuda/cublaslt.h"
#include "kpt/cuda/nvrtc.h"
#include "kpt/kernels/lib/cuda/gemm_emulate.h"
#include "kpt/kernels/linear/linear.h"

namespace kpt {
namespace {

GemmCall logits(DType dtype, int64_t m, int64_t n, int64_t k) {
  GemmCall call;
  call.dtype = dtype;
  call.product.elem = dtype == DType::f32 ? Elem::f32 : Elem::bf16;
  call.product.m = m, call.product.n = n, call.product.k = k;
  call.product.x_m = k, call.product.w_n = k, call.product.y_m = n;
  return call;
}

conformance::Case linear(DType d, int64_t m, int64_t n, int64_t k, bool bias, const std::string& act) {
  using conformance::dense;
  std::vector<TensorDesc> inputs = {dense(d, {m, k}), dense(d, {n, k})};
  AttrList args = {In{0}, In{1}, None{}, None{}};
  if (bias) {
    args[2] = In{2};
    inputs.push_back(dense(d, {n}));
  }
  conformance::Case c = conformance::make_case(cat("padded ", m, " ", n, " ", k, bias, act, d), "kpt.linear", inputs,
                                               args, {{"act", act}}, {dense(d, {m, n})}, k);
  c.ranges = {{-1, 1}, {-1, 1}, {-1, 1}};
  c.scale = 1;
  return c;
}

PaddedGemm padded_of(const conformance::Case& c) {
  GemmCall call;
  EXPECT_TRUE(linear_call(c.problem, call));
  PaddedGemm p;
  EXPECT_TRUE(pad_gemm(call, p)) << c.label;
  return p;
}

TEST(PaddedGemm, ChunksOfAVocabularyCoverAllRows) {
  PaddedGemm p;
  ASSERT_TRUE(pad_gemm(logits(DType::bf16, 8192, 50257, 1024), p));
  EXPECT_EQ(p.ld, 50304);  // 128 bytes
  EXPECT_EQ(p.chunk, 256);
  EXPECT_EQ(p.x_m, 1024);
  EXPECT_EQ(p.edge_offset(), 2 * 256 * 50304);
  EXPECT_EQ(p.bytes(), 2 * 256 * 50304 + 16 * 8192);
  EXPECT_EQ(p.of(256).columns, 256);
  EXPECT_EQ(p.of(256).ldd, 50304);
  EXPECT_EQ(p.of(256).rows, 50256);
  const CudaCall last = plan_unpad(p, 7936, 256).calls[0];
  EXPECT_EQ(last.params[1].offset, 2 * 256 * 50304 + 16 * 7936);
  EXPECT_EQ(last.params[4].offset, 2 * 7936 * 50257);
  EXPECT_EQ(last.params[4].offset % 16, 0);
  EXPECT_EQ(last.shape.grid[0], (256 * 50257 / 8 + 255) / 256);
}

TEST(PaddedGemm, TheEdgeIsTheLast16BytesOfEveryRow) {
  PaddedGemm p;
  GemmCall call = logits(DType::bf16, 128, 50257, 1024);
  call.product.has_bias = true;
  call.at.bias = 2;
  call.product.act = Act::relu;
  ASSERT_TRUE(pad_gemm(call, p));
  ASSERT_TRUE(p.has_edge());
  EXPECT_EQ(p.edge().rows, 8);
  EXPECT_EQ(p.edge().columns, 128);
  EXPECT_EQ(p.edge().ldd, 8);
  EXPECT_TRUE(p.of(128).has_bias && p.of(128).tail == GemmTail::relu);
  EXPECT_TRUE(!p.edge().has_bias && p.edge().tail == GemmTail::none);
  call.product.w_n = 1025;  // its rows of w would not start on 16 bytes
  ASSERT_TRUE(pad_gemm(call, p));
  EXPECT_FALSE(p.has_edge());
  EXPECT_EQ(p.of(128).rows, 50257);
  ASSERT_TRUE(pad_gemm(logits(DType::f32, 1024, 50257, 64), p));
  EXPECT_EQ(p.edge().rows, 4);
}

TEST(PaddedGemm, LeavesOutWhatNeedsNoPadding) {
  PaddedGemm p;
  EXPECT_FALSE(pad_gemm(logits(DType::bf16, 8192, 50264, 1024), p));  // 16-byte rows
  EXPECT_FALSE(pad_gemm(logits(DType::bf16, 1, 500001, 64), p));      // one row
  EXPECT_FALSE(pad_gemm(logits(DType::bf16, 64, 101, 64), p));        // small
  EXPECT_TRUE(pad_gemm(logits(DType::f32, 1024, 50257, 64), p));
  GemmCall residual = logits(DType::bf16, 8192, 50257, 1024);
  residual.product.has_residual = true;
  residual.product.residual_m = 50257;
  EXPECT_FALSE(pad_gemm(residual, p));
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
       {linear(DType::f32, 301, 1003, 12, true, "relu"), linear(DType::f32, 301, 1001, 12, false, "gelu"),
        linear(DType::f32, 301, 1001, 11, true, "none")}) {  // no edge: rows of 44 bytes
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
    for (const auto& c : {linear(d, 301, 1003, 24, true, "relu"), linear(d, 301, 1001, 24, false, "none"),
                          linear(d, 301, 1005, 24, true, "gelu"), linear(d, 301, 1007, 23, true, "silu")}) {
      Kernel kernel{"kpt.linear",
                    "vendor",
                    "cuda",
                    "padded",
                    0,
                    [](const Problem&) { return yes(); },
                    [&](const Problem& problem) {
                      PaddedGemm p = padded_of(c);
                      p.chunk = 104;
                      return make_padded_gemm(std::move(p), problem.gpu);
                    }};
      EXPECT_EQ(conformance::check(kernel, c), "") << c.label;
    }
}

TEST(PaddedGemm, CompilesWithoutSpills) {
  if (!nvrtc_here()) GTEST_SKIP() << "not checked: " << nvrtc_here().reason;
  for (const DType d : {DType::f32, DType::bf16, DType::f16})
    for (int arch : {80, 90, 100})
      EXPECT_EQ(check_cuda_work(plan_unpad(padded_of(linear(d, 301, 1003, 24, true, "gelu")), 0, 8), arch), "");
}

}  // namespace
}  // namespace kpt
