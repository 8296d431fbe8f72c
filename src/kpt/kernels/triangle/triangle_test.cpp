// SPDX-License-Identifier: Apache-2.0
#include "kpt/kernels/triangle/triangle.h"

#include <gtest/gtest.h>

#include "kpt/kernels/conformance.h"

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

}  // namespace
}  // namespace kpt
