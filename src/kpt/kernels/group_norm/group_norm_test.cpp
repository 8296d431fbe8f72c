// SPDX-License-Identifier: Apache-2.0
#include "kpt/kernels/group_norm/group_norm.h"

#include <gtest/gtest.h>

#include "kpt/kernels/conformance.h"
#include "kpt/kernels/lib/cuda/work.h"

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
  Case far = group_norm(d, {2, 8, 200}, 2, true);  // a mean of many standard deviations
  far.label += "far";
  far.ranges = {{9, 11}};
  return std::vector<Case>{far,
                           group_norm(d, {1, 8, 64, 250}, 1, true),
                           group_norm(d, {1, 6, 77, 231}, 2, false),
                           group_norm(d, {4, 320, 8, 8}, 32, true),
                           group_norm(d, {2, 8, 7, 9}, 4, true),
                           group_norm(d, {2, 6, 65}, 1, true),
                           group_norm(d, {3, 6}, 3, true),
                           group_norm(d, {2, 8, 5, 5}, 8, false),
                           group_norm(d, {0, 8, 5}, 2, true)};
});

TEST(GroupNorm, RefusesGroupsThatDoNotDivide) {
  const Case c = group_norm(DType::f32, {2, 8, 4}, 3, true);
  for (const auto& k : kernel_registry().find("aten.group_norm", "cpu"))
    EXPECT_EQ(k->supports(c.problem).reason, "3 groups of f32[2, 8, 4]");
}

TEST(GroupNorm, OnAGpuFewLargeGroupsAreShared) {
  const auto config = [](DType d, const Dims& x, int64_t groups) {
    Problem p = group_norm(d, x, groups, true).problem;
    p.gpu.multiprocessors = 132;
    const CudaWork work = kernel_registry().find(p.op, "cuda")[0]->work(p);
    return cat(work.config, ", ", work.calls.size(), " launches of ", work.calls[0].shape.grid[0]);
  };
  EXPECT_EQ(config(DType::bf16, {2, 320, 64, 64}, 32), "2 shares of a group, blocks of 512, 2 launches of 128");
  EXPECT_EQ(config(DType::bf16, {16, 320, 64, 64}, 32), "1 shares of a group, blocks of 512, 1 launches of 512");
  EXPECT_EQ(config(DType::bf16, {1, 128, 512, 512}, 32), "9 shares of a group, blocks of 512, 2 launches of 288");
  EXPECT_EQ(config(DType::f32, {1, 32, 4, 4}, 32), "1 shares of a group, blocks of 32, 1 launches of 32");
}

}  // namespace
}  // namespace kpt
