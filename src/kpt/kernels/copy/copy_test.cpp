// SPDX-License-Identifier: Apache-2.0
#include "kpt/kernels/copy/copy.h"

#include <gtest/gtest.h>

#include "kpt/kernels/conformance.h"

namespace kpt {
namespace {

using conformance::Case;
using conformance::dense;
using conformance::make_case;

TensorDesc permuted(const TensorDesc& x, const std::vector<int>& dims) {
  TensorDesc p{x.dtype, {}, {}};
  for (int d : dims) {
    p.sizes.push_back(x.sizes[d]);
    p.strides.push_back(x.strides[d]);
  }
  return p;
}

Case copy(const TensorDesc& x, const TensorDesc& y) { return make_case(cat(x, y), "kpt.copy", {x}, {In{0}}, {}, {y}); }

const bool kCases = conformance::add("kpt.copy", [](DType d) {
  std::vector<Case> cases;
  std::vector<TensorDesc> views = {
      dense(d, {}),
      dense(d, {0, 3}),
      dense(d, {5000}),
      conformance::padded(d, {70, 33}, 5),
      conformance::transposed(d, {1, 1}),
      conformance::transposed(d, {33, 65}),
      conformance::transposed(d, {3, 100, 200}),
      conformance::expanded(d, {4, 7, 3}, 1),
      conformance::expanded(d, {4, 7, 3}, 2),
      permuted(dense(d, {2, 12, 5, 64}), {0, 2, 1, 3}),
      permuted(dense(d, {2, 12, 5, 64}), {3, 2, 1, 0}),
      permuted(dense(d, {2, 3, 31, 29}), {0, 2, 3, 1}),
      permuted(dense(d, {2, 3, 4, 5, 6}), {4, 0, 3, 1, 2}),
      {d, {4, 5}, {20, 3}},
      permuted(dense(d, {2, 12, 128, 64}), {0, 1, 3, 2}),
      permuted(dense(d, {1, 64, 56, 56}), {0, 2, 3, 1}),
      conformance::transposed(d, {1000, 384}),
  };
  for (const TensorDesc& x : views) cases.push_back(copy(x, dense(d, x.sizes)));
  cases.push_back(copy(dense(d, {40, 70}), conformance::transposed(d, {40, 70})));
  if (d == DType::f32)
    for (DType other : {DType::i64, DType::i32, DType::i16, DType::u8, DType::boolean})
      cases.push_back(copy(conformance::transposed(other, {65, 40}), dense(other, {65, 40})));
  return cases;
});

TEST(Copy, ChoosesTilesForATransposeAndRowsOtherwise) {
  const auto config = [](const TensorDesc& x) {
    const Case c = copy(x, dense(x.dtype, x.sizes));
    for (const auto& k : kernel_registry().find("kpt.copy", "cpu"))
      if (k->provider == "kpt") return k->make(c.problem)->config();
    return std::string();
  };
  EXPECT_EQ(config(conformance::transposed(DType::f32, {64, 64})), "tiles 2 threads 1");
  EXPECT_EQ(config(dense(DType::f32, {64, 64})), "rows 1 threads 1");
  EXPECT_EQ(config(permuted(dense(DType::f32, {2, 3, 4, 5}), {0, 2, 1, 3})), "rows 8 threads 1");
}

TEST(Copy, KeepsEveryBitOfANan) {
  Tensor x = Tensor::empty(DType::f32, {2, 2});
  const uint32_t bits[] = {0x7f800001u, 0xffc12345u, 0x80000000u, 1u};
  std::copy(bits, bits + 4, static_cast<uint32_t*>(x.data));
  const Case c = copy(conformance::transposed(DType::f32, {2, 2}), dense(DType::f32, {2, 2}));
  for (const auto& k : kernel_registry().find("kpt.copy", "cpu")) {
    std::vector<Tensor> y;
    ASSERT_EQ(conformance::run_kernel(*k, c.problem, {x}, y), "");
    const auto* got = static_cast<const uint32_t*>(y[0].data);
    EXPECT_EQ(std::vector<uint32_t>(got, got + 4), (std::vector<uint32_t>{bits[0], bits[2], bits[1], bits[3]}))
        << k->name;
  }
}

}  // namespace
}  // namespace kpt
