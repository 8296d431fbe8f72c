// SPDX-License-Identifier: Apache-2.0
#pragma once
// For the tests of gemm_skinny, gemm_narrow and gemm_wide: one dense product as a call and as a case of kpt.linear.
#include <cmath>

#include "kpt/kernels/conformance.h"
#include "kpt/kernels/lib/cuda/gemm_cuda.h"

namespace kpt::gemm_cases {

inline GpuTraits ampere() { return {80, 108, 40 << 20, 164 << 10}; }
inline GpuTraits hopper() { return {90, 132, 50 << 20, 227 << 10}; }

struct Product {
  int64_t m, n, k;
  Act act = Act::none;
  bool bias = false, residual = false, w_along_depth = true;
};

inline GemmCall call_of(const Product& p, DType d = DType::bf16) {
  GemmCall call;
  call.dtype = d;
  GemmProblem& g = call.product;
  g.elem = d == DType::f16 ? Elem::f16 : Elem::bf16;
  g.m = p.m, g.n = p.n, g.k = p.k, g.x_m = p.k, g.y_m = p.n;
  g.w_n = p.w_along_depth ? p.k : 1, g.w_k = p.w_along_depth ? 1 : p.n;
  g.has_bias = p.bias, g.act = p.act, g.has_residual = p.residual, g.residual_m = p.n;
  call.at = {0, 1, p.bias ? 2 : -1, p.residual ? (p.bias ? 3 : 2) : -1};
  return call;
}

// x, w, bias, residual as kpt.linear has them.
inline conformance::Case case_of(const Product& p, DType d = DType::bf16) {
  using conformance::dense;
  TensorDesc w = dense(d, {p.n, p.k});
  if (!p.w_along_depth) w.strides = {1, p.n};
  std::vector<TensorDesc> inputs = {dense(d, {p.m, p.k}), w};
  AttrList args = {In{0}, In{1}, None{}, None{}};
  if (p.bias) {
    args[2] = In{2};
    inputs.push_back(dense(d, {p.n}));
  }
  if (p.residual) {
    args[3] = In{static_cast<int>(inputs.size())};
    inputs.push_back(dense(d, {p.m, p.n}));
  }
  KPT_ASSERT(p.act == Act::none || p.act == Act::gelu || p.act == Act::silu || p.act == Act::relu, "test", "no name");
  const char* act = p.act == Act::gelu ? "gelu" : p.act == Act::silu ? "silu" : p.act == Act::relu ? "relu" : "none";
  conformance::Case c = conformance::make_case(cat(p.m, " x ", p.n, " x ", p.k), "kpt.linear", inputs, args,
                                               {{"act", act}}, {dense(d, {p.m, p.n})}, p.k);
  c.ranges = {{-1, 1}, {-1, 1}, {-1, 1}, {-1, 1}};
  c.scale = 1;
  return c;
}

// The same with NaN and infinities in x, and an infinity of either sign, a NaN and a large number in w's rows, or in
// bias where there is one (the large number in bias alone).
inline conformance::Case special_case_of(const Product& p, DType d = DType::bf16) {
  conformance::Case c = case_of(p, d);
  c.label += " special";
  c.ranges[0] = {-1, 1, true};
  c.edit = [p, d](std::vector<Tensor>& inputs) {
    const double specials[] = {INFINITY, -INFINITY, NAN, d == DType::f16 ? 6e4 : 1e38, -0.0};
    for (int64_t i = 0; i < 5; ++i) {
      const int64_t column = (3 + 13 * i) % p.n;
      inputs[1].set(column * p.k, i == 3 ? 1.0 : specials[i]);
      if (p.bias) inputs[2].set((column + 5) % p.n, specials[i]);
    }
  };
  return c;
}

}  // namespace kpt::gemm_cases
