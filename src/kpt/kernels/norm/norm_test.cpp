// SPDX-License-Identifier: Apache-2.0
#include "kpt/kernels/norm/norm.h"

#include <gtest/gtest.h>

#include <cmath>

#include "kpt/kernels/conformance.h"

namespace kpt {
namespace {

using conformance::Case;
using conformance::dense;
using conformance::make_case;

AttrList sizes_list(const Dims& sizes) {
  AttrList list;
  for (int64_t n : sizes) list.push_back(n);
  return list;
}

Case layer(const TensorDesc& x, const Dims& normalised, DType w, const std::string& label) {
  return make_case(cat(label, x), "aten.layer_norm", {x, dense(w, normalised), dense(w, normalised)},
                   {In{0}, In{1}, In{2}},
                   {{"normalized_shape", sizes_list(normalised)}, {"eps", 1e-5}, {"cudnn_enable", true}},
                   {dense(x.dtype, x.sizes)}, normalised.numel());
}

const bool kLayer = conformance::add("aten.layer_norm", [](DType d) {
  std::vector<Case> cases;
  for (int64_t w : {1, 2, 15, 64, 384, 768, 1000, 4096, 4099})
    cases.push_back(layer(dense(d, {5, 3, w}), {w}, d, "width"));
  cases.push_back(layer(dense(d, {0, 8}), {8}, d, "no_rows"));
  cases.push_back(layer(conformance::padded(d, {7, 65}, 6), {65}, DType::f32, "padded_f32_weight"));
  cases.push_back(layer(dense(d, {3, 4, 5, 6}), {5, 6}, d, "two_dims"));
  cases.push_back(layer(dense(d, {3, 1024}), {1024}, DType::f32, "f32_weight"));
  cases.push_back(layer(dense(d, {2, 16384}), {16384}, d, "widest_in_registers"));
  for (int64_t w : {16387, 40000}) cases.push_back(layer(dense(d, {2, w}), {w}, DType::f32, "wide"));
  cases.push_back(layer({d, {2, 4, 9, 64}, {4 * 9 * 64, 64, 4 * 64, 1}}, {64}, d, "heads"));
  cases.push_back(layer(dense(d, {2000, 100}), {100}, d, "parallel"));
  cases.push_back(layer(dense(d, {64, 24}), {24}, d, "special"));
  cases.back().ranges = {{-3, 3, true}};
  cases.push_back(layer(dense(d, {4, 512}), {512}, d, "offset"));  // mean/std of 30
  cases.back().ranges = {{28, 32}};
  cases.back().scale = 30;
  cases.push_back(make_case(cat("plain", d), "aten.layer_norm", {dense(d, {4, 77})}, {In{0}, None{}, None{}},
                            {{"normalized_shape", AttrList{77}}, {"eps", 1e-12}}, {dense(d, {4, 77})}, 77));
  return cases;
});

const bool kRms = conformance::add("aten.rms_norm", [](DType d) {
  std::vector<Case> cases;
  for (int64_t w : {1, 33, 2048})
    cases.push_back(make_case(cat("rms", w, d), "aten.rms_norm", {dense(d, {6, w}), dense(d, {w})}, {In{0}, In{1}},
                              {{"normalized_shape", AttrList{w}}, {"eps", 1e-6}}, {dense(d, {6, w})}, w));
  const TensorDesc heads = {d, {2, 4, 9, 128}, {4 * 9 * 128, 128, 4 * 128, 1}};  // [B, H, S, D] of [B, S, H, D]
  cases.push_back(make_case(cat("heads", d), "aten.rms_norm", {heads, dense(d, {128})}, {In{0}, In{1}},
                            {{"normalized_shape", AttrList{128}}, {"eps", 1e-6}}, {dense(d, heads.sizes)}, 128));
  return cases;
});

const bool kAdd = conformance::add("kpt.add_norm", [](DType d) {
  std::vector<Case> cases;
  for (const char* kind : {"layer", "rms"}) {
    for (int outputs : {1, 2}) {
      const TensorDesc x = dense(d, {9, 11, 130});
      std::vector<TensorDesc> out(static_cast<size_t>(outputs), x);
      cases.push_back(make_case(cat(kind, outputs, d), "kpt.add_norm",
                                {x, conformance::padded(d, x.sizes, 4), dense(d, {130}), dense(d, {130})},
                                {In{0}, In{1}, In{2}, In{3}}, {{"kind", kind}, {"eps", 1e-5}}, out, 130));
      cases.push_back(make_case(cat(kind, outputs, d, "plain"), "kpt.add_norm", {x, x}, {In{0}, In{1}, None{}, None{}},
                                {{"kind", kind}, {"eps", 1e-5}}, out, 130));
    }
    for (int64_t w : {768, 4096, 20000}) {
      const TensorDesc x = dense(d, {3, w});
      cases.push_back(make_case(cat(kind, w, d), "kpt.add_norm", {x, x, dense(d, {w}), dense(d, {w})},
                                {In{0}, In{1}, In{2}, In{3}}, {{"kind", kind}, {"eps", 1e-5}}, {x, x}, w));
    }
  }
  return cases;
});

TEST(Norm, RowOfHugeMeanKeepsItsDigits) {
  Case c = layer(dense(DType::f32, {2, 1024}), {1024}, DType::f32, "huge_mean");
  c.ranges = {{4000, 4002}};
  c.scale = 4000;  // digits of x - mean that the input does not hold
  for (const auto& k : kernel_registry().find("aten.layer_norm", "cpu"))
    if (k->provider == "kpt") {
      EXPECT_EQ(conformance::check(*k, c), "");
    }
}

TEST(Norm, InPlaceOverXAndResidual) {
  const TensorDesc d = dense(DType::f32, {40, 100});
  Case c = make_case("in_place", "kpt.add_norm", {d, d}, {In{0}, In{1}, None{}, None{}},
                     {{"kind", "layer"}, {"eps", 1e-5}}, {d, d}, 100);
  std::vector<Tensor> inputs = conformance::make_inputs(c), want;
  ASSERT_EQ(conformance::run_reference(c.problem, inputs, want), "");
  for (const auto& k : kernel_registry().find("kpt.add_norm", "cpu")) {
    if (k->provider != "kpt") continue;
    const auto launch = k->make(c.problem);
    const Tensor workspace = Tensor::empty(DType::u8, {static_cast<int64_t>(launch->workspace_bytes())});
    const void* in[] = {inputs[0].data, inputs[1].data};
    void* out[] = {inputs[0].data, inputs[1].data};
    launch->run({in, out, workspace.data});
  }
  const double allowed = conformance::tolerance(DType::f32, 100);
  EXPECT_EQ(conformance::compare(inputs[0], want[0], allowed, 0), "");
  EXPECT_EQ(conformance::compare(inputs[1], want[1], allowed, 0), "");
}

TEST(Norm, RefusesWithTheReason) {
  const auto reason = [](const Case& c) {
    for (const auto& k : kernel_registry().find(c.problem.op, "cpu"))
      if (k->provider == "kpt") return k->supports(c.problem).reason;
    return std::string("no kernel");
  };
  EXPECT_EQ(reason(layer(conformance::transposed(DType::f32, {4, 8}), {8}, DType::f32, "")),
            "the normalised dimensions of f32[4, 8] strides [1, 4] are not dense");
  EXPECT_EQ(reason(layer(dense(DType::f64, {4, 8}), {8}, DType::f64, "")), "dtype f64");
  EXPECT_EQ(reason(layer(dense(DType::f32, {4, 8}), {8}, DType::bf16, "")), "weight bf16[8] with x f32[4, 8]");
  EXPECT_EQ(reason(layer(dense(DType::f32, {4, 8}), {9}, DType::f32, "")), "weight f32[9] for rows of 8");
}

}  // namespace
}  // namespace kpt
