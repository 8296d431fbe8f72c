// SPDX-License-Identifier: Apache-2.0
#include "kpt/kernels/lib/cuda/gemm_padded.h"

#include <gtest/gtest.h>

#include "kpt/cuda/nvrtc.h"

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

TEST(PaddedGemm, CompilesWithoutSpills) {
  if (!nvrtc_here()) GTEST_SKIP() << "not checked: " << nvrtc_here().reason;
  for (const DType d : {DType::f32, DType::bf16, DType::f16}) {
    GemmCall call = logits(d, 1000, 5001, 64);
    call.product.has_bias = true;
    call.at.bias = 2;
    call.product.act = Act::gelu;
    PaddedGemm p;
    ASSERT_TRUE(pad_gemm(call, p));
    for (int arch : {80, 90, 100}) EXPECT_EQ(check_cuda_work(plan_unpad(p, 0, 8), arch), "");
  }
}

}  // namespace
}  // namespace kpt
