// SPDX-License-Identifier: Apache-2.0
#include "kpt/engine/engine.h"

#include <gtest/gtest.h>

#include <atomic>
#include <cstring>
#include <nlohmann/json.hpp>
#include <random>
#include <thread>

#include "kpt/ir/text.h"

namespace kpt {
namespace {

Tensor random_tensor(DType dtype, const Dims& sizes, uint64_t seed) {
  std::mt19937_64 random(seed);
  std::normal_distribution<double> normal;
  Tensor t = Tensor::empty(dtype, sizes);
  for (int64_t i = 0; i < sizes.numel(); ++i)
    t.set(i, is_float(dtype) ? normal(random) : static_cast<double>(random() % 7));
  return t;
}

// A weight source whose tensors can be edited and whose versions tell of it.
class Editable final : public WeightSource {
 public:
  explicit Editable(std::map<std::string, Tensor> tensors) {
    for (auto& [n, t] : tensors) {
      names.push_back(n);
      held.push_back(t);
      versions.push_back(0);
    }
  }
  size_t size() const override { return names.size(); }
  const std::string& fqn(size_t i) const override { return names[i]; }
  Tensor tensor(size_t i) const override { return held[i]; }
  uint64_t version(size_t i) const override { return versions[i]; }
  std::vector<std::string> names;
  std::vector<Tensor> held;
  std::vector<uint64_t> versions;
};

const char* const kMlp =
    "kpt.graph 1\nsym b in [1, 64] hint 4\ninput %x : f32[b, 16]\n"
    "weight %wq \"q.weight\" : f32[16, 16]\nweight %wk \"k.weight\" : f32[16, 16]\nweight %wv \"v.weight\" : f32[16, "
    "16]\n"
    "%q = aten.linear(%x, %wq, none) : f32[b, 16]\n%k = aten.linear(%x, %wk, none) : f32[b, 16]\n"
    "%v = aten.linear(%x, %wv, none) : f32[b, 16]\n%a = aten.mul.Tensor(%q, %k) : f32[b, 16]\n"
    "%c = aten.add.Tensor(%a, %v, alpha=1) : f32[b, 16]\nreturn %c\n";

std::shared_ptr<Editable> mlp_weights() {
  return std::make_shared<Editable>(
      std::map<std::string, Tensor>{{"q.weight", random_tensor(DType::f32, {16, 16}, 1)},
                                    {"k.weight", random_tensor(DType::f32, {16, 16}, 2)},
                                    {"v.weight", random_tensor(DType::f32, {16, 16}, 3)}});
}

CompileOptions plain() {
  CompileOptions o;
  o.rewrite = false;
  o.providers = {"reference"};
  return o;
}

double worst(const Tensor& a, const Tensor& b) {
  double w = 0;
  for (int64_t i = 0; i < a.desc.numel(); ++i) w = std::max(w, std::abs(a.at(i) - b.at(i)));
  return w;
}

TEST(Engine, OptimisedAgreesWithThePlainInterpreterAtManySizes) {
  auto weights = mlp_weights();
  auto fast = Model::compile(parse(kMlp), weights, {});
  auto slow = Model::compile(parse(kMlp), weights, plain());
  for (int64_t b : {1, 2, 3, 7, 16, 63, 64}) {
    const Tensor x = random_tensor(DType::f32, {b, 16}, static_cast<uint64_t>(b));
    EXPECT_LT(worst(fast->run({x})[0], slow->run({x})[0]), 2e-4) << b;  // values up to ~60: 16 eps of f32
  }
  EXPECT_EQ(fast->counters()["shapes_planned"], 8);  // these seven, and b = 4 (the hint) at compile
}

TEST(Engine, ASecondCallAtTheSameSizesPlansNothing) {
  auto model = Model::compile(parse(kMlp), mlp_weights(), {});
  const Tensor x = random_tensor(DType::f32, {5, 16}, 1);
  model->run({x});
  const auto before = model->counters();
  model->run({x});
  auto after = model->counters();
  EXPECT_EQ(after["shapes_planned"], before.at("shapes_planned"));
  EXPECT_EQ(after["arena_allocations"], before.at("arena_allocations"));
  EXPECT_EQ(after["frames"], 1);
}

TEST(Engine, AWeightEditedInPlaceIsSeenAlsoThroughMergedWeights) {
  auto weights = mlp_weights();
  auto fast = Model::compile(parse(kMlp), weights, {});
  const Tensor x = random_tensor(DType::f32, {4, 16}, 9);
  const Tensor before = fast->run({x})[0];
  for (size_t i = 0; i < 3; ++i) {
    for (int64_t e = 0; e < 256; ++e) weights->held[i].set(e, weights->held[i].at(e) * 2);
    weights->versions[i]++;
  }
  auto slow = Model::compile(parse(kMlp), weights, plain());
  const Tensor after = fast->run({x})[0];
  EXPECT_GT(worst(before, after), 1.0);
  EXPECT_LT(worst(after, slow->run({x})[0]), 1e-3);
}

// Three weights in one piece of memory, in this order or another.
std::shared_ptr<Editable> in_a_row(std::vector<int> order) {
  auto weights = mlp_weights();  // by name: k, q, v
  auto whole = std::make_shared<std::vector<float>>(3 * 256);
  for (size_t i = 0; i < 3; ++i) {
    const Tensor old = weights->held[i];
    Tensor& w = weights->held[i];
    w.data = whole->data() + 256 * order[i];
    w.owner = whole;
    for (int64_t e = 0; e < 256; ++e) w.set(e, old.at(e));
  }
  return weights;
}

bool no_copies(const Model& model) { return model.report().find("\"derived_bytes\":0,") != std::string::npos; }

TEST(Engine, WeightsThatLieInARowAreMergedWhereTheyAre) {
  const Tensor x = random_tensor(DType::f32, {4, 16}, 9);
  const Tensor want = Model::compile(parse(kMlp), mlp_weights(), plain())->run({x})[0];
  auto apart = Model::compile(parse(kMlp), mlp_weights(), {});
  ASSERT_EQ(apart->joined_weights(), (std::vector<std::vector<size_t>>{{1, 0, 2}}));  // q, k, v
  EXPECT_FALSE(no_copies(*apart));
  auto otherwise = Model::compile(parse(kMlp), in_a_row({0, 1, 2}), {});
  EXPECT_FALSE(no_copies(*otherwise));
  EXPECT_LT(worst(otherwise->run({x})[0], want), 1e-3);

  auto weights = in_a_row({1, 0, 2});
  auto model = Model::compile(parse(kMlp), weights, {});
  EXPECT_TRUE(no_copies(*model));
  EXPECT_LT(worst(model->run({x})[0], want), 1e-3);
  for (int64_t e = 0; e < 256; ++e) weights->held[2].set(e, weights->held[2].at(e) * 2);
  weights->versions[2]++;
  const Tensor after = Model::compile(parse(kMlp), weights, plain())->run({x})[0];
  EXPECT_LT(worst(model->run({x})[0], after), 1e-3);
  EXPECT_TRUE(no_copies(*model));
  weights->held[2] = mlp_weights()->held[2];  // moved away: a copy again
  weights->versions[2]++;
  model->take_weights();
  EXPECT_FALSE(no_copies(*model));
  EXPECT_LT(worst(model->run({x})[0], want), 1e-3);
}

// One step of a model with state: row %i of the cache becomes x, then the cache is summed.
const char* const kState =
    "kpt.graph 1\ninput %x : f32[1, 4]\ninput %i : i64[1]\nweight %c \"cache\" : f32[3, 4]\n"
    "%r = aten.relu(%x) : f32[1, 4]\n%n = kpt.write_(%c, %i, %r, dim=0) : f32[3, 4]\n"
    "%y = aten.sum.dim_IntList(%n, dim=[0], keepdim=false, dtype=none) : f32[4]\nreturn %y\n";

TEST(Engine, StateIsWrittenInPlaceAndReadAtTheNextCall) {
  auto weights =
      std::make_shared<Editable>(std::map<std::string, Tensor>{{"cache", Tensor::zeros(DType::f32, {3, 4})}});
  auto model = Model::compile(parse(kState), weights, {});
  const auto step = [&](int64_t at, float value) {
    return model
        ->run({Tensor::from<float>(DType::f32, {1, 4}, {value, value, -1, 0}),
               Tensor::from<int64_t>(DType::i64, {1}, {at})})[0]
        .at(0);
  };
  EXPECT_EQ(step(1, 5), 5);
  EXPECT_EQ(step(2, 7), 12);
  EXPECT_EQ(step(1, 1), 8);
  std::vector<double> rows;
  for (int64_t r = 0; r < 3; ++r) rows.push_back(weights->held[0].at(r * 4));
  EXPECT_EQ(rows, (std::vector<double>{0, 1, 7}));
}

TEST(Engine, AWriteThatNobodyReadsIsDoneAllTheSame) {
  auto weights =
      std::make_shared<Editable>(std::map<std::string, Tensor>{{"cache", Tensor::zeros(DType::f32, {3, 4})}});
  std::string text = kState;
  text.replace(text.find("(%n, dim=[0]"), 3, "(%r");
  auto model = Model::compile(parse(text), weights, {});
  model->run({Tensor::from<float>(DType::f32, {1, 4}, {1, 2, 3, 4}), Tensor::from<int64_t>(DType::i64, {1}, {2})});
  EXPECT_EQ(weights->held[0].at(9), 2);
}

TEST(Engine, AWeightOfAnotherSizeIsRefusedWithItsName) {
  auto weights = mlp_weights();
  auto model = Model::compile(parse(kMlp), weights, {});
  weights->held[0] = random_tensor(DType::f32, {8, 16}, 1);
  weights->versions[0]++;
  try {
    model->run({random_tensor(DType::f32, {4, 16}, 9)});
    FAIL();
  } catch (const Error& e) {
    EXPECT_NE(std::string(e.what()).find(weights->names[0]), std::string::npos) << e.what();
  }
}

TEST(Engine, InputsOutsideThePlanAreRefusedWithGotAndWant) {
  auto model = Model::compile(parse(kMlp), mlp_weights(), {});
  auto message = [&](const std::vector<Tensor>& inputs) -> std::string {
    try {
      model->run(inputs);
    } catch (const Error& e) {
      EXPECT_EQ(e.kind(), ErrorKind::bad_input);
      return e.what();
    }
    return "no error";
  };
  EXPECT_NE(message({random_tensor(DType::f32, {65, 16}, 1)}).find("b in [1, 64]"), std::string::npos);
  EXPECT_NE(message({random_tensor(DType::f32, {4, 15}, 1)}).find("axis 1 was fixed"), std::string::npos);
  EXPECT_NE(message({random_tensor(DType::f64, {4, 16}, 1)}).find("dtype"), std::string::npos);
  EXPECT_NE(message({random_tensor(DType::f32, {4, 16, 1}, 1)}).find("rank"), std::string::npos);
  EXPECT_NE(message({}).find("want 1"), std::string::npos);
}

TEST(Engine, AStridedInputGivesTheSameAnswer) {
  auto model = Model::compile(parse(kMlp), mlp_weights(), {});
  const Tensor x = random_tensor(DType::f32, {16, 6}, 4);
  Tensor turned = x;  // the transpose, as a view
  turned.desc.sizes = {6, 16};
  turned.desc.strides = {1, 6};
  EXPECT_EQ(worst(model->run({turned})[0], model->run({turned.clone()})[0]), 0);
}

TEST(Engine, StrictModeNamesOperatorAndSourceOfEveryFallback) {
  CompileOptions strict;
  strict.allow_fallback = false;
  const char* text =
      "kpt.graph 1\ninput %x : f32[4]\n%y = aten.nobody_has_this(%x) : f32[4]  @ \"layer.0\" \"model.py:12 "
      "forward\"\nreturn %y\n";
  try {
    Model::compile(parse(text), make_weights({}), strict);
    FAIL();
  } catch (const Error& e) {
    EXPECT_EQ(e.kind(), ErrorKind::unsupported);
    EXPECT_NE(std::string(e.what()).find("aten.nobody_has_this"), std::string::npos);
    EXPECT_NE(std::string(e.what()).find("model.py:12"), std::string::npos);
  }
}

TEST(Engine, EightThreadsGetTheSameAnswersAndMemoryStaysAtEightFrames) {
  auto model = Model::compile(parse(kMlp), mlp_weights(), {});
  std::vector<Tensor> inputs, expected;
  for (int64_t b = 1; b <= 8; ++b) {
    inputs.push_back(random_tensor(DType::f32, {b, 16}, static_cast<uint64_t>(b)));
    expected.push_back(model->run({inputs.back()})[0]);
  }
  std::atomic<int> wrong{0};
  std::vector<std::thread> threads;
  for (size_t t = 0; t < 8; ++t)
    threads.emplace_back([&, t] {
      for (size_t i = 0; i < 200; ++i) {
        const size_t which = (t + i) % 8;
        const Tensor out = model->run({inputs[which]})[0];
        wrong += std::memcmp(out.data, expected[which].data, out.desc.bytes()) != 0;
      }
    });
  for (auto& t : threads) t.join();
  EXPECT_EQ(wrong, 0);
  EXPECT_LE(model->counters()["frames"], 9);
}

TEST(Engine, ReportNamesStepsKernelsAndMemory) {
  auto model = Model::compile(parse(kMlp), mlp_weights(), {});
  const auto report = nlohmann::json::parse(model->report());
  EXPECT_FALSE(report["steps"].empty());
  EXPECT_TRUE(report["fallbacks"].empty()) << report["fallbacks"].dump();
  EXPECT_GE(report["memory"]["no_reuse_bytes"], report["memory"]["arena_bytes"]);
  EXPECT_EQ(report["memory"]["weights_bytes"], 3 * 16 * 16 * 4);
}

TEST(Engine, ProbeGivesInnerValuesByName) {
  auto model = Model::compile(parse(kMlp), mlp_weights(), plain());
  const Tensor x = random_tensor(DType::f32, {3, 16}, 5);
  const auto values = model->probe({x}, {"q", "a", "c"});
  const Tensor k = model->probe({x}, {"k"})[0];
  for (int64_t i = 0; i < 48; ++i)
    EXPECT_FLOAT_EQ(static_cast<float>(values[1].at(i)),
                    static_cast<float>(values[0].at(i)) * static_cast<float>(k.at(i)));
  EXPECT_EQ(worst(values[2], model->run({x})[0]), 0);
  EXPECT_THROW(model->probe({x}, {"nothing"}), Error);
}

TEST(Engine, WidenedGraphComputesInF64AndKeepsTheInputsDtype) {
  auto weights = mlp_weights();
  const Graph wide = widen_to_f64(parse(kMlp));
  EXPECT_TRUE(verify(wide).ok) << verify(wide).reason;
  auto model = Model::compile(wide.clone(), weights, plain());
  const Tensor x = random_tensor(DType::f32, {4, 16}, 9);
  const Tensor y = model->run({x})[0];
  EXPECT_EQ(y.desc.dtype, DType::f64);
  double expected = 0, q = 0, k = 0;
  for (int64_t i = 0; i < 16; ++i) {
    const double xi = x.at(i);
    for (size_t w = 0; w < 3; ++w) {
      const double term = xi * weights->held[w].at(i);
      if (weights->names[w] == "q.weight") q += term;
      if (weights->names[w] == "k.weight") k += term;
      if (weights->names[w] == "v.weight") expected += term;
    }
  }
  EXPECT_NEAR(y.at(0), expected + q * k, 1e-12);
}

// aten.div of integers gives f32 whatever the graph says of its result.
TEST(Engine, WidenedIntegersAreCastBeforeTheyBecomeFloats) {
  const std::string text =
      print(widen_to_f64(parse("kpt.graph 1\ninput %i : i64[3]\ninput %b : bool[3]\n"
                               "%d = aten.div.Tensor(%i, 3) : f32[3]\n"
                               "%w = aten.where.self(%b, 0.5, 1.5) : f32[3]\n"
                               "%c = aten._to_copy(%i, dtype=f32) : f32[3]\n"
                               "%n = aten.add.Tensor(%i, 1) : i64[3]\n"
                               "%h = aten.mul.Tensor(%b, 0.5) : f32[3]\n"
                               "%e = aten.eye.m(n=3, m=3, dtype=none) : f32[3, 3]\n"
                               "%z = aten.eye.m(n=3, m=3, dtype=i64) : i64[3, 3]\n"
                               "return %d, %w, %c, %n, %h, %e, %z\n")));
  for (const char* want :
       {"%f64.i = aten._to_copy(%i, dtype=f64) : f64[3]", "%d = aten.div.Tensor(%f64.i, 3) : f64[3]",
        "%0 = aten.where.self(%b, 0.5, 1.5) : f32[3]\n%w = aten._to_copy(%0, dtype=f64) : f64[3]",
        "%c = aten._to_copy(%i, dtype=f64) : f64[3]", "%n = aten.add.Tensor(%i, 1) : i64[3]",
        "%h = aten.mul.Tensor(%f64.b, 0.5) : f64[3]", "%e = aten.eye.m(n=3, m=3, dtype=f64) : f64[3, 3]",
        "%z = aten.eye.m(n=3, m=3, dtype=i64) : i64[3, 3]"})
    EXPECT_NE(text.find(want), std::string::npos) << want << "\n" << text;
}

}  // namespace
}  // namespace kpt
