// SPDX-License-Identifier: Apache-2.0
// Conformance cases of the operators made of matrix products: linear, matmul and its kin, attention, convolution.
#include <gtest/gtest.h>

#include "kpt/kernels/conformance.h"

namespace kpt {
namespace {

using conformance::Case;
using conformance::dense;
using conformance::make_case;
using conformance::Range;

const Range kUnit{-1, 1};

Case linear(DType d, const Dims& lead, int64_t k, int64_t n, bool bias, const std::string& act, bool residual) {
  Dims x = lead, y = lead;
  x.push_back(k);
  y.push_back(n);
  std::vector<TensorDesc> inputs = {dense(d, x), dense(d, {n, k})};
  AttrList args = {In{0}, In{1}, None{}};
  if (bias) {
    inputs.push_back(dense(d, {n}));
    args[2] = In{2};
  }
  const bool own = !act.empty();
  if (own) args.push_back(None{});
  if (residual) {
    args[3] = In{static_cast<int>(inputs.size())};
    inputs.push_back(dense(d, y));
  }
  Kwargs kwargs;
  if (own) kwargs.emplace_back("act", act);
  Case c = make_case(cat(x, n, bias, act, residual, d), own ? "kpt.linear" : "aten.linear", inputs, args, kwargs,
                     {dense(d, y)}, k);
  c.ranges = {kUnit, kUnit, kUnit, kUnit};
  c.scale = 1;
  return c;
}

const bool kLinear = conformance::add("aten.linear", [](DType d) {
  std::vector<Case> cases;
  for (const Dims& lead : {Dims{}, Dims{1}, Dims{2, 7}, Dims{130}, Dims{0}})
    for (int64_t k : {1, 33, 384})
      for (int64_t n : {1, 17, 200}) cases.push_back(linear(d, lead, k, n, n != 17, "", false));
  cases.push_back(linear(d, {3, 4}, 0, 5, true, "", false));
  Case c = linear(d, {40}, 64, 48, true, "", false);
  c.label += "special";
  c.ranges = {{-3, 3, true}, kUnit, kUnit};
  cases.push_back(c);
  c = linear(d, {40}, 64, 48, true, "", false);
  c.label += "strided";
  c.problem.inputs[0] = conformance::padded(d, {40, 64}, 9);
  c.problem.inputs[1] = conformance::transposed(d, {48, 64});
  cases.push_back(c);
  return cases;
});

const bool kOwnLinear = conformance::add("kpt.linear", [](DType d) {
  std::vector<Case> cases;
  for (const char* act : {"none", "gelu", "gelu_tanh", "silu", "relu", "tanh", "sigmoid"})
    for (bool residual : {false, true})
      for (int64_t rows : {1, 5, 129}) cases.push_back(linear(d, {rows}, 96, 70, rows != 5, act, residual));
  return cases;
});

Case product(const std::string& op, const TensorDesc& a, const TensorDesc& b, const Dims& out,
             const std::string& label) {
  Case c = make_case(cat(label, a, b), op, {a, b}, {In{0}, In{1}}, {}, {dense(a.dtype, out)}, a.sizes.back());
  c.ranges = {kUnit, kUnit};
  c.scale = 1;
  return c;
}

const bool kMatmul = conformance::add("aten.matmul", [](DType d) {
  using conformance::transposed;
  return std::vector<Case>{
      product("aten.matmul", dense(d, {5}), dense(d, {5}), {}, "dot"),
      product("aten.matmul", dense(d, {3, 5}), dense(d, {5}), {3}, "vector"),
      product("aten.matmul", dense(d, {5}), dense(d, {5, 4}), {4}, "row"),
      product("aten.matmul", dense(d, {33, 65}), dense(d, {65, 17}), {33, 17}, "odd"),
      product("aten.matmul", dense(d, {2, 3, 40, 64}), transposed(d, {2, 3, 64, 40}), {2, 3, 40, 40}, "scores"),
      product("aten.matmul", dense(d, {2, 1, 9, 16}), dense(d, {4, 16, 8}), {2, 4, 9, 8}, "broadcast"),
      product("aten.matmul", dense(d, {4, 7, 16}), dense(d, {16, 8}), {4, 7, 8}, "shared"),
      product("aten.matmul", dense(d, {0, 7, 16}), dense(d, {16, 8}), {0, 7, 8}, "empty"),
      product("aten.matmul", transposed(d, {130, 300}), dense(d, {300, 150}), {130, 150}, "large")};
});
const bool kBmm = conformance::add("aten.bmm", [](DType d) {
  return std::vector<Case>{
      product("aten.bmm", dense(d, {3, 20, 33}), dense(d, {3, 33, 10}), {3, 20, 10}, "bmm"),
      product("aten.bmm", dense(d, {3, 1, 64}), conformance::transposed(d, {3, 64, 50}), {3, 1, 50}, "one_row")};
});
const bool kMm = conformance::add("aten.mm", [](DType d) {
  return std::vector<Case>{product("aten.mm", dense(d, {20, 33}), dense(d, {33, 10}), {20, 10}, "mm"),
                           product("aten.mm", dense(d, {1, 1}), dense(d, {1, 1}), {1, 1}, "one")};
});

Case with_input(const std::string& op, DType d, const Dims& input, const Dims& a, const Dims& b, const Dims& out,
                double alpha, double beta) {
  Case c = make_case(cat(input, out, alpha, beta, d), op, {dense(d, input), dense(d, a), dense(d, b)},
                     {In{0}, In{1}, In{2}}, {{"beta", beta}, {"alpha", alpha}}, {dense(d, out)}, a.back());
  c.ranges = {kUnit, kUnit, kUnit};
  c.scale = 1;
  return c;
}
const bool kAddmm = conformance::add("aten.addmm", [](DType d) {
  return std::vector<Case>{with_input("aten.addmm", d, {70}, {20, 33}, {33, 70}, {20, 70}, 1, 1),
                           with_input("aten.addmm", d, {20, 70}, {20, 33}, {33, 70}, {20, 70}, 0.5, 2),
                           with_input("aten.addmm", d, {20, 1}, {20, 33}, {33, 70}, {20, 70}, 1, 1)};
});
const bool kBaddbmm = conformance::add("aten.baddbmm", [](DType d) {
  return std::vector<Case>{with_input("aten.baddbmm", d, {3, 20, 70}, {3, 20, 33}, {3, 33, 70}, {3, 20, 70}, 0.5, 2),
                           with_input("aten.baddbmm", d, {1, 20, 70}, {3, 20, 33}, {3, 33, 70}, {3, 20, 70}, 1, 0)};
});

struct Attention {
  int64_t b, h, hkv, s, t, dim, dv;
  bool causal;
  std::string mask;  // none, bool, add, key
};

Case attention(DType d, const Attention& a, const std::string& layout) {
  std::vector<TensorDesc> inputs = {dense(d, {a.b, a.h, a.s, a.dim}), dense(d, {a.b, a.hkv, a.t, a.dim}),
                                    dense(d, {a.b, a.hkv, a.t, a.dv})};
  AttrList args = {In{0}, In{1}, In{2}, None{}};
  if (a.mask != "none") args[3] = In{3};
  if (a.mask == "bool") inputs.push_back(dense(DType::boolean, {a.b, 1, a.s, a.t}));
  if (a.mask == "add") inputs.push_back(dense(d, {1, a.h, a.s, a.t}));
  if (a.mask == "key") inputs.push_back(dense(DType::boolean, {a.b, a.t}));
  const Dims out = layout == "bhsd" ? Dims{a.b, a.h, a.s, a.dv} : Dims{a.b, a.s, a.h, a.dv};
  Case c = make_case(cat(inputs[0].sizes, inputs[1].sizes, a.dv, a.causal, a.mask, layout, d), "kpt.attention", inputs,
                     args, {{"scale", 0.25}, {"causal", a.causal}, {"mask_kind", a.mask}, {"layout", layout}},
                     {dense(d, out)}, a.t + a.dim);
  c.ranges = {kUnit, kUnit, kUnit, {-2, 2}};
  c.scale = 0.5;
  return c;
}

const bool kAttention = conformance::add("kpt.attention", [](DType d) {
  std::vector<Case> cases;
  for (const char* mask : {"none", "bool", "add", "key"}) {
    for (bool causal : {false, true}) {
      for (const char* layout : {"bhsd", "bshd"}) {
        cases.push_back(attention(d, {2, 4, 4, 33, 33, 32, 32, causal, mask}, layout));
        cases.push_back(attention(d, {1, 6, 2, 7, 130, 64, 64, causal, mask}, layout));
      }
    }
  }
  cases.push_back(attention(d, {1, 1, 1, 1, 1, 1, 1, false, "none"}, "bhsd"));
  cases.push_back(attention(d, {2, 12, 12, 128, 128, 64, 64, false, "none"}, "bhsd"));
  cases.push_back(attention(d, {1, 2, 2, 9, 300, 80, 40, false, "none"}, "bhsd"));
  // Tiles of each height, parts of keys, heads up to the largest.
  for (const char* mask : {"none", "key", "bool", "add"}) {
    cases.push_back(attention(d, {1, 2, 2, 197, 197, 64, 64, false, mask}, "bshd"));
    cases.push_back(attention(d, {2, 8, 2, 1, 700, 128, 128, false, mask}, "bshd"));
    cases.push_back(attention(d, {1, 4, 4, 3, 513, 32, 32, true, mask}, "bhsd"));
    cases.push_back(attention(d, {1, 1, 1, 70, 40, 200, 256, false, mask}, "bhsd"));
  }
  cases.push_back(attention(d, {52, 2, 1, 129, 64, 64, 64, true, "none"}, "bshd"));
  cases.push_back(attention(d, {52, 2, 2, 65, 33, 96, 96, true, "key"}, "bhsd"));
  cases.push_back(attention(d, {26, 2, 2, 129, 40, 128, 128, false, "key"}, "bshd"));
  Case merged = attention(d, {2, 3, 3, 50, 50, 64, 64, true, "none"}, "bshd");  // views of one projection
  for (TensorDesc& x : merged.problem.inputs) x.strides = {50 * 576, 64, 576, 1};
  merged.label += "merged";
  cases.push_back(merged);
  for (const Attention& a : {Attention{2, 4, 4, 33, 33, 32, 32, false, "add"},
                             {1, 4, 4, 1, 513, 64, 64, false, "add"},
                             {1, 2, 2, 197, 197, 64, 64, true, "add"}}) {
    cases.push_back(attention(d, a, "bhsd"));
    cases.back().label += "lowest";
    // Row 0 of each head adds the lowest number to all its keys, every other row to the last of them.
    cases.back().edit = [a, d](std::vector<Tensor>& inputs) {
      for (int64_t i = 0; i < a.h * a.s * a.t; ++i)
        if (i / a.t % a.s == 0 || i % a.t >= a.t / 2) inputs[3].set(i, conformance::lowest(d));
    };
  }
  if (d == DType::bf16) {  // large enough for the contest with the vendor's library
    cases.push_back(attention(d, {2, 4, 4, 512, 512, 64, 64, false, "none"}, "bshd"));
    cases.push_back(attention(d, {1, 8, 2, 520, 520, 128, 128, true, "none"}, "bhsd"));
    Case padded = attention(d, {3, 3, 3, 512, 512, 64, 64, false, "key"}, "bshd");
    padded.label += "padded";
    padded.edit = [](std::vector<Tensor>& inputs) {  // all kept; the first 201; here and there
      for (int64_t i = 0; i < 1024; ++i) inputs[3].set(i, i < 512 + 201);
    };
    cases.push_back(padded);
    Case lowest = attention(d, {2, 4, 4, 512, 512, 64, 64, false, "add"}, "bshd");
    lowest.label += "lowest";
    lowest.edit = [d](std::vector<Tensor>& inputs) {
      for (int64_t i = 0; i < 512 * 3; ++i) inputs[3].set(i, conformance::lowest(d));  // rows 0 to 2 of the first head
    };
    cases.push_back(lowest);
  }
  Case transposed_keys = attention(d, {1, 2, 2, 20, 60, 64, 64, false, "none"}, "bhsd");
  transposed_keys.problem.inputs[1].strides = {2 * 64 * 60, 64 * 60, 1, 60};
  transposed_keys.label += "transposed keys";
  cases.push_back(transposed_keys);
  return cases;
});

struct Conv {
  Dims x, w, stride, padding, dilation;
  int64_t groups;
  bool bias;
};

AttrList list(const Dims& d) {
  AttrList l;
  for (int64_t n : d) l.push_back(n);
  return l;
}

Case convolution(DType d, const Conv& v) {
  Dims out = {v.x[0], v.w[0]};
  for (int i = 2; i < v.x.rank(); ++i)
    out.push_back((v.x[i] + 2 * v.padding[i - 2] - v.dilation[i - 2] * (v.w[i] - 1) - 1) / v.stride[i - 2] + 1);
  std::vector<TensorDesc> inputs = {dense(d, v.x), dense(d, v.w)};
  AttrList args = {In{0}, In{1}, None{}};
  if (v.bias) {
    inputs.push_back(dense(d, {v.w[0]}));
    args[2] = In{2};
  }
  Case c = make_case(cat(v.x, v.w, v.stride, v.padding, v.dilation, v.groups, d), "aten.convolution", inputs, args,
                     {{"stride", list(v.stride)},
                      {"padding", list(v.padding)},
                      {"dilation", list(v.dilation)},
                      {"transposed", false},
                      {"output_padding", list(Dims::filled(v.x.rank() - 2, 0))},
                      {"groups", v.groups}},
                     {dense(d, out)}, v.w.numel() / v.w[0]);
  c.ranges = {kUnit, kUnit, kUnit};
  c.scale = 1;
  return c;
}

std::vector<Case> convolutions(DType d) {
  std::vector<Case> cases;
  for (const Conv& v : std::vector<Conv>{{{2, 3, 17, 19}, {8, 3, 3, 3}, {1, 1}, {1, 1}, {1, 1}, 1, true},
                                         {{1, 3, 32, 32}, {16, 3, 7, 7}, {2, 2}, {3, 3}, {1, 1}, 1, false},
                                         {{2, 16, 9, 9}, {24, 16, 1, 1}, {1, 1}, {0, 0}, {1, 1}, 1, true},
                                         {{2, 16, 9, 9}, {24, 16, 1, 1}, {2, 2}, {0, 0}, {1, 1}, 1, false},
                                         {{1, 8, 12, 12}, {8, 1, 3, 3}, {1, 1}, {1, 1}, {1, 1}, 8, true},
                                         {{1, 8, 12, 12}, {12, 4, 3, 3}, {1, 1}, {2, 2}, {2, 2}, 2, true},
                                         {{2, 3, 32, 32}, {20, 3, 16, 16}, {16, 16}, {0, 0}, {1, 1}, 1, true},
                                         {{2, 5, 50}, {7, 5, 3}, {2}, {1}, {1}, 1, true}})
    cases.push_back(convolution(d, v));
  return cases;
}

Case channels_last(DType d, const Conv& v, const std::string& act, bool residual) {
  Case c = convolution(d, v);
  Problem& p = c.problem;
  p.op = "kpt.convolution";
  p.kwargs.emplace_back("act", act);
  p.kwargs.emplace_back("layout", "nhwc");
  for (size_t i = 0; i < 2; ++i) {
    const Dims n = p.inputs[i].sizes;
    p.inputs[i].strides = {n[1] * n[2] * n[3], 1, n[3] * n[1], n[1]};
  }
  const Dims y = p.outputs[0].sizes;
  p.outputs[0] = dense(d, {y[0], y[2], y[3], y[1]});
  if (residual) {
    p.args.push_back(In{static_cast<int>(p.inputs.size())});
    p.inputs.push_back(p.outputs[0]);
  }
  c.label += cat(" last ", act, residual);
  c.ranges = {{-1, 1, act == "relu"}, kUnit, kUnit, kUnit};
  return c;
}

const bool kConvolution = conformance::add("aten.convolution", convolutions);
const bool kConvolutionAct = conformance::add("kpt.convolution", [](DType d) {
  std::vector<Case> cases = convolutions(d);
  for (size_t i = 0; i < cases.size(); ++i) {
    cases[i].problem.op = "kpt.convolution";
    cases[i].problem.kwargs.emplace_back("act", i % 2 ? "relu" : "silu");
  }
  // Channels last, with and without a residual; NaN and infinities reach what they should.
  for (const Conv& v : std::vector<Conv>{{{2, 16, 9, 9}, {24, 16, 1, 1}, {1, 1}, {0, 0}, {1, 1}, 1, true},
                                         {{2, 16, 9, 11}, {24, 16, 3, 3}, {2, 1}, {1, 1}, {1, 1}, 1, true},
                                         {{1, 8, 20, 20}, {16, 8, 7, 7}, {2, 2}, {3, 3}, {1, 1}, 1, false},
                                         {{2, 64, 14, 14}, {64, 64, 3, 3}, {1, 1}, {1, 1}, {1, 1}, 1, true},
                                         {{1, 24, 7, 7}, {24, 1, 3, 3}, {1, 1}, {1, 1}, {1, 1}, 24, true},
                                         {{1, 32, 8, 8}, {32, 8, 3, 3}, {1, 1}, {1, 1}, {1, 1}, 4, true},
                                         {{2, 5, 6, 7}, {7, 5, 3, 3}, {1, 1}, {0, 0}, {1, 1}, 1, true},
                                         {{1, 16, 1, 1}, {8, 16, 1, 1}, {1, 1}, {0, 0}, {1, 1}, 1, true}})
    for (const char* act : {"none", "relu", "silu"})
      for (bool residual : {false, true}) cases.push_back(channels_last(d, v, act, residual));
  return cases;
});

}  // namespace
}  // namespace kpt
