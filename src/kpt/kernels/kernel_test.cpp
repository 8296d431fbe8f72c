// SPDX-License-Identifier: Apache-2.0
#include "kpt/kernels/kernel.h"

#include <gtest/gtest.h>

namespace kpt {
namespace {

class NoWork : public Launch {
  void run(const RunArgs&) const override {}
};

Kernel kernel(const std::string& op, const std::string& provider, const std::string& name, int priority = 0) {
  return {op,
          provider,
          "cpu",
          name,
          priority,
          [](const Problem&) { return yes(); },
          [](const Problem&) { return std::make_unique<NoWork>(); }};
}

std::string names(const KernelRegistry& registry, const std::string& op, const std::string& device = "cpu") {
  std::string all;
  for (const auto& k : registry.find(op, device)) all += (all.empty() ? "" : " ") + k->name;
  return all;
}

TEST(KernelRegistry, OrdersByProviderThenPriorityThenName) {
  KernelRegistry r;
  for (const Kernel& k : {kernel("a", "reference", "r"), kernel("*", "aten", "any", 9), kernel("a", "vendor", "v"),
                          kernel("a", "kpt", "z", 1), kernel("a", "kpt", "y"), kernel("a", "kpt", "x"),
                          kernel("a", "codegen", "c"), kernel("b", "kpt", "other")})
    r.add(k);
  EXPECT_EQ(names(r, "a"), "z x y c v any r");
  EXPECT_EQ(names(r, "unknown"), "any");
  EXPECT_EQ(names(r, "a", "cuda"), "");
  EXPECT_EQ(r.all().size(), 8u);
}

TEST(KernelRegistry, RefusesDoublesUnknownProvidersAndEmptyKernels) {
  KernelRegistry r;
  r.add(kernel("a", "kpt", "x"));
  r.add(kernel("b", "kpt", "x"));
  r.add(kernel("a", "reference", "x"));
  EXPECT_THROW(r.add(kernel("a", "kpt", "x")), Error);
  EXPECT_THROW(r.add(kernel("a", "somebody", "y")), Error);
  EXPECT_THROW(r.add({"a", "kpt", "cpu", "y", 0, nullptr, nullptr}), Error);
  EXPECT_EQ(r.all().size(), 3u);
}

TEST(KernelRegistry, RemovedKernelsAreNotFoundButStayUsable) {
  KernelRegistry r;
  r.add(kernel("a", "kpt", "x"));
  const auto held = r.find("a", "cpu")[0];
  r.remove("a", "x");
  EXPECT_EQ(names(r, "a"), "");
  EXPECT_TRUE(held->supports({}).ok);
  r.add(kernel("a", "kpt", "x"));
  EXPECT_EQ(names(r, "a"), "x");
}

TEST(KernelRegistry, TheProcessHasOneWithAReferenceForEveryKernel) {
  KernelRegistry& all = kernel_registry();
  EXPECT_EQ(&all, &kernel_registry());
  EXPECT_GT(all.all().size(), 100u);
  for (const auto& k : all.all()) {
    if (k->provider != "kpt") continue;
    EXPECT_EQ(all.find(k->op, "cpu").back()->provider, "reference") << k->op;
  }
}

TEST(Problem, OperandsAndText) {
  Problem p;
  p.op = "aten.cat";
  p.inputs = {TensorDesc::contiguous(DType::f32, {2}), {DType::bf16, {2, 3}, {1, 2}}};
  p.outputs = {TensorDesc::contiguous(DType::f32, {4})};
  p.args = {In{1}, AttrList{In{0}, None{}, In{1}}, 1.5, None{}};
  p.kwargs = {{"dim", 0}, {"mode", "tanh"}, {"dtype", DType::i64}, {"flag", true}};
  EXPECT_EQ(p.operand_index(0), 1);
  EXPECT_EQ(p.operand(0), &p.inputs[1]);
  for (int absent : {-1, 1, 2, 3, 4}) {
    EXPECT_EQ(p.operand_index(absent), -1);
    EXPECT_EQ(p.operand(absent), nullptr);
  }
  EXPECT_EQ(p.operand_list(1), (std::vector<int>{0, -1, 1}));
  EXPECT_TRUE(p.operand_list(0).empty());
  EXPECT_EQ(p.str(),
            "aten.cat(%1, [%0, none, %1], 1.5, none, dim=0, mode=\"tanh\", dtype=i64, flag=true) : "
            "f32[2] bf16[2, 3] strides [1, 2] -> f32[4]");
  p.args = {In{2}};
  EXPECT_THROW(p.operand(0), Error);
}

}  // namespace
}  // namespace kpt
