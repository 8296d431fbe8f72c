// SPDX-License-Identifier: Apache-2.0
#include "kpt/base/threads.h"

#include <gtest/gtest.h>

#include <atomic>
#include <stdexcept>
#include <thread>
#include <vector>

namespace kpt {
namespace {

TEST(Threads, EveryTaskRunsOnceAndWorkersStayBelowTheLimit) {
  for (int round = 0; round < 500; ++round) {
    std::vector<std::atomic<int>> seen(37);
    std::atomic<int> worst{0};
    parallel(37, 4, [&](int64_t i, int worker) {
      seen[static_cast<size_t>(i)]++;
      if (worker > worst) worst = worker;
    });
    for (auto& s : seen) ASSERT_EQ(s, 1);
    ASSERT_LT(worst, 4);
  }
}

TEST(Threads, ConcurrentCallersAllFinish) {
  std::atomic<int64_t> sum{0};
  std::vector<std::thread> callers;
  for (int t = 0; t < 8; ++t)
    callers.emplace_back([&] {
      for (int round = 0; round < 200; ++round) parallel(16, 2, [&](int64_t i, int) { sum += i; });
    });
  for (auto& c : callers) c.join();
  EXPECT_EQ(sum, int64_t{8} * 200 * 120);
}

TEST(Threads, FirstExceptionReachesTheCallerAndTheRestStillRuns) {
  std::atomic<int> ran{0};
  EXPECT_THROW(parallel(10, 2,
                        [&](int64_t i, int) {
                          ran++;
                          if (i == 3) throw std::runtime_error("task 3");
                        }),
               std::runtime_error);
  EXPECT_EQ(ran, 10);
}

TEST(Threads, NestedCallsRunSerially) {
  std::atomic<int> inner{0};
  parallel(4, 2, [&](int64_t, int) {
    parallel(5, 2, [&](int64_t, int worker) {
      EXPECT_EQ(worker, 0);
      inner++;
    });
  });
  EXPECT_EQ(inner, 20);
}

}  // namespace
}  // namespace kpt
