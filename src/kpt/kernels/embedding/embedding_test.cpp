// SPDX-License-Identifier: Apache-2.0
#include "kpt/kernels/embedding/embedding.h"

#include <gtest/gtest.h>

#include <cmath>

#include "kpt/cuda/driver.h"
#include "kpt/kernels/conformance.h"
#include "kpt/kernels/lib/cuda/work.h"

namespace kpt {
namespace {

using conformance::Case;
using conformance::dense;
using conformance::make_case;

Case embed(const TensorDesc& w, const TensorDesc& index, const std::string& label) {
  Dims sizes = index.sizes;
  sizes.push_back(w.sizes[1]);
  Case c = make_case(cat(label, w, index), "aten.embedding", {w, index}, {In{0}, In{1}},
                     {{"padding_idx", -1}, {"scale_grad_by_freq", false}, {"sparse", false}}, {dense(w.dtype, sizes)});
  c.ranges = {{-3, 3}, {0, static_cast<double>(w.sizes[0] - 1)}};
  return c;
}

const bool kEmbedding = conformance::add("aten.embedding", [](DType d) {
  return std::vector<Case>{
      embed(dense(d, {100, 33}), dense(DType::i64, {4, 7}), "plain"),
      embed(dense(d, {100, 1}), dense(DType::i32, {9}), "i32"),
      embed(dense(d, {9, 64}), dense(DType::i64, {}), "scalar"),
      embed(dense(d, {9, 64}), dense(DType::i64, {0, 3}), "none"),
      embed(conformance::padded(d, {50, 40}, 3), conformance::transposed(DType::i64, {8, 90}), "strided"),
      embed(dense(d, {50, 400}), conformance::expanded(DType::i64, {8, 40}, 0), "parallel"),
      embed(dense(d, {300, 384}), dense(DType::i64, {2, 70}), "hidden_384"),
      embed(dense(d, {40, 4096}), dense(DType::i32, {1, 5}), "hidden_4096"),
      embed(dense(d, {70, 768}), dense(DType::i64, {300}), "many"),
      embed(dense(d, {50, 0}), dense(DType::i64, {8}), "no_width")};
});

const bool kSelect = conformance::add("aten.index_select", [](DType d) {
  std::vector<Case> cases;
  for (int dim : {0, 1, -1}) {
    Dims sizes{4, 5, 6};
    const int at = dim < 0 ? 2 : dim;
    sizes[at] = 9;
    cases.push_back(make_case(cat("select", dim, d), "aten.index_select", {dense(d, {4, 5, 6}), dense(DType::i64, {9})},
                              {In{0}, In{1}}, {{"dim", dim}}, {dense(d, sizes)}));
    cases.back().ranges = {{-3, 3}, {0, 3}};
    cases.push_back(cases.back());
    cases.back().label += "turned";
    cases.back().problem.inputs[0] = conformance::transposed(d, {4, 5, 6});
  }
  return cases;
});

TEST(Embedding, AnIndexOutOfRangeIsAnErrorAndNothingElse) {
  const Case c = embed(dense(DType::f32, {4, 3}), dense(DType::i64, {2}), "bad");
  const Tensor w = Tensor::zeros(DType::f32, {4, 3});
  for (int64_t bad : {int64_t{4}, int64_t{-1}, INT64_MAX, INT64_MIN}) {
    for (const auto& k : kernel_registry().find("aten.embedding", "cpu")) {
      std::vector<Tensor> y;
      try {
        conformance::run_kernel(*k, c.problem, {w, Tensor::from<int64_t>(DType::i64, {2}, {0, bad})}, y);
        FAIL() << k->name << " took index " << bad;
      } catch (const Error& e) {
        EXPECT_EQ(e.kind(), ErrorKind::bad_input);
        EXPECT_EQ(std::string(e.what()),
                  cat("[kernels.embedding] got index ", bad, " in aten.embedding, want one in [0, 4)"));
      }
    }
  }
}

TEST(Embedding, OnAGpuAnIndexOutOfRangeGivesNan) {
  if (!cuda_here()) GTEST_SKIP() << "not checked: " << cuda_here().reason;
  const CudaGuard guard(0);
  for (DType d : {DType::f32, DType::bf16}) {
    const Case c = embed(dense(d, {4, 3}), dense(DType::i64, {3}), "bad");
    for (const auto& k : kernel_registry().find("aten.embedding", "cuda")) {
      if (k->provider != "kpt") continue;
      std::vector<Tensor> y;
      const Tensor index = Tensor::from<int64_t>(DType::i64, {3}, {0, int64_t{1} << 40, -1});
      ASSERT_EQ(conformance::run_kernel(*k, c.problem, {Tensor::zeros(d, {4, 3}), index}, y), "");
      for (int64_t i = 0; i < 9; ++i) EXPECT_EQ(std::isnan(y[0].at(i)), i >= 3) << k->name << " " << i;
    }
  }
}

TEST(Embedding, CudaSlicesMoveBySixteenBytes) {
  const auto config = [](const Case& c) {
    for (const auto& k : kernel_registry().find(c.problem.op, "cuda"))
      if (k->work) return k->work(c.problem).config;
    return std::string("no kernel");
  };
  EXPECT_EQ(config(embed(dense(DType::bf16, {9, 4096}), dense(DType::i64, {5}), "")),
            "128 threads a slice, 16 bytes a load");
  EXPECT_EQ(config(embed(dense(DType::bf16, {9, 64}), dense(DType::i64, {5}), "")),
            "8 threads a slice, 16 bytes a load");
  EXPECT_EQ(config(embed(conformance::padded(DType::f32, {9, 64}, 2), dense(DType::i64, {5}), "")),
            "32 threads a slice, 8 bytes a load");
}

}  // namespace
}  // namespace kpt
