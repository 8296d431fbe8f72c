// SPDX-License-Identifier: Apache-2.0
#include "kpt/kernels/rotary/rotary.h"

#include <gtest/gtest.h>

#include "kpt/kernels/conformance.h"

namespace kpt {
namespace {

using conformance::Case;
using conformance::dense;
using conformance::make_case;

Case rotary(std::string label, const TensorDesc& x, const TensorDesc& cos, const TensorDesc& sin) {
  return make_case(std::move(label), "kpt.rotary", {x, cos, sin}, {In{0}, In{1}, In{2}}, {}, {dense(x.dtype, x.sizes)});
}

// [b, h, s, d] as a view of the slice of a merged projection [b, s, (h + 2 * kv) * d].
TensorDesc heads(DType t, int64_t b, int64_t h, int64_t s, int64_t d, int64_t width) {
  return {t, {b, h, s, d}, {s * width, d, width, 1}};
}

const bool kCases = conformance::add("kpt.rotary", [](DType t) {
  std::vector<Case> cases;
  for (int64_t d : {2, 6, 16, 22, 32, 64, 80, 128, 256, 1000})
    for (DType table : {t, DType::f32}) {
      const TensorDesc row = dense(table, {1, 1, 5, d});
      cases.push_back(rotary(cat("d ", d, " ", table), dense(t, {2, 3, 5, d}), row, row));
      if (t == DType::f32) break;
    }
  for (const Dims& sizes :
       {Dims{0, 3, 5, 16}, Dims{2, 3, 5, 0}, Dims{1, 1, 1, 2}, Dims{1, 1, 1, 64}, Dims{8}, Dims{7, 2}})
    cases.push_back(rotary(cat(sizes), dense(t, sizes), dense(t, {sizes.back()}), dense(t, {sizes.back()})));

  const TensorDesc table = dense(t, {1, 1, 77, 64}), each = dense(t, {2, 1, 77, 64});
  cases.push_back(rotary("projection", heads(t, 2, 9, 77, 64, 15 * 64), table, table));
  cases.push_back(rotary("projection, odd width", heads(t, 2, 3, 77, 64, 5 * 64 + 1), table, table));
  cases.push_back(rotary("a table for each batch", heads(t, 2, 9, 77, 64, 15 * 64), each, each));
  cases.push_back(rotary("tables of a larger one", heads(t, 2, 9, 77, 64, 15 * 64), {t, {1, 1, 77, 64}, {0, 0, 160, 1}},
                         {t, {77, 64}, {160, 1}}));
  cases.push_back(
      rotary("heads behind positions", dense(t, {2, 77, 5, 64}), dense(t, {1, 77, 1, 64}), dense(t, {77, 1, 64})));
  cases.push_back(rotary("full tables", dense(t, {2, 3, 7, 64}), dense(t, {2, 3, 7, 64}), dense(t, {2, 3, 7, 64})));
  cases.push_back(rotary("cos broadcast, sin not", dense(t, {2, 3, 7, 64}), dense(t, {64}), dense(t, {2, 3, 7, 64})));
  cases.push_back(rotary("steps", conformance::transposed(t, {3, 4, 5, 16}), dense(t, {5, 16}),
                         conformance::transposed(t, {5, 16})));
  cases.push_back(rotary("first half of a row", {t, {2, 3, 7, 32}, {3 * 7 * 80, 7 * 80, 80, 1}}, dense(t, {7, 32}),
                         dense(t, {7, 32})));
  // A prompt: enough rows for several heads a thread.
  const TensorDesc long_table = dense(DType::f32, {1, 1, 600, 128});
  cases.push_back(rotary("prompt", heads(t, 1, 14, 600, 128, 18 * 128), long_table, long_table));
  Case special = rotary("NaN and infinities", dense(t, {2, 3, 40, 32}), dense(t, {40, 32}), dense(t, {40, 32}));
  special.ranges = {{-3, 3, true}};
  cases.push_back(special);
  return cases;
});

TEST(Rotary, TurnsPairsOfTheHalves) {
  // x = (1, 2 | 3, 4) by a quarter turn for the first pair, none for the second.
  const auto row = [](std::vector<float> v) { return Tensor::from<float>(DType::f32, {4}, v); };
  const Case c = rotary("", dense(DType::f32, {4}), dense(DType::f32, {4}), dense(DType::f32, {4}));
  for (const auto& k : kernel_registry().find("kpt.rotary", "cpu")) {
    std::vector<Tensor> y;
    ASSERT_EQ(conformance::run_kernel(*k, c.problem, {row({1, 2, 3, 4}), row({0, 1, 0, 1}), row({1, 0, 1, 0})}, y), "");
    const double want[] = {-3, 2, 1, 4};
    for (int i = 0; i < 4; ++i) EXPECT_EQ(y[0].at(i), want[i]) << k->name << " " << i;
  }
}

TEST(Rotary, RoundsOnceAtTheEnd) {
  // 1.0078125 * 1.0078125 - 1.015625 = 2^-14: nothing would be left if products were rounded to bf16.
  const auto row = [](std::vector<float> v) { return Tensor::from<float>(DType::bf16, {2}, v); };
  const Case c = rotary("", dense(DType::bf16, {2}), dense(DType::bf16, {2}), dense(DType::bf16, {2}));
  for (const auto& k : kernel_registry().find("kpt.rotary", "cpu")) {
    std::vector<Tensor> y;
    ASSERT_EQ(conformance::run_kernel(*k, c.problem, {row({1.0078125, 1}), row({1.0078125, 0}), row({1.015625, 0})}, y),
              "");
    EXPECT_EQ(y[0].at(0), 0x1p-14) << k->name;
  }
}

TEST(Rotary, SaysWhatItDoesNotTake) {
  const auto reason = [](const TensorDesc& x, const TensorDesc& cos, const TensorDesc& sin) {
    for (const auto& k : kernel_registry().find("kpt.rotary", "cpu"))
      if (k->provider == "kpt") return k->supports(rotary("", x, cos, sin).problem).reason;
    return std::string("no kernel");
  };
  const TensorDesc x = dense(DType::bf16, {2, 8});
  EXPECT_EQ(reason(dense(DType::f32, {2, 7}), x, x), "rows of x f32[2, 7] have no halves");
  EXPECT_EQ(reason(x, dense(DType::bf16, {1}), x), "cos bf16[1] for x bf16[2, 8]");
  EXPECT_EQ(reason(x, x, dense(DType::bf16, {3, 8})), "sin bf16[3, 8] does not broadcast to x bf16[2, 8]");
  EXPECT_EQ(reason(x, x, dense(DType::f32, {8})), "cos of bf16, sin of f32");
  EXPECT_EQ(reason(x, dense(DType::f16, {8}), dense(DType::f16, {8})), "cos of f16, x of bf16");
  EXPECT_EQ(reason(dense(DType::f64, {2, 8}), dense(DType::f64, {8}), dense(DType::f64, {8})), "dtype f64");
}

}  // namespace
}  // namespace kpt
