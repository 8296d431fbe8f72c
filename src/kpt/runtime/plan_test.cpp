// SPDX-License-Identifier: Apache-2.0
#include "kpt/runtime/plan.h"

#include <gtest/gtest.h>

#include <random>

#include "kpt/ir/text.h"
#include "kpt/runtime/instance.h"
#include "kpt/runtime/memory.h"

namespace kpt {
namespace {

Plan plan_of(const std::string& text, bool prologue = true) {
  PlanOptions options;
  options.prologue = prologue;
  return make_plan(parse(text), *backend_registry().find("null"), options);
}

const char* const kChain =
    "kpt.graph 1\nsym b in [1, 64] hint 4\ninput %x : f32[b, 256]\nweight %w \"w\" : f32[256, 256]\n"
    "%a = aten.relu(%x) : f32[b, 256]\n%c = aten.tanh(%a) : f32[b, 256]\n%d = aten.relu(%c) : f32[b, 256]\n"
    "%e = aten.tanh(%d) : f32[b, 256]\nreturn %e\n";

TEST(Plan, AChainNeedsTwoSlotsAndWritesItsOutputInPlace) {
  const Plan plan = plan_of(kChain);
  ASSERT_EQ(plan.steps.size(), 4u);
  EXPECT_EQ(plan.slots.size(), 2u);  // three inner values, two alive at a time; %e is the caller's memory
  EXPECT_EQ(plan.arena_bytes().eval({{"b", 4}}), 2 * 4 * 256 * 4);
  EXPECT_EQ(plan.no_reuse_bytes().eval({{"b", 4}}), 3 * 4 * 256 * 4);
  EXPECT_EQ(plan.buffers[static_cast<size_t>(plan.output_buffers[0])].kind, BufferKind::output);
}

TEST(Plan, AnInputReturnedAsItIsIsCopied) {
  const Plan plan = plan_of("kpt.graph 1\ninput %x : f32[3]\nreturn %x, %x\n");
  EXPECT_EQ(plan.steps.size(), 2u);
  EXPECT_NE(print(plan.graph).find("kpt.copy(%x)"), std::string::npos);
}

TEST(Plan, WeightsOnlyNodesRunOnce) {
  const char* text =
      "kpt.graph 1\nsym b in [1, 8] hint 2\ninput %x : f32[b, 4]\nweight %w \"w\" : f32[4, 4]\nweight %v \"v\" : "
      "f32[4, 4]\n"
      "%c = aten.cat([%w, %v], dim=0) : f32[8, 4]\n%y = aten.linear(%x, %c, none) : f32[b, 8]\nreturn %y\n";
  EXPECT_EQ(plan_of(text).prologue.size(), 1u);
  EXPECT_EQ(plan_of(text).steps.size(), 1u);
  EXPECT_EQ(plan_of(text, false).prologue.size(), 0u);
  EXPECT_EQ(plan_of(text, false).steps.size(), 2u);
}

TEST(Plan, StateIsWrittenWhereItLiesAndReturnedAsACopy) {
  const Plan plan = plan_of(
      "kpt.graph 1\ninput %x : f32[2, 1, 4]\ninput %i : i64[1]\nweight %c \"cache\" : f32[2, 9, 4]\n"
      "%n = kpt.write_(%c, %i, %x, dim=1) : f32[2, 9, 4]\n%y = aten.relu(%n) : f32[2, 9, 4]\nreturn %y, %n\n");
  ASSERT_EQ(plan.steps.size(), 3u);
  EXPECT_TRUE(plan.prologue.empty());
  const int state = plan.steps[0].inputs[0].buffer;
  EXPECT_EQ(plan.buffers[static_cast<size_t>(state)].kind, BufferKind::weight);
  EXPECT_EQ(plan.steps[0].outputs[0].buffer, state);
  EXPECT_EQ(plan.steps[1].inputs[0].buffer, state);
  EXPECT_EQ(plan.steps[2].node->op, "kpt.copy");
  EXPECT_EQ(plan.arena_bytes().value(), 0);
}

TEST(Plan, AWeightExpandedToTheBatchIsNoMatterForThePrologue) {
  const Plan plan = plan_of(
      "kpt.graph 1\nsym b in [1, 8] hint 2\ninput %x : f32[b, 4]\nweight %w \"w\" : f32[4]\n"
      "%e = aten.expand(%w, size=[b, 4], implicit=false) : f32[b, 4]\n"
      "%m = aten.mean.dim(%e, dim=[0], keepdim=false, dtype=none) : f32[4]\n%y = aten.mul.Tensor(%x, %m) : f32[b, "
      "4]\nreturn %y\n");
  EXPECT_TRUE(plan.prologue.empty());
  EXPECT_EQ(plan.steps.size(), 2u);
}

TEST(Plan, ASymbolThatNoInputBindsIsRefused) {
  EXPECT_THROW(
      plan_of("kpt.graph 1\nsym b in [1, 8] hint 2\ninput %x : f32[4]\n%y = aten.relu(%x) : f32[4]\nreturn %y\n"),
      Error);
}

TEST(Plan, AViewReturnedAsOutputIsCopiedOnlyWhenItDoesNotFillItsBuffer) {
  const Plan whole = plan_of(
      "kpt.graph 1\ninput %x : f32[2, 3]\n%a = aten.relu(%x) : f32[2, 3]\n"
      "%r = aten.reshape(%a, shape=[6]) : f32[6]\nreturn %r\n");
  EXPECT_EQ(whole.steps.size(), 1u);
  const Plan part = plan_of(
      "kpt.graph 1\ninput %x : f32[2, 3]\n%a = aten.relu(%x) : f32[2, 3]\n"
      "%r = aten.select.int(%a, dim=0, index=1) : f32[3]\nreturn %r\n");
  EXPECT_EQ(part.steps.size(), 2u);
}

// No two buffers that live at the same time share a slot, for random lifetimes and sizes; and a slot holds its members.
TEST(Memory, SharedSlotsNeverOverlapInTime) {
  std::mt19937 random(7);
  for (int round = 0; round < 500; ++round) {
    std::vector<BufferInfo> buffers(1 + random() % 40);
    for (auto& b : buffers) {
      b.first = static_cast<int>(random() % 30);
      b.last = b.first + static_cast<int>(random() % 6);
      b.bytes = Sym::symbol("b") * Sym(static_cast<int64_t>(1 + random() % 900));
      b.early = round % 2 && b.last < 15;
    }
    const SymEnv hints{{"b", 3}};
    const auto slots = assign_slots(buffers, hints);
    for (size_t i = 0; i < buffers.size(); ++i) {
      ASSERT_GE(slots[static_cast<size_t>(buffers[i].slot)].eval(hints), buffers[i].bytes.eval(hints));
      for (size_t j = 0; j < i; ++j) {
        ASSERT_TRUE(buffers[i].slot != buffers[j].slot || buffers[i].last < buffers[j].first ||
                    buffers[j].last < buffers[i].first);
        ASSERT_TRUE(buffers[i].slot != buffers[j].slot || buffers[i].early == buffers[j].early);
      }
    }
  }
}

TEST(Instance, OffsetsFollowTheSizesWithoutANewPlan) {
  const Plan plan = plan_of(kChain);
  const auto small = make_instance(plan, plan.steps, {{"b", 1}}, Effort::known);
  const auto large = make_instance(plan, plan.steps, {{"b", 64}}, Effort::known);
  EXPECT_EQ(small->arena_bytes, 2 * 1024);
  EXPECT_EQ(large->arena_bytes, 2 * 64 * 1024);
  EXPECT_EQ(large->outputs[0].sizes, (Dims{64, 256}));
}

// Layers of a model ask the same: one launch for all of them. An epsilon, a sign of zero or a stride makes another.
TEST(Instance, StepsThatAreTheSameProblemShareALaunch) {
  const Plan plan = plan_of(
      "kpt.graph 1\ninput %x : f32[4, 8]\nweight %w \"w\" : f32[8]\n"
      "%a = aten.layer_norm(%x, %w, none, normalized_shape=[8], eps=1e-05, cudnn_enable=false) : f32[4, 8]\n"
      "%b = aten.layer_norm(%a, %w, none, normalized_shape=[8], eps=1e-05, cudnn_enable=false) : f32[4, 8]\n"
      "%c = aten.layer_norm(%b, %w, none, normalized_shape=[8], eps=1.00000001e-05, cudnn_enable=false) : f32[4, 8]\n"
      "%d = aten.layer_norm(%c, none, none, normalized_shape=[8], eps=1e-05, cudnn_enable=false) : f32[4, 8]\n"
      "return %d\n");
  const auto made = make_instance(plan, plan.steps, {}, Effort::known);
  ASSERT_EQ(made->steps.size(), 4u);
  EXPECT_EQ(made->steps[0].launch, made->steps[1].launch);
  EXPECT_NE(made->steps[1].launch, made->steps[2].launch);
  EXPECT_NE(made->steps[2].launch, made->steps[3].launch);
}

TEST(Problem, IsTheSameToTheBit) {
  Problem p;
  p.op = "aten.full";
  p.inputs = {TensorDesc::contiguous(DType::f32, {2, 3})};
  p.args = {In{0}, 0.0, AttrList{1.0, None{}}};
  p.kwargs = {{"a", Attr(true)}};
  const auto differs = [&](const auto& change) {
    Problem q = p;
    change(q);
    return !p.same(q) && !q.same(p);
  };
  EXPECT_TRUE(p.same(Problem(p)));
  EXPECT_TRUE(differs([](Problem& q) { q.args[1] = -0.0; }));
  EXPECT_TRUE(differs([](Problem& q) { q.args[2] = AttrList{-1.0, None{}}; }));
  EXPECT_TRUE(differs([](Problem& q) { q.args.push_back(None{}); }));
  EXPECT_TRUE(differs([](Problem& q) { q.inputs[0].strides = {1, 2}; }));
  EXPECT_TRUE(differs([](Problem& q) { q.inputs[0].dtype = DType::i32; }));
  EXPECT_TRUE(differs([](Problem& q) { q.outputs.push_back(q.inputs[0]); }));
  EXPECT_TRUE(differs([](Problem& q) { q.kwargs[0].first = "b"; }));
  EXPECT_TRUE(differs([](Problem& q) { q.lasting = 1; }));
  EXPECT_TRUE(differs([](Problem& q) { q.threads = 2; }));
  EXPECT_TRUE(differs([](Problem& q) { q.gpu.arch = 90; }));
}

}  // namespace
}  // namespace kpt
