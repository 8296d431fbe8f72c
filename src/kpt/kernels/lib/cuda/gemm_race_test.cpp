// SPDX-License-Identifier: Apache-2.0
#include "kpt/kernels/lib/cuda/gemm_race.h"

#include <gtest/gtest.h>

#include <random>

namespace kpt {
namespace {

// y[m][n] = act(x w^T + bias)
GemmCall linear(int64_t m, int64_t n, int64_t k, DType dtype, Act act) {
  GemmCall call;
  call.dtype = dtype;
  call.at = {0, 1, 2, -1};
  GemmProblem& p = call.product;
  p.m = m, p.n = n, p.k = k;
  p.x_m = k, p.x_k = 1, p.w_n = k, p.w_k = 1, p.y_m = n;
  p.has_bias = true;
  p.act = act;
  return call;
}

using Pieces = std::vector<int64_t>;

TEST(GemmRace, PiecesAreForTailsOfWhatTheCacheDoesNotHold) {
  EXPECT_EQ(tail_pieces(linear(16384, 4096, 1024, DType::bf16, Act::gelu)), (Pieces{2048, 4096}));
  EXPECT_EQ(tail_pieces(linear(4096, 4096, 1024, DType::bf16, Act::gelu)), (Pieces{2048}));
  EXPECT_EQ(tail_pieces(linear(6304, 4096, 1024, DType::bf16, Act::gelu)), (Pieces{2304, 3328}));
  EXPECT_EQ(tail_pieces(linear(2048, 4096, 1024, DType::bf16, Act::gelu)), Pieces{});        // 16 MB
  EXPECT_EQ(tail_pieces(linear(16384, 4096, 1024, DType::bf16, Act::gelu_tanh)), Pieces{});  // by cuBLASLt: no tail
  EXPECT_EQ(tail_pieces(linear(16384, 4096, 1024, DType::bf16, Act::none)), Pieces{});
  GemmCall residual = linear(16384, 4096, 1024, DType::bf16, Act::gelu);
  residual.product.has_residual = true;
  EXPECT_EQ(tail_pieces(residual), Pieces{});
}

TEST(GemmRace, PiecesGiveTheWholeProduct) {
  std::mt19937 random(1);
  std::normal_distribution<float> normal;
  for (const auto& [m, rows] : std::vector<std::pair<int64_t, int64_t>>{{12, 4}, {13, 4}, {3, 4}, {8, 8}, {9, 1}}) {
    const GemmCall call = linear(m, 5, 7, DType::f32, Act::gelu);
    std::vector<float> x(static_cast<size_t>(m * 7)), w(35), bias(5), whole(static_cast<size_t>(m * 5)), y = whole;
    for (auto* v : {&x, &w, &bias})
      for (float& f : *v) f = normal(random);
    const void* inputs[] = {x.data(), w.data(), bias.data()};
    void* to = whole.data();
    make_gemm_reference(call)->run({inputs, &to, nullptr, nullptr});
    to = y.data();
    gemm_in_pieces(call, rows, make_gemm_reference)->run({inputs, &to, nullptr, nullptr});
    EXPECT_EQ(y, whole) << m << " rows, " << rows << " at a time";
  }
}

}  // namespace
}  // namespace kpt
