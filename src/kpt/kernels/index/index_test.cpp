// SPDX-License-Identifier: Apache-2.0
#include "kpt/kernels/index/index.h"

#include <gtest/gtest.h>

#include "kpt/kernels/conformance.h"

namespace kpt {
namespace {

using conformance::Case;
using conformance::dense;
using conformance::make_case;

Case index(const TensorDesc& x, std::vector<TensorDesc> with, AttrList list, const Dims& out) {
  std::vector<TensorDesc> inputs = {x};
  inputs.insert(inputs.end(), with.begin(), with.end());
  Case c = make_case(cat(x, out), "aten.index.Tensor", inputs, {In{0}, list}, {}, {dense(x.dtype, out)});
  c.ranges = {{-3, 3}, {-3, 2}, {-3, 2}};
  return c;
}

const bool kCases = conformance::add("aten.index.Tensor", [](DType d) {
  const DType i = DType::i64;
  return std::vector<Case>{
      index(dense(d, {4, 33}), {dense(i, {7})}, {In{1}}, {7, 33}),
      index(dense(d, {4, 5, 6}), {dense(i, {2, 1}), dense(DType::i32, {3})}, {In{1}, In{2}}, {2, 3, 6}),
      index(dense(d, {4, 5, 6}), {dense(i, {3}), dense(i, {3})}, {None{}, In{1}, In{2}}, {4, 3}),
      index(dense(d, {4, 5, 6}), {dense(i, {3}), dense(i, {3})}, {In{1}, None{}, In{2}}, {3, 5}),
      index(conformance::transposed(d, {4, 5, 6}), {dense(i, {3})}, {In{1}}, {3, 5, 6}),
      index(dense(d, {4, 5}), {dense(i, {0})}, {In{1}}, {0, 5}),
      index(conformance::padded(d, {4, 256}, 8), {conformance::transposed(i, {30, 9})}, {In{1}}, {30, 9, 256}),
      index(dense(d, {6, 4, 5}), {dense(i, {3})}, {None{}, In{1}}, {6, 3, 5}),
  };
});

TEST(Index, WhereTheIndexedDimensionsGo) {
  // x[i, :, j] puts the picks in front, x[:, i, j] in the middle (NumPy's rule).
  const Tensor x = Tensor::from<float>(DType::f32, {2, 2, 2}, {0, 1, 2, 3, 4, 5, 6, 7});
  const Tensor i = Tensor::from<int64_t>(DType::i64, {1}, {1}), j = Tensor::from<int64_t>(DType::i64, {1}, {-2});
  const auto run = [&](AttrList list, const Dims& out, const std::string& provider) {
    const Case c = index(x.desc, {i.desc, j.desc}, list, out);
    for (const auto& k : kernel_registry().find("aten.index.Tensor", "cpu")) {
      if (k->provider != provider) continue;
      std::vector<Tensor> y;
      EXPECT_EQ(conformance::run_kernel(*k, c.problem, {x, i, j}, y), "");
      return std::vector<double>{y[0].at(0), y[0].at(1)};
    }
    return std::vector<double>{};
  };
  for (const char* provider : {"kpt", "reference"}) {
    EXPECT_EQ(run({In{1}, None{}, In{2}}, {1, 2}, provider), (std::vector<double>{4, 6}));
    EXPECT_EQ(run({None{}, In{1}, In{2}}, {2, 1}, provider), (std::vector<double>{2, 6}));
  }
}

TEST(Index, OutOfRangeIsAnErrorAndMasksAreRefused) {
  const Case c = index(dense(DType::f32, {4, 3}), {dense(DType::i64, {1})}, {In{1}}, {1, 3});
  for (const auto& k : kernel_registry().find("aten.index.Tensor", "cpu")) {
    for (int64_t bad : {int64_t{4}, int64_t{-5}, INT64_MIN}) {
      std::vector<Tensor> y;
      EXPECT_THROW(
          conformance::run_kernel(
              *k, c.problem, {Tensor::zeros(DType::f32, {4, 3}), Tensor::from<int64_t>(DType::i64, {1}, {bad})}, y),
          Error);
    }
    EXPECT_EQ(
        k->supports(index(dense(DType::f32, {4, 3}), {dense(DType::boolean, {4})}, {In{1}}, {1, 3}).problem).reason,
        "index of bool");
  }
}

}  // namespace
}  // namespace kpt
