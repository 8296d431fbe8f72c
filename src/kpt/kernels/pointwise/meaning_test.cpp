// SPDX-License-Identifier: Apache-2.0
// What every operator and instruction means, against PyTorch 2.11 in f64 (values printed to 17 digits): the conformance
// suite cannot see a fault in the table from operators to instructions, since kernel and reference share it.
#include <gtest/gtest.h>

#include <cmath>
#include <set>

#include "kpt/kernels/conformance.h"
#include "kpt/kernels/lib/program/program.h"

namespace kpt {
namespace {

struct Meaning {
  const char* op;
  AttrList args;
  Kwargs kwargs;
  DType result;
  double first, second;
};

// Inputs 0, 1: f64 {0.7, -1.3}, {-0.4, 2}; 2: {true, false}; 3, 4: i64 {6, -7}, {3, 10}.
const std::vector<Meaning>& meanings() {
  static const std::vector<Meaning> all = {
      {"aten.add.Tensor", {In{0}, In{1}}, {}, DType::f64, 0.29999999999999993, 0.7},
      {"aten.sub.Tensor", {In{0}, In{1}}, {}, DType::f64, 1.1, -3.3},
      {"aten.mul.Tensor", {In{0}, In{1}}, {}, DType::f64, -0.27999999999999997, -2.6},
      {"aten.div.Tensor", {In{0}, In{1}}, {}, DType::f64, -1.7499999999999998, -0.65},
      {"aten.div.Tensor_mode", {In{0}, In{1}}, {{"rounding_mode", "floor"}}, DType::f64, -2, -1},
      {"aten.div.Tensor_mode", {In{0}, In{1}}, {{"rounding_mode", "trunc"}}, DType::f64, -1, 0},
      {"aten.pow.Tensor_Scalar", {In{0}}, {{"exponent", 3}}, DType::f64, 0.3429999999999999, -2.1970000000000005},
      {"aten.pow.Tensor_Tensor", {In{0}, In{1}}, {}, DType::f64, 1.1533491077818532, 1.6900000000000002},
      {"aten.maximum", {In{0}, In{1}}, {}, DType::f64, 0.7, 2},
      {"aten.minimum", {In{0}, In{1}}, {}, DType::f64, -0.4, -1.3},
      {"aten.remainder.Tensor", {In{0}, In{1}}, {}, DType::f64, -0.10000000000000009, 0.7},
      {"aten.atan2", {In{0}, In{1}}, {}, DType::f64, 2.0899424410414196, -0.5763752205911837},
      {"aten.neg", {In{0}}, {}, DType::f64, -0.7, 1.3},
      {"aten.abs", {In{0}}, {}, DType::f64, 0.7, 1.3},
      {"aten.sign", {In{0}}, {}, DType::f64, 1, -1},
      {"aten.exp", {In{0}}, {}, DType::f64, 2.0137527074704766, 0.2725317930340126},
      {"aten.exp2", {In{0}}, {}, DType::f64, 1.624504792712471, 0.40612619817811774},
      {"aten.expm1", {In{0}}, {}, DType::f64, 1.0137527074704764, -0.7274682069659875},
      {"aten.log", {In{0}}, {}, DType::f64, -0.35667494393873245, NAN},
      {"aten.log2", {In{0}}, {}, DType::f64, -0.5145731728297583, NAN},
      {"aten.log1p", {In{0}}, {}, DType::f64, 0.5306282510621704, NAN},
      {"aten.sqrt", {In{0}}, {}, DType::f64, 0.8366600265340756, NAN},
      {"aten.rsqrt", {In{0}}, {}, DType::f64, 1.1952286093343936, NAN},
      {"aten.reciprocal", {In{0}}, {}, DType::f64, 1.4285714285714286, -0.7692307692307692},
      {"aten.sin", {In{0}}, {}, DType::f64, 0.644217687237691, -0.963558185417193},
      {"aten.cos", {In{0}}, {}, DType::f64, 0.7648421872844885, 0.26749882862458735},
      {"aten.tan", {In{0}}, {}, DType::f64, 0.8422883804630794, -3.6021024479679786},
      {"aten.tanh", {In{0}}, {}, DType::f64, 0.6043677771171635, -0.8617231593133063},
      {"aten.sigmoid", {In{0}}, {}, DType::f64, 0.6681877721681662, 0.2141650169574414},
      {"aten.erf", {In{0}}, {}, DType::f64, 0.6778011938374184, -0.9340079449406524},
      {"aten.floor", {In{0}}, {}, DType::f64, 0, -2},
      {"aten.ceil", {In{0}}, {}, DType::f64, 1, -1},
      {"aten.round", {In{0}}, {}, DType::f64, 1, -1},
      {"aten.trunc", {In{0}}, {}, DType::f64, 0, -1},
      {"aten.relu", {In{0}}, {}, DType::f64, 0.7, 0},
      {"aten.relu6", {In{0}}, {}, DType::f64, 0.7, 0},
      {"aten.gelu", {In{0}}, {{"approximate", "none"}}, DType::f64, 0.5306254434438489, -0.1258406299612934},
      {"aten.gelu", {In{0}}, {{"approximate", "tanh"}}, DType::f64, 0.5305701347051167, -0.1260709876826906},
      {"aten.silu", {In{0}}, {}, DType::f64, 0.46773144051771626, -0.2784145220446738},
      {"aten.mish", {In{0}}, {}, DType::f64, 0.5611483776438518, -0.3073824647494959},
      {"aten.elu",
       {In{0}},
       {{"alpha", 1.5}, {"scale", 0.9}, {"input_scale", 0.8}},
       DType::f64,
       0.63,
       -0.8728361793556468},
      {"aten.leaky_relu", {In{0}}, {{"negative_slope", 0.2}}, DType::f64, 0.7, -0.26},
      {"aten.hardtanh", {In{0}}, {{"min_val", -0.5}, {"max_val", 0.25}}, DType::f64, 0.25, -0.5},
      {"aten.hardswish", {In{0}}, {}, DType::f64, 0.43166666666666664, -0.36833333333333335},
      {"aten.hardsigmoid", {In{0}}, {}, DType::f64, 0.6166666666666667, 0.2833333333333333},
      {"aten.softplus", {In{0}}, {{"beta", 2}, {"threshold", 1}}, DType::f64, 0.7, 0.03582234598383491},
      {"aten.log_sigmoid", {In{0}}, {}, DType::f64, -0.4031860488854579, -1.5410084538329922},
      {"aten.clamp", {In{0}}, {{"min", -0.5}, {"max", 0.25}}, DType::f64, 0.25, -0.5},
      {"aten.eq.Tensor", {In{0}, In{1}}, {}, DType::boolean, 0, 0},
      {"aten.ne.Tensor", {In{0}, In{1}}, {}, DType::boolean, 1, 1},
      {"aten.lt.Tensor", {In{0}, In{1}}, {}, DType::boolean, 0, 1},
      {"aten.le.Tensor", {In{0}, In{1}}, {}, DType::boolean, 0, 1},
      {"aten.gt.Tensor", {In{0}, In{1}}, {}, DType::boolean, 1, 0},
      {"aten.ge.Tensor", {In{0}, In{1}}, {}, DType::boolean, 1, 0},
      {"aten.logical_and", {In{0}, Attr(0)}, {}, DType::boolean, 0, 0},
      {"aten.logical_or", {In{0}, Attr(0)}, {}, DType::boolean, 1, 1},
      {"aten.logical_xor", {In{0}, Attr(0)}, {}, DType::boolean, 1, 1},
      {"aten.logical_not", {In{0}}, {}, DType::boolean, 0, 0},
      {"aten.isnan", {In{0}}, {}, DType::boolean, 0, 0},
      {"aten.isinf", {In{0}}, {}, DType::boolean, 0, 0},
      {"aten.where.self", {In{2}, In{0}, In{1}}, {}, DType::f64, 0.7, 2},
      {"aten.masked_fill.Scalar", {In{0}, In{2}}, {{"value", 9.5}}, DType::f64, 9.5, -1.3},
      {"aten._to_copy", {In{0}}, {{"dtype", DType::f64}}, DType::f64, 0.7, -1.3},
      {"aten.bitwise_and.Tensor", {In{3}, In{4}}, {}, DType::i64, 2, 8},
      {"aten.bitwise_or.Tensor", {In{3}, In{4}}, {}, DType::i64, 7, -5},
      {"aten.bitwise_xor.Tensor", {In{3}, In{4}}, {}, DType::i64, 5, -13},
      {"aten.bitwise_not", {In{3}}, {}, DType::i64, -7, 6},
  };
  return all;
}

TEST(Meaning, EveryAtenOperatorGivesPyTorchsValues) {
  const std::vector<Tensor> inputs = {
      Tensor::from<double>(DType::f64, {2}, {0.7, -1.3}), Tensor::from<double>(DType::f64, {2}, {-0.4, 2}),
      Tensor::from<uint8_t>(DType::boolean, {2}, {1, 0}), Tensor::from<int64_t>(DType::i64, {2}, {6, -7}),
      Tensor::from<int64_t>(DType::i64, {2}, {3, 10})};
  std::vector<TensorDesc> descs;
  for (const Tensor& t : inputs) descs.push_back(t.desc);
  for (const Meaning& m : meanings()) {
    const conformance::Case c =
        conformance::make_case("", m.op, descs, m.args, m.kwargs, {conformance::dense(m.result, {2})});
    const Tensor want = Tensor::from<double>(DType::f64, {2}, {m.first, m.second});
    for (const auto& k : kernel_registry().find(m.op, "cpu")) {
      ASSERT_TRUE(k->supports(c.problem).ok) << m.op << ": " << k->supports(c.problem).reason;
      std::vector<Tensor> got;
      ASSERT_EQ(conformance::run_kernel(*k, c.problem, inputs, got), "");
      EXPECT_EQ(conformance::compare(got[0], want, conformance::tolerance(m.result, 1), 0), "")
          << m.op << " " << k->name;
    }
  }
}

TEST(Meaning, NoAtenOperatorIsForgotten) {
  std::set<std::string_view> with;
  for (const Meaning& m : meanings()) with.insert(m.op);
  for (std::string_view op : pointwise_aten_ops()) EXPECT_TRUE(with.count(op)) << op;
}

}  // namespace
}  // namespace kpt
