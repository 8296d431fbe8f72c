// SPDX-License-Identifier: Apache-2.0
// For tests without a GPU: what a cut computes, by the words of cuBLASLt's documentation.
#pragma once
#include <gtest/gtest.h>

#include "kpt/kernels/conformance.h"
#include "kpt/kernels/lib/cpu/act_reference.h"
#include "kpt/kernels/lib/cuda/gemm_cuda.h"

namespace kpt::test {

// What cuBLASLt and the tail kernel compute from a cut, in f32 memory and double arithmetic: column-major with leading
// dimensions, as their documentation says.
class EmulatedGemm {
 public:
  explicit EmulatedGemm(const GemmCut& cut) : cut_(cut) {}
  void run(const float* x, const float* w, const float* bias, const float* residual, float* y) const {
    for (const GemmItem& item : cut_.items)
      for (int64_t b = 0; b < cut_.batch; ++b)
        product(x + item.x, w + item.w, bias, residual + item.residual, y + item.y, b);
    for (const GemmItem& item : cut_.items)
      for (int64_t i = 0; i < cut_.batch * cut_.m * cut_.n; ++i) tail(bias, residual + item.residual, y + item.y, i);
  }

 private:
  void product(const float* x, const float* w, const float* bias, const float* c, float* y, int64_t b) const {
    const CudaGemm& g = cut_.gemm;
    for (int64_t col = 0; col < g.columns; ++col)
      for (int64_t row = 0; row < g.rows; ++row) {
        double sum = 0;
        for (int64_t k = 0; k < g.depth; ++k) {
          const float a = w[b * g.a_step + (g.a_transposed ? k + row * g.lda : row + k * g.lda)];
          sum += a * static_cast<double>(x[b * g.b_step + (g.b_transposed ? col + k * g.ldb : k + col * g.ldb)]);
        }
        sum *= g.alpha;
        if (g.has_c) sum += g.beta * c[b * g.c_step + col * g.ldc + row];
        if (g.has_bias) sum += bias[row];
        if (g.tail == GemmTail::relu) sum = activate(Act::relu, sum);
        if (g.tail == GemmTail::gelu_tanh) sum = activate(Act::gelu_tanh, sum);
        y[b * g.d_step + col * g.ldd + row] = static_cast<float>(sum);
      }
  }
  void tail(const float* bias, const float* residual, float* y, int64_t i) const {
    const int64_t n = i % cut_.n, m = i / cut_.n % cut_.m, b = i / cut_.n / cut_.m;
    float& at = y[b * cut_.y_step + m * cut_.n + n];
    double value = at;
    if (cut_.tail_bias) value += bias[n];
    value = activate(cut_.tail_act, value);
    if (cut_.tail_residual)
      value += cut_.beta * residual[b * cut_.residual_step + m * cut_.residual_m + n * cut_.residual_n];
    at = static_cast<float>(value);
  }
  const GemmCut& cut_;
};

// Cuts and computes a case (f32) both ways and holds it against the reference; how many ways were possible.
inline int check_cuts(const conformance::Case& c, const GemmCall& call) {
  int checked = 0;
  for (const GemmFusion fusion : {GemmFusion::most, GemmFusion::none}) {
    GemmCut cut;
    if (!cut_gemm(call, fusion, cut)) continue;
    const std::vector<Tensor> inputs = conformance::make_inputs(c);
    std::vector<Tensor> want;
    EXPECT_EQ(conformance::run_reference(c.problem, inputs, want), "");
    const Tensor got = Tensor::zeros(DType::f32, c.problem.outputs[0].sizes);
    const auto at = [&](int i) {
      return i < 0 ? nullptr : static_cast<const float*>(inputs[static_cast<size_t>(i)].data);
    };
    EmulatedGemm(cut).run(at(cut.at.x), at(cut.at.w), at(cut.at.bias), at(cut.at.residual),
                          static_cast<float*>(got.data));
    const double allowed = conformance::tolerance(DType::f32, c.reduction);
    EXPECT_EQ(conformance::compare(got, want[0], allowed, c.scale), "") << c.label << " " << cut.gemm.key();
    ++checked;
  }
  return checked;
}

}  // namespace kpt::test
