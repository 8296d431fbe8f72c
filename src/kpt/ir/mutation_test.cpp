// SPDX-License-Identifier: Apache-2.0
// Damaged text: parse throws Error{bad_input} or gives a graph that holds the promises of text.h. Never anything else.
#include <gtest/gtest.h>

#include <random>

#include "kpt/ir/generate.h"
#include "kpt/ir/text.h"

namespace kpt {
namespace {

// False where the text was refused.
bool survives(const std::string& text) {
  Graph graph;
  try {
    graph = parse(text);
  } catch (const Error& e) {
    EXPECT_EQ(e.kind(), ErrorKind::bad_input) << text;
    EXPECT_EQ(std::string_view(e.what()).substr(0, 16), "[ir.parse] line ") << e.what();
    return false;
  }
  (void)verify(graph);
  const std::string once = print(graph);
  EXPECT_EQ(print(parse(once)), once) << text;
  return true;
}

std::string sample(uint64_t seed) {
  GenerateOptions options;
  options.nodes = 8;
  return print(generate_graph(seed, options));
}

TEST(Mutation, EveryCharacterDeleted) {
  size_t refused = 0, all = 0;
  for (uint64_t seed = 0; seed < 3; ++seed) {
    const std::string text = sample(seed);
    for (size_t i = 0; i < text.size(); ++i, ++all) refused += !survives(text.substr(0, i) + text.substr(i + 1));
  }
  EXPECT_GT(refused, all / 3);
  EXPECT_LT(refused, all);
}

TEST(Mutation, EveryPrefixIsRefused) {
  const std::string text = sample(4);
  // Down to the newline before `return %..`; after it the prefix is a graph again.
  for (size_t n = 0; n < text.rfind("\nreturn") + 7; ++n)
    EXPECT_FALSE(survives(text.substr(0, n))) << text.substr(0, n);
}

TEST(Mutation, EveryLineDeletedOrDoubled) {
  for (uint64_t seed = 0; seed < 60; ++seed) {
    const std::string text = sample(seed);
    for (size_t start = 0; start < text.size();) {
      const size_t end = text.find('\n', start) + 1;
      const std::string line = text.substr(start, end - start);
      survives(text.substr(0, start) + text.substr(end));
      const bool doubled = survives(text.substr(0, end) + text.substr(start));
      EXPECT_FALSE(doubled) << line;  // every line defines something, or is the header or the return
      start = end;
    }
  }
}

TEST(Mutation, RandomBytesAndSwaps) {
  std::mt19937_64 random(1);
  constexpr std::string_view kAlphabet = "%()[],:=\"@\\ \n-+*/.eE0159sbxnaift\xFF";
  size_t refused = 0;
  constexpr size_t kRounds = 6000;
  for (size_t round = 0; round < kRounds; ++round) {
    std::string text = sample(round % 50);
    for (uint64_t n = 1 + random() % 3; n > 0; --n) {
      const size_t i = random() % text.size(), k = random() % text.size();
      switch (random() % 4) {
        case 0: text[i] = kAlphabet[random() % kAlphabet.size()]; break;
        case 1: text.insert(i, 1, kAlphabet[random() % kAlphabet.size()]); break;
        case 2: std::swap(text[i], text[k]); break;
        default: text.insert(i, text.substr(k, random() % 20));
      }
    }
    refused += !survives(text);
  }
  EXPECT_GT(refused, kRounds / 4);
  EXPECT_LT(refused, kRounds);
}

}  // namespace
}  // namespace kpt
