// SPDX-License-Identifier: Apache-2.0
#include "kpt/kernels/attention/attention.h"

#include <limits>

#include "kpt/kernels/lib/cpu/isa.h"
#include "kpt/kernels/lib/cpu/test_util.h"

namespace kpt {
namespace {

using test::random;

struct Case {
  Tensor q, k, v, mask;
  std::string kind = "none", layout = "bhsd";
  bool causal = false;
  double scale = 0.3;
  int threads = 2;
};

Problem problem_of(const Case& c, std::vector<Tensor>& inputs) {
  Problem p;
  p.op = "kpt.attention";
  inputs = {c.q, c.k, c.v};
  if (c.kind != "none") inputs.push_back(c.mask);
  for (size_t i = 0; i < 4; ++i)
    i < inputs.size() ? p.args.push_back(In{static_cast<int>(i)}) : p.args.push_back(None{});
  p.kwargs = {{"scale", c.scale}, {"causal", c.causal}, {"mask_kind", c.kind}, {"layout", c.layout}};
  p.inputs = test::descs(inputs);
  const Dims& q = c.q.desc.sizes;
  const int64_t e = c.v.desc.sizes[3];
  p.outputs = {TensorDesc::contiguous(c.q.desc.dtype,
                                      c.layout == "bhsd" ? Dims{q[0], q[1], q[2], e} : Dims{q[0], q[2], q[1], e})};
  p.threads = c.threads;
  return p;
}

void check(const Case& c) {
  std::vector<Tensor> inputs;
  const Problem p = problem_of(c, inputs);
  const Problem wide = test::widened(p);
  AttentionCall reference;
  Verdict v = attention_call(wide, reference);
  ASSERT_TRUE(v) << v.reason;
  const Tensor want = test::run(*make_attention_reference(reference), wide, test::widened(inputs))[0];
  for (Isa isa : isas_of_this_machine()) {
    AttentionCall call;
    v = attention_call(p, call);
    ASSERT_TRUE(v) << v.reason;
    const auto launch = make_attention(call, isa);
    // Weights are at most 1 and sum to 1; a rounding of a score moves them by its own size.
    test::expect_close(test::run(*launch, p, inputs)[0], want, c.q.desc.sizes[3] + 1,
                       cat(p.str(), " ", launch->config()), 2);
    if (testing::Test::HasFailure()) return;
  }
}

Tensor bools(const Dims& sizes, unsigned seed, double keep = 0.7, std::vector<int> order = {}) {
  Tensor t = random(DType::f32, sizes, seed, order);
  Tensor b = Tensor::zeros(DType::boolean, {std::max<int64_t>(t.desc.numel(), 1)});
  b.desc = {DType::boolean, t.desc.sizes, t.desc.strides};
  std::mt19937 engine(seed);
  for (int64_t i = 0; i < t.desc.numel(); ++i) b.set(i, engine() % 1000 < keep * 1000);
  return b;
}

Case plain(DType dtype, int64_t b, int64_t h, int64_t s, int64_t t, int64_t d, unsigned seed, int64_t kv = 0,
           int64_t e = 0) {
  Case c;
  kv = kv ? kv : h;
  c.q = random(dtype, {b, h, s, d}, seed);
  c.k = random(dtype, {b, kv, t, d}, seed + 1);
  c.v = random(dtype, {b, kv, t, e ? e : d}, seed + 2);
  return c;
}

TEST(Attention, HandComputed) {
  // Scores 0 and ln 3: weights 1/4 and 3/4.
  Case c;
  c.q = Tensor::from<float>(DType::f32, {1, 1, 1, 1}, {1});
  c.k = Tensor::from<float>(DType::f32, {1, 1, 2, 1}, {0, std::log(3.f)});
  c.v = Tensor::from<float>(DType::f32, {1, 1, 2, 1}, {4, 8});
  c.scale = 1;
  std::vector<Tensor> inputs;
  const Problem p = problem_of(c, inputs);
  AttentionCall call;
  ASSERT_TRUE(attention_call(p, call));
  EXPECT_NEAR(test::run(*make_attention(call), p, inputs)[0].at(0), 7, 1e-6);
  EXPECT_NEAR(test::run(*make_attention_reference(call), p, inputs)[0].at(0), 7, 1e-6);
}

TEST(Attention, SweepOfSizesMasksAndLayouts) {
  std::mt19937 engine(11);
  const auto from1 = [&](int n) { return 1 + static_cast<int64_t>(engine() % static_cast<unsigned>(n)); };
  for (unsigned i = 0; i < 120 && !HasFailure(); ++i) {
    const DType dtype = i % 4 == 3 ? DType::bf16 : i % 11 == 5 ? DType::f16 : DType::f32;
    const int64_t b = from1(2), kv = from1(2), h = kv * from1(2), s = from1(70), t = from1(70);
    Case c = plain(dtype, b, h, s, t, from1(40), i, kv, from1(40));
    c.causal = i % 3 == 0;
    c.layout = i % 2 ? "bshd" : "bhsd";
    switch (i % 5) {
      case 1: c.kind = "key", c.mask = bools({b, t}, i); break;
      case 2: c.kind = "bool", c.mask = bools({b, 1, s, t}, i); break;
      case 3: c.kind = "add", c.mask = random(i % 2 ? DType::f32 : dtype, {1, h, s, t}, i); break;
      case 4: c.kind = "bool", c.mask = bools({b, 1, 1, t}, i); break;
      default: break;
    }
    check(c);
  }
}

TEST(Attention, ManyKeysWalkSeveralBlocks) {
  for (bool causal : {false, true}) {
    Case c = plain(DType::f32, 1, 2, 300, 700, 20, 3);
    c.causal = causal;
    check(c);
    c.kind = "add", c.mask = random(DType::f32, {1, 1, 300, 700}, 9);
    check(c);
  }
  Case c = plain(DType::bf16, 1, 1, 20, 600, 16, 5);
  c.scale = 4;  // the maximum moves from block to block
  check(c);
}

TEST(Attention, FewQueriesOverManyKeys) {
  for (int64_t s = 1; s <= 5; ++s)
    for (const char* kind : {"none", "key", "bool", "add"}) {
      const DType dtype = s == 3 ? DType::bf16 : DType::f32;
      Case c = plain(dtype, 2, 4, s, 523, 33, static_cast<unsigned>(s), 2, s % 2 ? 32 : 21);
      c.kind = kind;
      c.causal = s == 4 && c.kind == "none";
      if (c.kind == "key") c.mask = bools({2, 523}, 1);
      if (c.kind == "bool") c.mask = bools({2, 1, s, 523}, 1, 0.5, {3, 2, 1, 0});
      if (c.kind == "add") c.mask = random(dtype, {1, 4, 1, 523}, 2);
      check(c);
    }
}

TEST(Attention, InputsOfAnyStride) {
  Case c;
  c.q = random(DType::f32, {2, 3, 18, 32}, 1, {0, 2, 1, 3});  // [b, s, h, d] in memory, as a projection leaves it
  c.k = random(DType::f32, {2, 3, 21, 32}, 2, {0, 2, 1, 3});
  c.v = random(DType::f32, {2, 3, 21, 24}, 3, {0, 2, 1, 3}, 5);
  check(c);
  c.k = random(DType::f32, {2, 3, 21, 32}, 2, {0, 1, 3, 2});  // transposed already
  c.v = random(DType::f32, {2, 3, 21, 24}, 3, {3, 2, 1, 0});
  c.q = random(DType::f32, {2, 3, 18, 32}, 1, {3, 2, 1, 0});
  c.kind = "bool", c.mask = bools({2, 3, 18, 21}, 4, 0.5, {3, 1, 0, 2});
  check(c);
}

TEST(Attention, RowsThatSeeNothing) {
  Case c = plain(DType::f32, 2, 2, 20, 30, 8, 1);
  c.kind = "bool", c.mask = bools({2, 1, 20, 30}, 2);
  for (int64_t t = 0; t < 30; ++t) c.mask.set(3 * 30 + t, 0);  // batch 0, query 3: gives 0
  check(c);
  c.kind = "key", c.mask = bools({2, 30}, 3, 0);  // all hidden: all 0
  check(c);
  c.kind = "add", c.mask = random(DType::f32, {2, 1, 20, 30}, 4);
  for (int64_t t = 0; t < 30; ++t) c.mask.set(5 * 30 + t, -test::kInf);  // NaN
  for (int64_t t = 0; t < 29; ++t) c.mask.set(6 * 30 + t, -test::kInf);  // the last key alone
  check(c);
  for (int64_t t = 0; t < 30; ++t) c.mask.set(7 * 30 + t, std::numeric_limits<float>::lowest());  // all keys alike
  check(c);
  check(plain(DType::f32, 1, 1, 3, 0, 4, 1, 1, 4));  // no keys: 0
  c = plain(DType::f32, 2, 2, 3, 30, 8, 1);          // the same for few queries
  c.kind = "key", c.mask = bools({2, 30}, 3, 0);
  check(c);
  c.kind = "add", c.mask = random(DType::f32, {2, 1, 3, 30}, 4);
  for (int64_t t = 0; t < 30; ++t) c.mask.set(t, -test::kInf);
  check(c);
  for (int64_t t = 0; t < 30; ++t) c.mask.set(30 + t, std::numeric_limits<float>::lowest());
  check(c);
  c.mask.set(2 * 30 + 3, test::kNaN);
  c.k.set(8 * 9, test::kInf);
  check(c);
}

TEST(Attention, NanStaysInItsRow) {
  Case c = plain(DType::f32, 1, 1, 40, 300, 8, 1);
  c.q.set(7 * 8, test::kNaN);
  check(c);
  for (int64_t queries : {2, 40}) {
    c = plain(DType::f32, 1, 1, queries, 300, 8, 1);
    c.kind = "key", c.mask = bools({1, 300}, 3, 1);
    for (int64_t t = 0; t < 300; ++t) {
      if (t >= 20 && t < 250) continue;
      c.mask.set(t, 0);
      c.k.set(t * 8, test::kNaN);  // padding may hold anything
      c.v.set(t * 8, test::kNaN);
    }
    check(c);
  }
}

TEST(Attention, EmptySizes) {
  check(plain(DType::f32, 0, 2, 3, 4, 5, 1));
  check(plain(DType::f32, 1, 2, 0, 4, 5, 1));
  Case c = plain(DType::f32, 1, 2, 3, 4, 0, 1, 2, 6);  // d = 0: equal weights
  check(c);
}

TEST(Attention, ReasonsForNo) {
  const auto reason = [](auto change) {
    Case c = plain(DType::f32, 2, 4, 3, 5, 8, 1, 2);
    c.kind = "key", c.mask = bools({2, 5}, 1);
    std::vector<Tensor> inputs;
    Problem p = problem_of(c, inputs);
    change(p);
    AttentionCall call;
    const Verdict v = attention_call(p, call);
    return v ? attention_supports(call).reason : v.reason;
  };
  EXPECT_EQ(reason([](Problem&) {}), "");
  EXPECT_EQ(reason([](Problem& p) {
              p.inputs[0].sizes[1] = 3;
              p.outputs[0].sizes[1] = 3;
            }),
            "got 3 heads over 2 of keys, want a multiple");
  EXPECT_EQ(reason([](Problem& p) { p.kwargs[2].second = "rows"; }),
            "got mask_kind \"rows\", want none, key, bool or add");
  EXPECT_EQ(reason([](Problem& p) { p.kwargs[3].second = "sbhd"; }), "got layout \"sbhd\", want bhsd or bshd");
  EXPECT_EQ(reason([](Problem& p) {
              p.inputs[3].dtype = DType::f32;
              p.kwargs[2].second = "bool";
            }),
            "got a mask of f32 with mask_kind bool");
  EXPECT_EQ(reason([](Problem& p) {
              for (int i = 0; i < 3; ++i) p.inputs[static_cast<size_t>(i)].dtype = DType::f64;
              p.outputs[0].dtype = DType::f64;
            }),
            "got f64, want f32, bf16 or f16: scores are f32");
}

}  // namespace
}  // namespace kpt
