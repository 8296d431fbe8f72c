// SPDX-License-Identifier: Apache-2.0
#include "kpt/kernels/pointwise/pointwise.h"

#include <gtest/gtest.h>

#include <cmath>

#include "kpt/kernels/conformance.h"
#include "kpt/kernels/lib/program/launch.h"
#include "kpt/kernels/lib/program/program.h"

namespace kpt {
namespace {

using conformance::Case;
using conformance::dense;
using conformance::expanded;
using conformance::make_case;
using conformance::padded;
using conformance::transposed;

Case unary(const std::string& op, DType d, const TensorDesc& x, const std::string& label, Kwargs kwargs = {}) {
  const bool to_bool = op == "aten.isnan" || op == "aten.isinf" || op == "aten.logical_not";
  return make_case(cat(label, d), op, {x}, {In{0}}, std::move(kwargs), {dense(to_bool ? DType::boolean : d, x.sizes)});
}

std::vector<Case> unary_cases(const std::string& op, DType d, const Kwargs& kwargs) {
  std::vector<Case> cases;
  for (const Dims& sizes : {Dims{}, Dims{0}, Dims{1}, Dims{3, 17}, Dims{5, 1000}})
    cases.push_back(unary(op, d, dense(d, sizes), cat("dense", sizes), kwargs));
  cases.push_back(unary(op, d, dense(d, {3, 30011}), "large", kwargs));
  cases.push_back(unary(op, d, transposed(d, {2, 40, 30}), "transposed", kwargs));
  cases.push_back(unary(op, d, padded(d, {9, 33}, 3), "padded", kwargs));
  cases.push_back(unary(op, d, dense(d, {64, 5}), "special", kwargs));
  cases.back().ranges = {{-3, 3, true}};
  // Periodic functions of a large argument and poles are not asked for more than their argument carries.
  const bool positive = op.find("log") != std::string::npos || op.find("sqrt") != std::string::npos;
  for (Case& c : cases) {
    if (c.ranges.empty()) c.ranges = {positive ? conformance::Range{0.01, 30} : conformance::Range{-6, 6}};
    c.scale = 1;
  }
  return cases;
}

bool add_unary(const std::string& op, Kwargs kwargs = {}) {
  return conformance::add(op, [=](DType d) { return unary_cases(op, d, kwargs); });
}

Dims broadcast(const Dims& a, const Dims& b) {
  Dims out = Dims::filled(std::max(a.rank(), b.rank()), 1);
  for (const Dims& d : {a, b})
    for (int i = 0; i < d.rank(); ++i)
      if (d[i] != 1) out[out.rank() - d.rank() + i] = d[i];
  return out;
}

Case binary(const std::string& op, DType result, const TensorDesc& a, const TensorDesc& b, const std::string& label,
            const Kwargs& kwargs) {
  Case c =
      make_case(cat(label, a.dtype), op, {a, b}, {In{0}, In{1}}, kwargs, {dense(result, broadcast(a.sizes, b.sizes))});
  c.ranges = {{-3, 3}, {0.5, 3}};
  return c;
}

std::vector<Case> binary_cases(const std::string& op, DType d, bool compares, const Kwargs& kwargs) {
  const DType r = compares ? DType::boolean : d;
  std::vector<Case> cases = {
      binary(op, r, dense(d, {7, 33}), dense(d, {7, 33}), "same", kwargs),
      binary(op, r, dense(d, {0, 3}), dense(d, {3}), "empty", kwargs),
      binary(op, r, dense(d, {}), dense(d, {}), "scalars", kwargs),
      binary(op, r, dense(d, {4, 300}), dense(d, {300}), "bias", kwargs),
      binary(op, r, dense(d, {64, 3, 17}), dense(d, {17}), "short_bias", kwargs),
      binary(op, r, dense(d, {4, 300}), dense(d, {4, 1}), "column", kwargs),
      binary(op, r, dense(d, {300}), dense(d, {4, 1}), "outer", kwargs),
      binary(op, r, dense(d, {2, 8, 49}), dense(d, {8, 1}), "channels", kwargs),
      binary(op, r, dense(d, {}), dense(d, {5, 5}), "scalar_left", kwargs),
      binary(op, r, transposed(d, {20, 70}), dense(d, {20, 70}), "transposed", kwargs),
      binary(op, r, expanded(d, {6, 11, 5}, 1), padded(d, {6, 11, 5}, 2), "expanded", kwargs),
      binary(op, r, dense(d, {1, 2, 1, 3, 1}), dense(d, {4, 1, 5, 1, 6}), "checker", kwargs),
      binary(op, r, dense(d, {2, 50000}), dense(d, {2, 1}), "large", kwargs),
      binary(op, r, dense(d, {40, 7}), dense(d, {40, 7}), "special", kwargs),
      make_case(cat("number", d), op, {dense(d, {3, 1000})}, {In{0}, Attr(1.5)}, kwargs, {dense(r, {3, 1000})}),
  };
  cases[13].ranges = {{-3, 3, true}, {-3, 3, true}};
  return cases;
}

bool add_binary(const std::string& op, bool compares = false, Kwargs kwargs = {}) {
  return conformance::add(op, [=](DType d) { return binary_cases(op, d, compares, kwargs); });
}

// Integers and bool do not depend on the float dtype in turn, so they run with f32 only.
bool add_integer(const std::string& op, DType in, DType out, Attr number) {
  return conformance::add(op, [=](DType d) -> std::vector<Case> {
    if (d != DType::f32) return {};
    const bool one = op.find("not") != std::string::npos;
    if (one) return {make_case(cat(in), op, {dense(in, {70, 9})}, {In{0}}, {}, {dense(out, {70, 9})})};
    Case both =
        make_case(cat("both", in), op, {dense(in, {70, 9}), dense(in, {9})}, {In{0}, In{1}}, {}, {dense(out, {70, 9})});
    Case with = make_case(cat("number", in), op, {dense(in, {70, 9})}, {In{0}, number}, {}, {dense(out, {70, 9})});
    both.ranges = with.ranges = {{-9, 9}, {0, 9}};
    return {both, with};
  });
}

const bool kRegistered = [] {
  for (const char* op : {"neg",   "abs",       "sign",        "exp",         "exp2",  "expm1", "log",        "log2",
                         "log1p", "sqrt",      "rsqrt",       "reciprocal",  "sin",   "cos",   "tanh",       "sigmoid",
                         "erf",   "floor",     "ceil",        "round",       "trunc", "relu",  "relu6",      "silu",
                         "mish",  "hardswish", "hardsigmoid", "log_sigmoid", "isnan", "isinf", "logical_not"})
    add_unary(cat("aten.", op));
  conformance::add("aten.tan", [](DType d) {
    std::vector<Case> cases = unary_cases("aten.tan", d, {});
    for (Case& c : cases) c.ranges = {{-1.4, 1.4}};
    return cases;
  });
  add_unary("aten.gelu", {{"approximate", "none"}});
  add_unary("aten.gelu", {{"approximate", "tanh"}});
  add_unary("aten.elu", {{"alpha", 1.5}, {"scale", 0.9}, {"input_scale", 0.8}});
  add_unary("aten.leaky_relu", {{"negative_slope", 0.1}});
  add_unary("aten.hardtanh", {{"min_val", -1.25}, {"max_val", 2}});
  add_unary("aten.softplus", {{"beta", 2}, {"threshold", 10}});
  add_unary("aten.clamp", {{"min", -0.5}, {"max", 1.5}});
  add_unary("aten.clamp", {{"min", None{}}, {"max", 0.25}});
  for (double e : {2.0, 0.5, -1.0, -0.5, 3.0, 1.7}) add_unary("aten.pow.Tensor_Scalar", {{"exponent", e}});
  for (const char* op :
       {"add.Tensor", "sub.Tensor", "mul.Tensor", "div.Tensor", "maximum", "minimum", "remainder.Tensor", "atan2"})
    add_binary(cat("aten.", op));
  add_binary("aten.pow.Tensor_Tensor");
  add_binary("aten.div.Tensor_mode", false, {{"rounding_mode", "floor"}});
  add_binary("aten.div.Tensor_mode", false, {{"rounding_mode", "trunc"}});
  for (const char* op : {"eq", "ne", "lt", "le", "gt", "ge"}) add_binary(cat("aten.", op, ".Tensor"), true);
  for (const char* op : {"logical_and", "logical_or", "logical_xor"}) add_binary(cat("aten.", op), true);
  for (DType d : {DType::i64, DType::i32, DType::u8}) {
    for (const char* op : {"add.Tensor", "sub.Tensor", "mul.Tensor", "maximum", "remainder.Tensor",
                           "bitwise_and.Tensor", "bitwise_or.Tensor", "bitwise_xor.Tensor"})
      add_integer(cat("aten.", op), d, d, Attr(3));
    for (const char* op : {"eq", "lt"}) add_integer(cat("aten.", op, ".Tensor"), d, DType::boolean, Attr(3));
    add_integer("aten.bitwise_not", d, d, Attr(3));
    add_integer("aten.div.Tensor", d, DType::f32, Attr(3));
  }
  for (const char* op : {"bitwise_and.Tensor", "bitwise_or.Tensor", "bitwise_not", "logical_and", "mul.Tensor"})
    add_integer(cat("aten.", op), DType::boolean, DType::boolean, Attr(true));
  return true;
}();

const bool kSelection = conformance::add("aten.where.self", [](DType d) {
  const TensorDesc mask = dense(DType::boolean, {4, 1, 300});
  std::vector<Case> cases = {
      make_case(cat("tensors", d), "aten.where.self", {mask, dense(d, {4, 5, 300}), dense(d, {300})},
                {In{0}, In{1}, In{2}}, {}, {dense(d, {4, 5, 300})}),
      make_case(cat("numbers", d), "aten.where.self", {mask}, {In{0}, Attr(1.0), Attr(-INFINITY)}, {},
                {dense(d, {4, 1, 300})}),
      make_case(cat("scalar_mask", d), "aten.where.self", {dense(DType::boolean, {}), dense(d, {9}), dense(d, {9})},
                {In{0}, In{1}, In{2}}, {}, {dense(d, {9})}),
  };
  return cases;
});
const bool kFill = conformance::add("aten.masked_fill.Scalar", [](DType d) {
  return std::vector<Case>{make_case(cat("fill", d), "aten.masked_fill.Scalar",
                                     {dense(d, {4, 5, 30}), dense(DType::boolean, {5, 1})}, {In{0}, In{1}},
                                     {{"value", -1e30}}, {dense(d, {4, 5, 30})})};
});
const bool kCopy = conformance::add("aten._to_copy", [](DType d) {
  std::vector<Case> cases;
  for (DType from : {DType::f32, DType::bf16, DType::f16, DType::i64, DType::i32, DType::u8, DType::boolean})
    cases.push_back(make_case(cat(from, "_to_", d), "aten._to_copy", {dense(from, {7, 130})}, {In{0}}, {{"dtype", d}},
                              {dense(d, {7, 130})}));
  cases.push_back(make_case(cat(d, "_to_i64"), "aten._to_copy", {dense(d, {500})}, {In{0}}, {{"dtype", DType::i64}},
                            {dense(DType::i64, {500})}));
  cases.push_back(make_case(cat(d, "_to_bool"), "aten._to_copy", {dense(d, {500})}, {In{0}},
                            {{"dtype", DType::boolean}}, {dense(DType::boolean, {500})}));
  return cases;
});

Case program(const std::string& text, std::vector<TensorDesc> inputs, std::vector<TensorDesc> outputs) {
  AttrList list;
  for (size_t i = 0; i < inputs.size(); ++i) list.push_back(In{static_cast<int>(i)});
  const std::string label = cat(text, outputs[0]);
  return make_case(label, "kpt.pointwise", std::move(inputs), {list}, {{"program", text}}, std::move(outputs));
}

const bool kPrograms = conformance::add("kpt.pointwise", [](DType d) {
  const TensorDesc x = dense(d, {6, 700});
  std::vector<Case> cases = {
      program("v0=add(i0,i1);v1=gelu_erf(v0);v2=mul(v1,0.5);out v2", {x, dense(d, {700})}, {x}),
      program("a=add(i0,i1);b=sigmoid(a);c=mul(a,b);d=lt(c,0.25);out c,d", {x, x},
              {x, dense(DType::boolean, {6, 700})}),
      program("a=eq(i0,0);b=masked_fill(i1,a,-inf);out b", {dense(DType::i64, {4, 1, 1, 9}), dense(d, {4, 2, 9, 9})},
              {dense(d, {4, 2, 9, 9})}),
      program("a=to_f32(i0);b=mul(a,a);c=to_bf16(b);out c,i0", {x}, {dense(DType::bf16, {6, 700}), x}),
      program("a=swiglu(i0,i1);b=clamp(a,none,1.5);c=where(i2,b,0.0);out c",
              {dense(d, {80, 3, 9}), padded(d, {80, 3, 9}, 4), dense(DType::boolean, {9})}, {dense(d, {80, 3, 9})}),
      program("a=leaky_relu(i0,0.2);b=elu(a,1.5,2.0,0.5);c=softplus(b,2,5);out c", {transposed(d, {33, 65})},
              {dense(d, {33, 65})}),
      program("a=mul(2,3);out a", {x}, {x}),
      program("a=mul(i0,i0);b=add(a,i0);c=add(b,i0);e=mul(c,c);f=sub(e,a);g=add(f,b);h=mul(g,c);out h,b",
              {dense(d, {})}, {dense(d, {}), dense(d, {})}),
  };
  // Sizes of models; on a GPU: a bias along rows, channels whose rows do not fill a vector, several units a thread.
  for (int64_t width : {384, 768, 1000, 4096})
    cases.push_back(program("v0=add(i0,i1);v1=gelu_tanh(v0);out v1", {dense(d, {37, width}), dense(d, {width})},
                            {dense(d, {37, width})}));
  cases.push_back(program("a=mul(i0,i1);b=add(a,i2);out b",
                          {dense(d, {2, 24, 49}), dense(d, {24, 1}), padded(d, {2, 24, 49}, 1)},
                          {dense(d, {2, 24, 49})}));
  cases.push_back(program("a=add(i0,i1);b=relu(a);out b", {transposed(d, {3, 64, 40}), dense(d, {64, 40})},
                          {dense(d, {3, 64, 40})}));
  if (d == DType::f64) cases.push_back(program("a=neg(i0);out a", {dense(d, {1090, 1001})}, {dense(d, {1090, 1001})}));
  for (Case& c : cases) c.scale = 20;
  return cases;
});

std::vector<DType> inferred(const std::string& text, const std::vector<TensorDesc>& inputs) {
  Program p;
  const Verdict v = parse_program(text, static_cast<int>(inputs.size()), p);
  EXPECT_TRUE(v.ok) << v.reason;
  EXPECT_TRUE(infer(p, inputs).ok);
  std::vector<DType> types;
  for (const Step& s : p.steps) types.push_back(s.result);
  return types;
}

TEST(Pointwise, PromotesAsPyTorch) {
  const TensorDesc f = dense(DType::f32, {2}), b = dense(DType::bf16, {2}), i = dense(DType::i64, {2}),
                   n = dense(DType::i32, {2});
  const TensorDesc zero_f64 = dense(DType::f64, {}), zero_i64 = dense(DType::i64, {}), t = dense(DType::boolean, {2});
  using V = std::vector<DType>;
  EXPECT_EQ(inferred("a=add(i0,i1);out a", {f, b}), V{DType::f32});
  EXPECT_EQ(inferred("a=add(i0,1.5);out a", {b}), V{DType::bf16});
  EXPECT_EQ(inferred("a=add(i0,1.5);out a", {i}), V{DType::f32});
  EXPECT_EQ(inferred("a=add(i0,2);out a", {n}), V{DType::i32});
  EXPECT_EQ(inferred("a=mul(i0,i1);out a", {f, zero_f64}), V{DType::f32});
  EXPECT_EQ(inferred("a=mul(i0,i1);out a", {n, zero_i64}), V{DType::i32});
  EXPECT_EQ(inferred("a=mul(i0,i1);out a", {n, zero_f64}), V{DType::f64});
  EXPECT_EQ(inferred("a=div(i0,i0);out a", {i}), V{DType::f32});
  EXPECT_EQ(inferred("a=sqrt(i0);out a", {i}), V{DType::f32});
  EXPECT_EQ(inferred("a=lt(i0,1.5);b=to_bf16(a);out b", {i}), (V{DType::boolean, DType::bf16}));
  EXPECT_EQ(inferred("a=where(i0,1,0.5);out a", {t}), V{DType::f32});
  EXPECT_EQ(inferred("a=add(i0,i1);out a", {dense(DType::f16, {2}), b}), V{DType::f32});
  EXPECT_EQ(inferred("a=add(i0,i1);out a", {dense(DType::u8, {2}), dense(DType::i8, {2})}), V{DType::i16});
  EXPECT_EQ(inferred("a=clamp(i0,0.5,none);out a", {i}), V{DType::f32});
}

TEST(Pointwise, RefusesBadProgramsWithTheReason) {
  const auto reason = [](const std::string& text) {
    Program p;
    return parse_program(text, 2, p).reason;
  };
  EXPECT_EQ(reason("a=add(i0,i1)"), "program ends without `out`");
  EXPECT_EQ(reason("a=frob(i0);out a"), "program instruction `frob` is unknown");
  EXPECT_EQ(reason("a=add(i0);out a"), "got too few arguments in `a=add(i0)`");
  EXPECT_EQ(reason("a=neg(i0,i1);out a"), "got too many arguments in `a=neg(i0,i1)`");
  EXPECT_EQ(reason("a=neg(i2);out a"),
            "program argument `i2` is none of 2 inputs, an earlier name or a number in `a=neg(i2)`");
  EXPECT_EQ(reason("a=to_f31(i0);out a"), "program casts to unknown dtype `to_f31`");
  EXPECT_EQ(reason("out a;b=neg(i0)"), "program goes on after `out a`");
  EXPECT_EQ(reason("neg(i0);out i0"), "program statement `neg(i0)` is not name=op(args)");
  std::string many;
  for (int i = 0; i <= kMaxSteps; ++i) many += "a=neg(i0);";
  EXPECT_EQ(reason(many + "out a"), "program has more than 256 statements");
}

TEST(Pointwise, RefusesWhatItCannotDo) {
  Case c = program("a=row_sum(i0);out a", {dense(DType::f32, {3})}, {dense(DType::f32, {3})});
  EXPECT_EQ(program_supports(c.problem).reason, "row instruction outside kpt.row");
  c = program("a=remainder(i0,i1);out a", {dense(DType::i64, {3}), dense(DType::i64, {3})}, {dense(DType::i64, {3})});
  EXPECT_EQ(program_supports(c.problem).reason, "integer division by a divisor that may be 0");
  c = program("a=neg(i0);out a", {dense(DType::f32, {4})}, {dense(DType::f32, {3})});
  EXPECT_FALSE(program_supports(c.problem).ok);
  c = program("a=bitwise_and(i0,i0);out a", {dense(DType::f32, {3})}, {dense(DType::f32, {3})});
  EXPECT_EQ(program_supports(c.problem).reason, "bitwise_and of f32");
}

// Outputs over inputs: the first output is complete before a later statement reads the second input.
TEST(Pointwise, WorksInPlace) {
  Case c = program("a=add(i0,i1);b=mul(a,i0);out a,b", {dense(DType::f32, {5000}), dense(DType::f32, {5000})},
                   {dense(DType::f32, {5000}), dense(DType::f32, {5000})});
  std::vector<Tensor> inputs = conformance::make_inputs(c), want;
  ASSERT_EQ(conformance::run_reference(c.problem, inputs, want), "");
  const auto launch = program_make(c.problem);
  const Tensor workspace = Tensor::empty(DType::u8, {static_cast<int64_t>(launch->workspace_bytes())});
  const void* in[] = {inputs[0].data, inputs[1].data};
  void* out[] = {inputs[0].data, inputs[1].data};
  launch->run({in, out, workspace.data});
  const double allowed = conformance::tolerance(DType::f32, 1);
  EXPECT_EQ(conformance::compare(inputs[0], want[0], allowed, 0), "");
  EXPECT_EQ(conformance::compare(inputs[1], want[1], allowed, 0), "");
}

TEST(Pointwise, IntegersWrap) {
  Case c = program("a=mul(i0,i0);b=add(a,1);out a,b", {dense(DType::i32, {1})},
                   {dense(DType::i32, {1}), dense(DType::i64, {1})});
  const Tensor x = Tensor::from<int32_t>(DType::i32, {1}, {65537});
  std::vector<Tensor> got;
  Kernel k{"kpt.pointwise", "kpt", "cpu", "x", 0, program_supports, program_make};
  ASSERT_EQ(conformance::run_kernel(k, c.problem, {x}, got), "");
  EXPECT_EQ(got[0].at(0), 131073);  // 65537^2 mod 2^32
  EXPECT_EQ(got[1].at(0), 131074);
}

}  // namespace
}  // namespace kpt
