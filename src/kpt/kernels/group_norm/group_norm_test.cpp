// SPDX-License-Identifier: Apache-2.0
#include "kpt/kernels/group_norm/group_norm.h"

#include <gtest/gtest.h>

#include "kpt/kernels/conformance.h"

namespace kpt {
namespace {

using conformance::Case;
using conformance::dense;
using conformance::make_case;

Case group_norm(DType d, const Dims& x, int64_t groups, bool affine) {
  std::vector<TensorDesc> inputs = {dense(d, x)};
  AttrList args = {In{0}, None{}, None{}};
  if (affine) {
    inputs.push_back(dense(d, {x[1]}));
    inputs.push_back(dense(d, {x[1]}));
    args = {In{0}, In{1}, In{2}};
  }
  const int64_t width = x[0] ? x.numel() / x[0] / groups : 1;
  return make_case(cat(x, groups, affine, d), "aten.group_norm", inputs, args,
                   {{"num_groups", groups}, {"eps", 1e-5}, {"cudnn_enabled", true}}, {dense(d, x)}, width);
}

const bool kCases = conformance::add("aten.group_norm", [](DType d) {
  return std::vector<Case>{group_norm(d, {2, 8, 7, 9}, 4, true), group_norm(d, {2, 6, 65}, 1, true),
                           group_norm(d, {3, 6}, 3, true), group_norm(d, {2, 8, 5, 5}, 8, false),
                           group_norm(d, {0, 8, 5}, 2, true)};
});

TEST(GroupNorm, RefusesGroupsThatDoNotDivide) {
  const Case c = group_norm(DType::f32, {2, 8, 4}, 3, true);
  for (const auto& k : kernel_registry().find("aten.group_norm", "cpu"))
    EXPECT_EQ(k->supports(c.problem).reason, "3 groups of f32[2, 8, 4]");
}

}  // namespace
}  // namespace kpt
