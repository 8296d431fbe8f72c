// SPDX-License-Identifier: Apache-2.0
#include "kpt/kernels/attention/attention_timed.h"

#include <gtest/gtest.h>

#include "kpt/kernels/conformance.h"

namespace kpt {
namespace {

AttentionCall call_of(const conformance::Case& c) {
  AttentionCall call;
  const Verdict v = attention_call(c.problem, call);
  EXPECT_TRUE(v.ok) << v.reason;
  return call;
}

// The cases of kpt.attention in bf16 that cuDNN is asked about.
std::vector<conformance::Case> contested() {
  std::vector<conformance::Case> out;
  for (const auto& [op, maker] : conformance::makers()) {
    if (op != "kpt.attention") continue;
    for (conformance::Case& c : maker(DType::bf16)) {
      CudnnAttention library;
      if (cudnn_attention_problem(call_of(c), library)) out.push_back(c);
    }
  }
  return out;
}

TEST(AttentionTimed, LargeProblemsInWordsOfTheLibrary) {
  const std::vector<conformance::Case> cases = contested();
  ASSERT_EQ(cases.size(), 3u);
  CudnnAttention library;
  ASSERT_TRUE(cudnn_attention_problem(call_of(cases[0]), library));
  EXPECT_EQ(library.y_strides, (std::array<int64_t, 4>{512 * 4 * 64, 64, 4 * 64, 1}));  // bshd
  EXPECT_FALSE(library.lengths);
  ASSERT_TRUE(cudnn_attention_problem(call_of(cases[1]), library));
  EXPECT_EQ(library.k, (std::array<int64_t, 4>{1, 2, 520, 128}));
  EXPECT_TRUE(library.causal);
  ASSERT_TRUE(cudnn_attention_problem(call_of(cases[2]), library));
  EXPECT_TRUE(library.lengths);
}

TEST(AttentionTimed, OnAGpuTheLibraryAgreesWithTheReference) {
  if (const Verdict v = cudnn_here(); !v) GTEST_SKIP() << "not checked: " << v.reason;
  const CudaGuard guard(0);
  for (const conformance::Case& c : contested()) {
    Kernel kernel{"kpt.attention",
                  "kpt",
                  "cuda",
                  "library",
                  0,
                  [](const Problem&) { return yes(); },
                  [](const Problem& p) { return make_timed_attention(p, AttentionContest::library); }};
    EXPECT_EQ(conformance::check(kernel, c), "") << c.label;
  }
}

}  // namespace
}  // namespace kpt
