// SPDX-License-Identifier: Apache-2.0
#include "kpt/kernels/triangle/triangle.h"

#include <gtest/gtest.h>

#include "kpt/kernels/conformance.h"
#include "kpt/kernels/lib/cuda/work.h"

namespace kpt {
namespace {

using conformance::dense;
using conformance::make_case;

std::vector<conformance::Case> cases(const std::string& op, DType d) {
  std::vector<conformance::Case> all;
  for (int diagonal : {-9, -1, 0, 1, 3, 20})
    all.push_back(make_case(cat("diagonal", diagonal, d), op, {dense(d, {3, 5, 8})}, {In{0}}, {{"diagonal", diagonal}},
                            {dense(d, {3, 5, 8})}));
  all.push_back(make_case(cat("turned", d), op, {conformance::transposed(d, {300, 200})}, {In{0}}, {{"diagonal", 1}},
                          {dense(d, {300, 200})}));
  for (int diagonal : {-70, 0, 5}) {
    all.push_back(make_case(cat("words", diagonal, d), op, {conformance::padded(d, {2, 64, 96}, 32)}, {In{0}},
                            {{"diagonal", diagonal}}, {dense(d, {2, 64, 96})}));
  }
  all.push_back(
      make_case(cat("large", d), op, {dense(d, {367, 369})}, {In{0}}, {{"diagonal", -1}}, {dense(d, {367, 369})}));
  all.push_back(make_case(cat("mask", d), op, {dense(DType::boolean, {3, 64, 64})}, {In{0}}, {{"diagonal", 0}},
                          {dense(DType::boolean, {3, 64, 64})}));
  all.push_back(make_case(cat("bool", d), op, {dense(DType::boolean, {9, 9})}, {In{0}}, {{"diagonal", 0}},
                          {dense(DType::boolean, {9, 9})}));
  return all;
}
const bool kTril = conformance::add("aten.tril", [](DType d) { return cases("aten.tril", d); });
const bool kTriu = conformance::add("aten.triu", [](DType d) { return cases("aten.triu", d); });

TEST(Triangle, HandComputed) {
  const Tensor x = Tensor::from<int64_t>(DType::i64, {2, 3}, {1, 2, 3, 4, 5, 6});
  const auto run = [&](const std::string& op, int diagonal) {
    const auto c = make_case("", op, {x.desc}, {In{0}}, {{"diagonal", diagonal}}, {x.desc});
    std::vector<Tensor> y;
    EXPECT_EQ(conformance::run_kernel(*kernel_registry().find(op, "cpu")[0], c.problem, {x}, y), "");
    const auto* p = static_cast<const int64_t*>(y[0].data);
    return std::vector<int64_t>(p, p + 6);
  };
  EXPECT_EQ(run("aten.tril", 0), (std::vector<int64_t>{1, 0, 0, 4, 5, 0}));
  EXPECT_EQ(run("aten.triu", 1), (std::vector<int64_t>{0, 2, 3, 0, 0, 6}));
}

TEST(Triangle, OnAGpuElementsMove16BytesAtATimeWhereTheyCan) {
  const auto config = [](const TensorDesc& x) {
    Problem p = make_case("", "aten.tril", {x}, {In{0}}, {{"diagonal", 0}}, {dense(x.dtype, x.sizes)}).problem;
    p.gpu.multiprocessors = 132;
    const CudaWork work = kernel_registry().find(p.op, "cuda")[0]->work(p);
    return cat(work.config, " x ", work.calls[0].shape.grid[0]);
  };
  EXPECT_EQ(config(dense(DType::boolean, {2048, 2048})), "16 elements at once, blocks of 256 x 512");
  EXPECT_EQ(config(dense(DType::f32, {2049, 2049})), "1 elements at once, blocks of 256 x 8201");
  EXPECT_EQ(config(conformance::transposed(DType::bf16, {64, 64})), "1 elements at once, blocks of 64 x 64");
}

}  // namespace
}  // namespace kpt
