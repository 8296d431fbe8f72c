// SPDX-License-Identifier: Apache-2.0
#include "kpt/kernels/cumsum/cumsum.h"

#include <gtest/gtest.h>

#include "kpt/kernels/conformance.h"
#include "kpt/kernels/lib/cuda/work.h"

namespace kpt {
namespace {

using conformance::dense;
using conformance::make_case;

const bool kCases = conformance::add("aten.cumsum", [](DType d) {
  std::vector<conformance::Case> cases;
  for (int dim : {0, 1, -1})
    cases.push_back(make_case(cat(dim, d), "aten.cumsum", {dense(d, {4, 7, 9})}, {In{0}},
                              {{"dim", dim}, {"dtype", None{}}}, {dense(d, {4, 7, 9})}));
  cases.push_back(make_case(cat("mask", d), "aten.cumsum", {dense(DType::boolean, {4, 60})}, {In{0}},
                            {{"dim", 1}, {"dtype", None{}}}, {dense(DType::i64, {4, 60})}));
  for (const Dims& x : {Dims{3, 5000}, Dims{5000, 3}, Dims{1500, 40}, Dims{2, 129, 70}}) {
    for (int dim : {0, 1}) {
      cases.push_back(
          make_case(cat(x, dim, d), "aten.cumsum", {dense(d, x)}, {In{0}}, {{"dim", dim}}, {dense(d, x)}, x[dim]));
    }
  }
  cases.push_back(make_case(cat("turned", d), "aten.cumsum", {conformance::transposed(DType::i32, {70, 300})}, {In{0}},
                            {{"dim", 1}, {"dtype", DType::i64}}, {dense(DType::i64, {70, 300})}));
  cases.push_back(make_case(cat("to_float", d), "aten.cumsum", {dense(DType::u8, {2, 2000})}, {In{0}},
                            {{"dim", -1}, {"dtype", d}}, {dense(d, {2, 2000})}));
  cases.push_back(
      make_case(cat("empty", d), "aten.cumsum", {dense(d, {4, 0})}, {In{0}}, {{"dim", 1}}, {dense(d, {4, 0})}));
  cases.push_back(make_case(cat("scalar", d), "aten.cumsum", {dense(d, {})}, {In{0}}, {{"dim", 0}}, {dense(d, {})}));
  return cases;
});

TEST(Cumsum, IntegersAreExact) {
  const int64_t big = int64_t{1} << 53;
  const Tensor x = Tensor::from<int64_t>(DType::i64, {3}, {big, 1, 1});
  const auto c = make_case("", "aten.cumsum", {x.desc}, {In{0}}, {{"dim", 0}}, {x.desc});
  std::vector<Tensor> y;
  ASSERT_EQ(conformance::run_kernel(*kernel_registry().find("aten.cumsum", "cpu")[0], c.problem, {x}, y), "");
  EXPECT_EQ(static_cast<int64_t*>(y[0].data)[1], big + 1);
  EXPECT_EQ(static_cast<int64_t*>(y[0].data)[2], big + 2);
}

TEST(Cumsum, OnAGpuRowsTakeAThreadAWarpOrABlock) {
  const auto config = [](const Dims& x, int dim, DType d = DType::f32) {
    Problem p = make_case("", "aten.cumsum", {dense(d, x)}, {In{0}}, {{"dim", dim}}, {dense(d, x)}).problem;
    p.gpu.multiprocessors = 132;
    const CudaWork work = kernel_registry().find(p.op, "cuda")[0]->work(p);
    return cat(work.config, " ", work.calls[0].program.defines[0], " x ", work.calls[0].shape.grid[0]);
  };
  EXPECT_EQ(config({4, 60}, 1, DType::i64), "32 threads a row SUM=i64 x 1");
  EXPECT_EQ(config({4, 50257}, 1), "256 threads a row SUM=f64 x 4");
  EXPECT_EQ(config({50257, 4}, 1), "1 threads a row SUM=f64 x 197");
  EXPECT_EQ(config({64, 8192}, 0), "1 threads a row SUM=f64 x 32");
  EXPECT_EQ(config({8192, 64}, 0), "256 threads a row SUM=f64 x 64");
}

}  // namespace
}  // namespace kpt
