// SPDX-License-Identifier: Apache-2.0
#include "kpt/base/counters.h"

#include <gtest/gtest.h>

#include <thread>

namespace kpt {
namespace {

TEST(Counters, AddsFromManyThreadsAreAllSeen) {
  std::vector<std::thread> threads;
  for (int t = 0; t < 4; ++t)
    threads.emplace_back([] {
      for (int i = 0; i < 10000; ++i) counter("test.adds").add(2);
    });
  for (auto& t : threads) t.join();
  EXPECT_EQ(counter("test.adds").value(), 80000);
}

TEST(Counters, OneNameIsOneCounterAndValuesAreSorted) {
  counter("test.b").add(1);
  counter("test.a").add(5);
  EXPECT_EQ(&counter("test.a"), &counter("test.a"));
  std::vector<std::string> names;
  for (const CounterValue& v : counter_values()) names.push_back(v.name);
  EXPECT_TRUE(std::is_sorted(names.begin(), names.end()));
  EXPECT_EQ(std::count(names.begin(), names.end(), "test.b"), 1);
}

TEST(Counters, SpanCountsEachPassageAndItsTime) {
  SpanCounters counters("test.span");
  for (int i = 0; i < 3; ++i) Span span(counters);
  {
    Span span(counters);
    std::this_thread::sleep_for(std::chrono::milliseconds(2));
  }
  EXPECT_EQ(counter("test.span").value(), 4);
  EXPECT_GE(counter("test.span_ns").value(), 2000000);
}

}  // namespace
}  // namespace kpt
