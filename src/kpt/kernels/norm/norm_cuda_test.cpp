// SPDX-License-Identifier: Apache-2.0
#include "kpt/kernels/norm/norm_cuda.h"

#include <gtest/gtest.h>

namespace kpt {
namespace {

// "threads a row, packs x elements a thread, threads a block" for a layer norm over the last dimension.
std::string shape(const TensorDesc& x, DType weight) {
  const int64_t width = x.sizes.back();
  Problem p;
  p.op = "aten.layer_norm";
  p.inputs = {x, TensorDesc::contiguous(weight, {width})};
  p.outputs = {TensorDesc::contiguous(x.dtype, x.sizes)};
  p.args = {In{0}, In{1}, None{}};
  p.kwargs = {{"normalized_shape", AttrList{width}}, {"eps", 1e-5}};
  p.gpu.multiprocessors = 132;
  Norm n;
  const Verdict v = read_norm(p, n);
  const CudaRowShape s = norm_shape(p, n);
  return v.ok ? cat(s.threads, ", ", s.packs, " x ", s.vec, ", ", s.block) : v.reason;
}
std::string shape(DType dtype, const Dims& sizes) { return shape(TensorDesc::contiguous(dtype, sizes), dtype); }

TEST(NormCuda, ThreadsHold64BytesOfARow) {
  EXPECT_EQ(shape(DType::bf16, {4096, 768}), "32, 3 x 8, 128");
  EXPECT_EQ(shape(DType::bf16, {4096, 4096}), "128, 4 x 8, 128");
  EXPECT_EQ(shape(DType::f32, {4096, 768}), "64, 3 x 4, 64");
  EXPECT_EQ(shape(DType::f32, {4096, 16384}), "512, 8 x 4, 512");
  EXPECT_EQ(shape(TensorDesc::contiguous(DType::bf16, {4096, 4096}), DType::f32), "256, 2 x 8, 256");
}

TEST(NormCuda, ShortRowsShareAWarp) {
  EXPECT_EQ(shape(DType::bf16, {100000, 128}), "16, 1 x 8, 128");
  EXPECT_EQ(shape(DType::f32, {100000, 1}), "1, 1 x 1, 128");
}

TEST(NormCuda, FewRowsTakeSmallBlocks) {
  EXPECT_EQ(shape(DType::bf16, {128, 256}), "32, 1 x 8, 32");
  EXPECT_EQ(shape(DType::bf16, {200, 256}), "32, 1 x 8, 64");
}

TEST(NormCuda, FewRowsAreSpreadOverIdleThreads) {
  EXPECT_EQ(shape(DType::bf16, {128, 768}), "128, 1 x 8, 128");
  EXPECT_EQ(shape(DType::bf16, {16, 4096}), "512, 1 x 8, 512");
  EXPECT_EQ(shape(DType::bf16, {1024, 1024}), "64, 2 x 8, 64");  // 65,536 of 132 x 512 threads
  EXPECT_EQ(shape(DType::bf16, {2048, 1024}), "32, 4 x 8, 128");
}

TEST(NormCuda, PacksDivideWidthAndStrides) {
  EXPECT_EQ(shape(DType::bf16, {8, 1002}), "512, 1 x 2, 512");
  EXPECT_EQ(shape(DType::bf16, {8, 1001}), "512, 2 x 1, 512");
  EXPECT_EQ(shape({DType::bf16, {8, 64}, {68, 1}}, DType::bf16), "16, 1 x 4, 32");
}

TEST(NormCuda, WiderRowsAreReadTwice) { EXPECT_EQ(shape(DType::bf16, {8, 16385}), "512, 0 x 1, 512"); }

}  // namespace
}  // namespace kpt
