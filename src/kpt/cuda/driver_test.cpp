// SPDX-License-Identifier: Apache-2.0
#include "kpt/cuda/driver.h"

#include <gtest/gtest.h>

#include "kpt/cuda/graph_copies.h"
#include "kpt/cuda/nvrtc.h"

namespace kpt {
namespace {

template <class F>
std::string thrown(F&& f) {
  try {
    f();
  } catch (const Error& e) {
    return cat(name(e.kind()), ": ", e.what());
  }
  return "nothing";
}

TEST(CudaCheck, TellsShortMemoryFromRefusedLaunches) {
  EXPECT_EQ(thrown([] { cuda_check(CUDA_SUCCESS, "here"); }), "nothing");
  EXPECT_EQ(thrown([] { cuda_check(CUDA_ERROR_OUT_OF_MEMORY, "here"); }).substr(0, 16), "resource: [here]");
  EXPECT_EQ(thrown([] { cuda_check(CUDA_ERROR_INVALID_VALUE, "here", ErrorKind::launch); }).substr(0, 14),
            "launch: [here]");
  EXPECT_EQ(thrown([] { cuda_check(CUDA_ERROR_INVALID_VALUE, "here"); }).substr(0, 14), "device: [here]");
  EXPECT_FALSE(cuda_poisoned());
}

// In a process of its own: a fault cannot be taken back.
TEST(CudaCheckDeathTest, AfterAFaultEveryCheckThrowsAndNamesTheFirst) {
  GTEST_FLAG_SET(death_test_style, "threadsafe");
  const auto after_a_fault = [] {
    const std::string first = thrown([] { cuda_check(CUDA_ERROR_ILLEGAL_ADDRESS, "step"); });
    const std::string later = thrown([] { cuda_check(CUDA_SUCCESS, "next call"); });
    const bool right = first.starts_with("fault: [step]") && later.starts_with("fault: [next call]") &&
                       later.find("seen by step") != std::string::npos && cuda_poisoned();
    std::exit(right ? 0 : 1);
  };
  EXPECT_EXIT(after_a_fault(), testing::ExitedWithCode(0), "");
}

TEST(CudaDriver, WithoutOneSaysSo) {
  if (cuda_here()) GTEST_SKIP() << "this machine has one";
  EXPECT_EQ(thrown([] { cuda(); }).substr(0, 23), "no_driver: [cuda] got n");
}

TEST(Nvrtc, NamesAnArchitectureItDoesNotKnowAndASourceItRefuses) {
  if (!nvrtc_here()) GTEST_SKIP() << "not checked: " << nvrtc_here().reason;
  const std::string old = thrown([] { nvrtc_compile("a.cu", "extern \"C\" __global__ void f() {}", {}, 20); });
  EXPECT_EQ(old.substr(0, 51), "architecture: [cuda.nvrtc] got compute capability 2") << old;
  const std::string bad = thrown([] { nvrtc_compile("a.cu", "extern \"C\" __global__ void f() { x; }", {}, 80); });
  EXPECT_EQ(bad.substr(0, 53), "compile: [cuda.nvrtc] cannot compile a.cu for sm_80:\n") << bad;
}

TEST(CudaGraphCopies, CompilesWithoutSpills) {
  if (!nvrtc_here()) GTEST_SKIP() << "not checked: " << nvrtc_here().reason;
  const CudaProgram program = CudaGraphCopies::program();
  for (int arch : {80, 90, 100}) {
    const std::string log = nvrtc_compile(program.name, program.text, program.defines, arch).log;
    EXPECT_NE(log.find(" 0 bytes spill stores, 0 bytes spill loads"), std::string::npos) << arch << ":\n" << log;
  }
}

}  // namespace
}  // namespace kpt
