// SPDX-License-Identifier: Apache-2.0
#include "kpt/cuda/once.h"

#include <gtest/gtest.h>

#include <atomic>
#include <stdexcept>
#include <thread>
#include <vector>

namespace kpt {
namespace {

TEST(OncePerKey, EachKeyIsMadeOnceHoweverManyAsk) {
  OncePerKey<int> all;
  std::atomic<int> made{0};
  std::vector<std::thread> threads;
  for (int i = 0; i < 8; ++i)
    threads.emplace_back([&] {
      for (int device = 0; device < 2; ++device)
        EXPECT_EQ(all.get(device, "k", [&] { return ++made, 10 + device; }), 10 + device);
    });
  for (std::thread& t : threads) t.join();
  EXPECT_EQ(made, 2);
  EXPECT_EQ(all.get(0, "other", [] { return 3; }), 3);
}

TEST(OncePerKey, WhatThrewIsMadeAgain) {
  OncePerKey<int> all;
  EXPECT_THROW(all.get(0, "k", []() -> int { throw std::runtime_error("not yet"); }), std::runtime_error);
  EXPECT_EQ(all.find(0, "k"), nullptr);
  EXPECT_EQ(all.get(0, "k", [] { return 5; }), 5);
  ASSERT_NE(all.find(0, "k"), nullptr);
  EXPECT_EQ(*all.find(0, "k"), 5);
  EXPECT_EQ(all.find(1, "k"), nullptr);
}

}  // namespace
}  // namespace kpt
