// SPDX-License-Identifier: Apache-2.0
#include "kpt/kernels/lib/cuda/rows.h"

#include <gtest/gtest.h>

#include <random>

#include "kpt/kernels/lib/launch.h"

namespace kpt {
namespace {

TEST(CudaRows, TheDividerDivides) {
  std::mt19937_64 random(7);
  std::vector<int64_t> divisors = {1, 2, 3, 5, 7, 77, 641, 1000, 4096, 65535, 65536, 65537, kCudaMostUnits};
  for (int i = 0; i < 200; ++i) divisors.push_back(1 + static_cast<int64_t>(random() % kCudaMostUnits));
  for (int64_t d : divisors) {
    const CudaDivider divider = cuda_divider(d);
    std::vector<int64_t> numbers = {0, 1, d - 1, d, kCudaMostUnits, kCudaMostUnits / d * d, kCudaMostUnits / d * d - 1};
    for (int i = 0; i < 50; ++i) numbers.push_back(static_cast<int64_t>(random() % kCudaMostUnits));
    for (int64_t n : numbers) {
      if (n < 0) continue;
      ASSERT_EQ(divider.quotient(static_cast<uint32_t>(n)), n / d) << n << " / " << d;
    }
  }
}

TEST(CudaRows, MergesWhatIsOneStride) {
  const CudaRows dense = cuda_rows(TensorDesc::contiguous(DType::f32, {2, 1, 3, 8}), 3);
  EXPECT_EQ(dense.rank, 1);
  EXPECT_EQ(dense.strides[0], 8);
  const CudaRows turned = cuda_rows({DType::f32, {2, 4, 3, 8}, {96, 8, 32, 1}}, 3);  // [B, H, S, D] of [B, S, H, D]
  EXPECT_EQ(turned.rank, 3);
  EXPECT_EQ(turned.sizes[1].divisor, 4u);
  EXPECT_EQ(turned.strides[1], 8);
  EXPECT_EQ(cuda_rows(TensorDesc::contiguous(DType::f32, {1, 8}), 1).rank, 0);
}

TEST(CudaRows, WordsDivideEveryDistance) {
  EXPECT_EQ(common_word({64, 48}), 16);
  EXPECT_EQ(common_word({64, 8, 0}), 8);
  EXPECT_EQ(common_word({6}), 2);
  EXPECT_EQ(row_word({DType::bf16, {4, 6}, {7, 1}}, 1), 2);
  EXPECT_EQ(row_word({DType::bf16, {1, 6}, {7, 1}}, 1), 16);
  EXPECT_EQ(power_of_two(1), 1);
  EXPECT_EQ(power_of_two(33), 64);
}

}  // namespace
}  // namespace kpt
