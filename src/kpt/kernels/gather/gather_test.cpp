// SPDX-License-Identifier: Apache-2.0
#include "kpt/kernels/gather/gather.h"

#include <gtest/gtest.h>

#include <cmath>

#include "kpt/kernels/conformance.h"
#include "kpt/kernels/lib/cuda/work.h"

namespace kpt {
namespace {

using conformance::Case;
using conformance::dense;
using conformance::make_case;

Case gather(DType d, const TensorDesc& x, const TensorDesc& index, int dim) {
  Case c = make_case(cat(x, index, dim, d), "aten.gather", {x, index}, {In{0}, In{1}},
                     {{"dim", dim}, {"sparse_grad", false}}, {dense(d, index.sizes)});
  c.ranges = {{-3, 3}, {0, static_cast<double>(x.sizes[dim < 0 ? dim + x.sizes.rank() : dim] - 1)}};
  return c;
}

const bool kCases = conformance::add("aten.gather", [](DType d) {
  return std::vector<Case>{
      gather(d, dense(d, {5, 6, 7}), dense(DType::i64, {5, 6, 7}), 1),
      gather(d, dense(d, {5, 6}), dense(DType::i64, {3, 20}), -1),
      gather(d, conformance::transposed(d, {5, 6}), conformance::expanded(DType::i64, {9, 6}, 1), 0),
      gather(d, dense(d, {5, 6}), dense(DType::i64, {5, 0}), 1),
      gather(d, conformance::padded(d, {40, 3, 2, 5}, 3), dense(DType::i64, {400, 2, 1, 3}), 0),
      gather(d, dense(d, {1, 700}), conformance::expanded(DType::i64, {1, 300000}, 0), -1)};
});

TEST(Gather, AnIndexOutOfRangeIsAnError) {
  const Case c = gather(DType::f32, dense(DType::f32, {2, 3}), dense(DType::i64, {1, 1}), 1);
  for (int64_t bad : {int64_t{3}, int64_t{-1}, INT64_MAX}) {
    for (const auto& k : kernel_registry().find("aten.gather", "cpu")) {
      std::vector<Tensor> y;
      EXPECT_THROW(
          conformance::run_kernel(
              *k, c.problem, {Tensor::zeros(DType::f32, {2, 3}), Tensor::from<int64_t>(DType::i64, {1, 1}, {bad})}, y),
          Error);
    }
  }
}

// The numbers are on the GPU when the launch is made: out of range, an element is all ones.
TEST(Gather, OnAGpuAnIndexOutOfRangeGivesNan) {
  if (!cuda_here()) GTEST_SKIP() << "not checked: " << cuda_here().reason;
  const CudaGuard guard(0);
  const Case c = gather(DType::f32, dense(DType::f32, {1, 2}), dense(DType::i64, {1, 4}), 1);
  const Tensor x = Tensor::from<float>(DType::f32, {1, 2}, {3, 4});
  const Tensor index = Tensor::from<int64_t>(DType::i64, {1, 4}, {1, 2, -1, INT64_MIN});
  std::vector<Tensor> y;
  ASSERT_EQ(conformance::run_kernel(*kernel_registry().find(c.problem.op, "cuda")[0], c.problem, {x, index}, y), "");
  EXPECT_EQ(y[0].at(0), 4);
  for (int i : {1, 2, 3}) EXPECT_TRUE(std::isnan(y[0].at(i))) << i;
}

TEST(Gather, OnAGpuBlocksGrowWithTheOutput) {
  const auto config = [](const Dims& index) {
    Problem p = gather(DType::f32, dense(DType::f32, {4096, 4096}), dense(DType::i64, index), 1).problem;
    p.gpu.multiprocessors = 132;
    return kernel_registry().find(p.op, "cuda")[0]->work(p).config;
  };
  EXPECT_EQ(config({1, 512}), "1 elements a thread, blocks of 64");
  EXPECT_EQ(config({64, 512}), "1 elements a thread, blocks of 128");
  EXPECT_EQ(config({4096, 512}), "4 elements a thread, blocks of 256");
}

}  // namespace
}  // namespace kpt
