// SPDX-License-Identifier: Apache-2.0
#include "kpt/kernels/matmul/matmul.h"

#include "kpt/kernels/lib/cpu/isa.h"
#include "kpt/kernels/lib/cpu/test_util.h"

namespace kpt {
namespace {

using test::random;

Problem problem_of(const std::string& op, const std::vector<Tensor>& inputs, const Dims& out, Kwargs kwargs = {}) {
  Problem p;
  p.op = op;
  p.inputs = test::descs(inputs);
  for (size_t i = 0; i < inputs.size(); ++i) p.args.push_back(In{static_cast<int>(i)});
  p.kwargs = std::move(kwargs);
  p.outputs = {TensorDesc::contiguous(inputs[0].desc.dtype, out)};
  p.threads = 2;
  return p;
}

void check(const std::string& op, const std::vector<Tensor>& inputs, const Dims& out, Kwargs kwargs = {}) {
  const Problem p = problem_of(op, inputs, out, std::move(kwargs));
  const Problem wide = test::widened(p);
  GemmCall call;
  ASSERT_TRUE(matmul_call(wide, call)) << p.str();
  const Tensor want = test::run(*make_gemm_reference(call), wide, test::widened(inputs))[0];
  for (Isa isa : isas_of_this_machine()) {
    GemmCall own;
    const Verdict v = matmul_call(p, own);
    ASSERT_TRUE(v) << v.reason;
    const auto launch = make_gemm(own, isa);
    test::expect_close(test::run(*launch, p, inputs)[0], want, own.product.k, cat(p.str(), " ", launch->config()));
    if (testing::Test::HasFailure()) return;
  }
}

TEST(Matmul, HandComputed) {
  Tensor a = Tensor::from<float>(DType::f32, {2, 2}, {1, 2, 3, 4}), b = Tensor::from<float>(DType::f32, {2, 1}, {5, 6});
  const Problem p = problem_of("aten.mm", {a, b}, {2, 1});
  GemmCall call;
  ASSERT_TRUE(matmul_call(p, call));
  for (const auto& launch : {make_gemm(call), make_gemm_reference(call)}) {
    const Tensor y = test::run(*launch, p, {a, b})[0];
    EXPECT_EQ(y.at(0), 17);
    EXPECT_EQ(y.at(1), 39);
  }
}

TEST(Matmul, EveryOrderOfBothOperandsInMemory) {
  std::mt19937 engine(3);
  const auto upto = [&](int n) { return static_cast<int64_t>(engine() % static_cast<unsigned>(n + 1)); };
  for (unsigned i = 0; i < 200 && !HasFailure(); ++i) {
    const DType dtype = i % 3 == 1 ? DType::bf16 : DType::f32;
    const int64_t m = upto(70), n = upto(70), k = upto(40);
    const Tensor a =
        random(dtype, {m, k}, i, i & 1 ? std::vector<int>{1, 0} : std::vector<int>{0, 1}, i % 5 == 0 ? 2 : 0);
    const Tensor b =
        random(dtype, {k, n}, i + 1, i & 2 ? std::vector<int>{1, 0} : std::vector<int>{0, 1}, i % 7 == 0 ? 3 : 0);
    check("aten.mm", {a, b}, {m, n});
  }
}

TEST(Matmul, BatchesBroadcastAndFold) {
  check("aten.matmul", {random(DType::f32, {2, 3, 5, 7}, 1), random(DType::f32, {7, 4}, 2)}, {2, 3, 5, 4});
  check("aten.matmul", {random(DType::f32, {2, 1, 5, 7}, 1), random(DType::f32, {3, 7, 4}, 2)}, {2, 3, 5, 4});
  check("aten.matmul", {random(DType::f32, {5, 7}, 1), random(DType::f32, {2, 3, 7, 4}, 2)}, {2, 3, 5, 4});
  check("aten.matmul",
        {random(DType::f32, {2, 5, 3, 7}, 1, {0, 2, 1, 3}), random(DType::f32, {2, 5, 7, 20}, 2, {1, 0, 3, 2})},
        {2, 5, 3, 20});
  check("aten.matmul", {random(DType::f32, {2, 0, 5, 7}, 1), random(DType::f32, {2, 1, 7, 4}, 2)}, {2, 0, 5, 4});
  check("aten.bmm", {random(DType::bf16, {40, 17, 33}, 1), random(DType::bf16, {40, 33, 19}, 2)}, {40, 17, 19});
  check("aten.bmm", {random(DType::f32, {300, 1, 8}, 1), random(DType::f32, {300, 8, 3}, 2)}, {300, 1, 3});
}

TEST(Matmul, VectorsAreRowsOnTheLeftAndColumnsOnTheRight) {
  check("aten.matmul", {random(DType::f32, {7}, 1), random(DType::f32, {7}, 2)}, {});
  check("aten.matmul", {random(DType::f32, {7}, 1), random(DType::f32, {3, 7, 4}, 2)}, {3, 4});
  check("aten.matmul", {random(DType::f32, {3, 60, 7}, 1), random(DType::f32, {7}, 2)}, {3, 60});
}

TEST(Matmul, AddmmScalesAndBroadcastsTheInput) {
  const Tensor a = random(DType::f32, {50, 30}, 1), b = random(DType::f32, {30, 65}, 2);
  for (const Dims& sizes : {Dims{65}, Dims{50, 65}, Dims{50, 1}, Dims{1, 1}, Dims{}})
    for (double beta : {1.0, 0.5, 0.0})
      check("aten.addmm", {random(DType::f32, sizes, 3), a, b}, {50, 65},
            {{"beta", beta}, {"alpha", beta == 0.5 ? -2.0 : 1.0}});
  check(
      "aten.baddbmm",
      {random(DType::f32, {4, 1, 9}, 3), random(DType::f32, {4, 6, 7}, 4), random(DType::f32, {4, 7, 9}, 5, {0, 2, 1})},
      {4, 6, 9}, {{"beta", 2.0}, {"alpha", 0.25}});
  check("aten.baddbmm",
        {random(DType::f32, {9}, 3), random(DType::f32, {4, 6, 7}, 4), random(DType::f32, {4, 7, 9}, 5)}, {4, 6, 9});
}

TEST(Matmul, BetaZeroDropsNanOfTheInput) {
  Tensor input = random(DType::f32, {3, 5}, 1);
  input.set(4, test::kNaN);
  const std::vector<Tensor> in = {input, random(DType::f32, {3, 4}, 2), random(DType::f32, {4, 5}, 3)};
  const Problem p = problem_of("aten.addmm", in, {3, 5}, {{"beta", 0}, {"alpha", 1}});
  GemmCall call;
  ASSERT_TRUE(matmul_call(p, call));
  const Tensor y = test::run(*make_gemm(call), p, in)[0];
  EXPECT_TRUE(std::isfinite(y.at(4)));
}

TEST(Matmul, ReasonsForNo) {
  const auto reason = [](const std::string& op, const Dims& a, const Dims& b, const Dims& out) {
    GemmCall call;
    return matmul_call(problem_of(op, {random(DType::f32, a, 1), random(DType::f32, b, 2)}, out), call).reason;
  };
  EXPECT_EQ(reason("aten.mm", {2, 3}, {4, 5}, {2, 5}), "got K 3 on the left and 4 on the right");
  EXPECT_EQ(reason("aten.mm", {2, 2, 3}, {3, 5}, {2, 2, 5}), "got ranks 3 and 2, want 2");
  EXPECT_EQ(reason("aten.bmm", {2, 2, 3}, {1, 3, 5}, {2, 2, 5}), "got batches of 2 and 1");
  EXPECT_EQ(reason("aten.matmul", {2, 2, 3}, {3, 3, 5}, {2, 2, 5}),
            "batch axes [2, 2, 3] and [3, 3, 5] do not broadcast");
  EXPECT_EQ(reason("aten.mm", {2, 3}, {3, 5}, {5, 2}), "got output [5, 2], want [2, 5]");
}

}  // namespace
}  // namespace kpt
