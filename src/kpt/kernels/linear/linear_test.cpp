// SPDX-License-Identifier: Apache-2.0
#include "kpt/kernels/linear/linear.h"

#include "kpt/kernels/lib/cpu/isa.h"
#include "kpt/kernels/lib/cpu/test_util.h"

namespace kpt {
namespace {

using test::expect_close;
using test::random;

struct Case {
  Tensor x, w, b, residual;
  std::string act = "none";
  int threads = 2;
};

Problem problem_of(const Case& c, std::vector<Tensor>& inputs) {
  Problem p;
  p.op = "kpt.linear";
  for (const Tensor* t : {&c.x, &c.w, &c.b, &c.residual}) {
    if (t->desc.sizes.rank() == 0) {
      p.args.push_back(None{});
      continue;
    }
    p.args.push_back(In{static_cast<int>(inputs.size())});
    inputs.push_back(*t);
  }
  p.kwargs.emplace_back("act", c.act);
  p.inputs = test::descs(inputs);
  Dims sizes = c.x.desc.sizes;
  sizes[sizes.rank() - 1] = c.w.desc.sizes[0];
  p.outputs = {TensorDesc::contiguous(c.x.desc.dtype, sizes)};
  p.threads = c.threads;
  return p;
}

Tensor reference(const Problem& p, const std::vector<Tensor>& inputs) {
  const Problem wide = test::widened(p);
  GemmCall call;
  EXPECT_TRUE(linear_call(wide, call));
  return test::run(*make_gemm_reference(call), wide, test::widened(inputs))[0];
}

void check(const Case& c, const std::vector<Isa>& isas = isas_of_this_machine()) {
  std::vector<Tensor> inputs;
  const Problem p = problem_of(c, inputs);
  const Tensor want = reference(p, inputs);
  for (Isa isa : isas) {
    GemmCall call;
    const Verdict v = linear_call(p, call);
    ASSERT_TRUE(v) << v.reason;
    const auto launch = make_gemm(call, isa);
    const Tensor got = test::run(*launch, p, inputs)[0];
    expect_close(got, want, c.x.desc.sizes.back(), cat(p.str(), " ", launch->config()));
    if (testing::Test::HasFailure()) return;
  }
}

Case plain(DType dtype, int64_t m, int64_t n, int64_t k, unsigned seed, bool bias = true, bool residual = false) {
  Case c;
  c.x = random(dtype, {m, k}, seed);
  c.w = random(dtype, {n, k}, seed + 1);
  if (bias) c.b = random(dtype, {n}, seed + 2);
  if (residual) c.residual = random(dtype, {m, n}, seed + 3);
  return c;
}

TEST(Linear, SweepOfSmallSizesOnEveryInstructionSet) {
  std::mt19937 engine(7);
  const auto upto = [&](int n) { return static_cast<int64_t>(engine() % static_cast<unsigned>(n + 1)); };
  for (unsigned i = 0; i < 300 && !HasFailure(); ++i) {
    const DType dtype = i % 3 == 0 ? DType::bf16 : i % 7 == 0 ? DType::f16 : DType::f32;
    Case c = plain(dtype, upto(70), upto(40), upto(70), i, i % 2, i % 4 > 1);
    c.act = (const char*[]){"none", "gelu", "gelu_tanh", "silu", "relu", "tanh", "sigmoid"}[i % 7];
    check(c);
  }
}

TEST(Linear, EverySmallRowCountAndManyThreads) {
  for (int64_t m = 1; m <= 50 && !HasFailure(); ++m) {
    Case c = plain(DType::f32, m, 131, 77, static_cast<unsigned>(m), true, true);
    c.threads = 1 + static_cast<int>(m % 5);
    check(c);
  }
}

TEST(Linear, LargeSizesCutIntoManyTasks) {
  check(plain(DType::f32, 259, 300, 517, 1));
  check(plain(DType::bf16, 131, 129, 515, 2, true, true));
  check(plain(DType::f32, 3, 515, 1111, 3));
}

TEST(Linear, LeadingAxesOfAnyStride) {
  Case c;
  c.x = random(DType::f32, {3, 4, 5, 33}, 1, {2, 0, 1, 3}, 3);  // permuted and padded
  c.w = random(DType::f32, {17, 33}, 2, {1, 0});                // transposed weight
  c.residual = random(DType::f32, {3, 4, 5, 17}, 3, {0, 3, 2, 1});
  check(c);
  c.w = random(DType::f32, {17, 33}, 2, {0, 1}, 5);
  c.x = random(DType::f32, {3, 4, 5, 33}, 1, {3, 0, 1, 2});  // k outermost
  c.residual = random(DType::f32, {3, 4, 5, 17}, 3, {0, 1, 2, 3}, 1);
  check(c);
  c.x = random(DType::bf16, {2, 30, 33}, 1, {1, 0, 2});
  c.w = random(DType::bf16, {17, 33}, 2, {1, 0});
  c.residual = random(DType::bf16, {2, 30, 17}, 3);
  check(c);
  c = {};
  c.x = random(DType::f32, {9}, 5);
  c.w = random(DType::f32, {1, 9}, 6);
  check(c);
}

TEST(Linear, NanAndInfReachExactlyTheirRowsAndColumns) {
  for (int64_t m : {2, 40}) {
    Case c = plain(DType::f32, m, 37, 50, 9);
    c.x.set(0 * 50 + 3, test::kNaN);  // row 0 is NaN
    c.x.set(1 * 50 + 4, test::kInf);  // row 1: inf by the sign of the weight
    c.w.set(5 * 50 + 7, test::kNaN);  // column 5 is NaN
    c.w.set(6 * 50 + 8, -test::kInf);
    for (const char* act : {"none", "relu", "gelu_tanh"}) {
      c.act = act;
      check(c);
    }
  }
}

TEST(Linear, ZeroLengthSumsAreTheBias) {
  Case c = plain(DType::f32, 20, 7, 0, 3, true, true);
  check(c);
  check(plain(DType::f32, 20, 7, 0, 3, false));
}

TEST(Linear, ReasonsForNo) {
  const auto reason = [](Case c, auto change) {
    std::vector<Tensor> inputs;
    Problem p = problem_of(c, inputs);
    change(p);
    GemmCall call;
    const Verdict v = linear_call(p, call);
    return v ? gemm_supports(call).reason : v.reason;
  };
  const Case c = plain(DType::f32, 2, 3, 4, 1);
  EXPECT_EQ(reason(c, [](Problem& p) { p.inputs[1].dtype = DType::bf16; }),
            "got bf16 beside f32, want one type for all tensors");
  EXPECT_EQ(reason(c, [](Problem& p) { p.inputs[1].sizes = {3, 5}; }), "got K 4 in x and 5 in w");
  EXPECT_EQ(reason(c, [](Problem& p) { p.inputs[2].strides = {2}; }), "bias has stride 2, want 1");
  EXPECT_EQ(reason(c, [](Problem& p) { p.outputs[0].strides = {1, 2}; }), "output is not row-major");
  EXPECT_EQ(reason(c, [](Problem& p) { p.kwargs[0].second = "gelu2"; }),
            "got act \"gelu2\", want none, gelu, gelu_tanh, silu, relu, tanh or sigmoid");
  EXPECT_EQ(reason(plain(DType::f64, 2, 3, 4, 1), [](Problem&) {}),
            "got f64, want f32, bf16 or f16: the product is summed in f32");
}

// The large case must not be slower because a unit was left out: units cover each output once, so the tasks' panels and
// blocks add up to the whole for any thread count.
TEST(Linear, PlanCoversEachRowAndLaneOnce) {
  for (int64_t m : {1, 9, 15, 16, 17, 48, 64, 65, 1000})
    for (int64_t n : {1, 31, 384, 1000})
      for (int threads : {1, 2, 7}) {
        GemmProblem p;
        p.m = m, p.n = n, p.k = 384, p.x_m = p.w_n = 384, p.y_m = n, p.threads = threads;
        const GemmPlan plan = plan_gemm(p, Isa::generic);
        EXPECT_EQ(plan.units, plan.panels * plan.row_blocks);
        EXPECT_GE(plan.tasks * plan.units_per_task, plan.units);
        EXPECT_LT((plan.tasks - 1) * plan.units_per_task, plan.units);
        EXPECT_GE(plan.row_blocks * plan.row_block, plan.rows);
        EXPECT_LT((plan.row_blocks - 1) * plan.row_block, plan.rows);
        const int64_t vectors = plan.wide * plan.max_v + (plan.panels - plan.wide) * (plan.max_v - 1);
        EXPECT_EQ(vectors, (plan.lanes + 3) / 4) << m << " " << n;
      }
}

}  // namespace
}  // namespace kpt
