// SPDX-License-Identifier: Apache-2.0
#include "kpt/kernels/cumsum/cumsum.h"

#include <gtest/gtest.h>

#include "kpt/kernels/conformance.h"

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

}  // namespace
}  // namespace kpt
