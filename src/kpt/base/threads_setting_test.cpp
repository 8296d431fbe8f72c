// SPDX-License-Identifier: Apache-2.0
#include <gtest/gtest.h>

#include <atomic>
#include <chrono>
#include <cstdlib>
#include <ctime>
#include <thread>

#include "kpt/base/settings.h"
#include "kpt/base/threads.h"

namespace kpt {
namespace {

// Processor time that the pool burns in 0.4 s after its only job, in a process of its own: the pool starts once.
[[noreturn]] void idle_pool(const char* spin_us, double at_least_ms, double at_most_ms) {
  set_setting("spin_us", spin_us);
  std::atomic<int> ran{0};
  parallel(4, 2, [&](int64_t, int) {
    ++ran;
    std::this_thread::sleep_for(std::chrono::milliseconds(5));  // long enough for the worker to come up
  });
  std::clock_t start = std::clock();
  std::this_thread::sleep_for(std::chrono::milliseconds(400));
  double burnt = 1e3 * static_cast<double>(std::clock() - start) / CLOCKS_PER_SEC;
  std::exit(ran == 4 && burnt >= at_least_ms && burnt <= at_most_ms ? 0 : 1);
}

TEST(ThreadsSettingDeathTest, SpinningLastsAsLongAsTheSettingSays) {
  GTEST_FLAG_SET(death_test_style, "threadsafe");
  // Bounds are far apart (0 against 400 ms), so that a busy machine does not matter.
  EXPECT_EXIT(idle_pool("0", 0, 20), testing::ExitedWithCode(0), "");
  EXPECT_EXIT(idle_pool("1000000", 40, 1000), testing::ExitedWithCode(0), "");
}

}  // namespace
}  // namespace kpt
