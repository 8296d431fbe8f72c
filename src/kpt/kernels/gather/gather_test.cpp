// SPDX-License-Identifier: Apache-2.0
#include "kpt/kernels/gather/gather.h"

#include <gtest/gtest.h>

#include "kpt/kernels/conformance.h"

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
      gather(d, dense(d, {5, 6}), dense(DType::i64, {5, 0}), 1)};
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

}  // namespace
}  // namespace kpt
