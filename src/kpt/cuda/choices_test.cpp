// SPDX-License-Identifier: Apache-2.0
#include "kpt/cuda/choices.h"

#include <gtest/gtest.h>
#include <unistd.h>

#include <fstream>
#include <sstream>

namespace kpt {
namespace {

std::string text_of(const std::filesystem::path& file) {
  std::ifstream in(file);
  std::stringstream all;
  all << in.rdbuf();
  return all.str();
}

class Choices : public testing::Test {
 protected:
  Choices() : file_(std::filesystem::temp_directory_path() / cat("kpt_choices_", getpid()) / "a" / "b.txt") {}
  ~Choices() override { std::filesystem::remove_all(file_.parent_path().parent_path()); }
  std::filesystem::path file_;
};

TEST_F(Choices, AnotherProcessFindsWhatOneHasAdded) {
  ChoiceStore one(file_);
  EXPECT_FALSE(one.find("bf16 n8", "m4"));
  one.add("bf16 n8", "m4", {{1, 2, 3, 4, 5, 6, 7, ~uint64_t{0}}, 12.5, 4});
  one.add("bf16 n8", "m5", {{9}, 1});
  const ChoiceStore other(file_);
  const auto found = other.find("bf16 n8", "m4");
  ASSERT_TRUE(found);
  EXPECT_EQ(found->words, (std::array<uint64_t, 8>{1, 2, 3, 4, 5, 6, 7, ~uint64_t{0}}));
  EXPECT_EQ(found->microseconds, 12.5);
  EXPECT_EQ(found->size, 4);
  EXPECT_TRUE(other.find("bf16 n8", "m5"));
  EXPECT_TRUE(other.knows("bf16 n8"));
  EXPECT_FALSE(other.knows("bf16 n9"));
  one.add("bf16 n9", "m1", {{3}, 0, 1});  // too small to time: says nothing about the larger ones
  EXPECT_FALSE(one.knows("bf16 n9"));
  EXPECT_FALSE(ChoiceStore(file_).knows("bf16 n9"));
  EXPECT_FALSE(other.find("bf16 n8", "m6"));
}

TEST_F(Choices, DamagedLinesAreSkippedTheOthersKept) {
  ChoiceStore(file_).add("f", "k1", {{7}, 3});
  const std::string good = text_of(file_);
  std::string wrong = good;
  wrong[wrong.find("k1") + 1] = '2';  // the checksum no longer fits
  std::ofstream(file_, std::ios::app) << wrong << "half a li\n" << good.substr(0, 20);
  const ChoiceStore store(file_);
  EXPECT_EQ(store.find("f", "k1")->words[0], 7u);
  EXPECT_FALSE(store.find("f", "k2"));
}

// Every byte changed in four ways, and every cut: a choice is what was added, or is not there.
TEST_F(Choices, NoDamageGivesAnotherChoice) {
  ChoiceStore(file_).add("f", "k1", {{7}, 3, 5});
  ChoiceStore(file_).add("f", "k2", {{8}, 4, 6});
  const std::string good = text_of(file_);
  const auto check = [&](const std::string& text) {
    std::ofstream(file_, std::ios::trunc) << text;
    const ChoiceStore store(file_);
    int found = 0;
    for (uint64_t word : {7, 8}) {
      const auto choice = store.find("f", word == 7 ? "k1" : "k2");
      if (!choice) continue;
      ++found;
      EXPECT_EQ(choice->words[0], word) << text;
      EXPECT_EQ(choice->microseconds, static_cast<double>(word - 4)) << text;
      EXPECT_EQ(choice->size, static_cast<int64_t>(word - 2)) << text;
    }
    return found;
  };
  testing::internal::CaptureStderr();  // a warning for each
  for (size_t i = 0; i < good.size(); ++i) {
    for (char c : {'\0', '\t', '\n', static_cast<char>(good[i] ^ 1)}) {
      if (c == good[i]) continue;
      std::string text = good;
      text[i] = c;
      // Without the end between them, the two lines are one damaged line.
      const bool joined = good[i] == '\n' && i + 1 < good.size();
      EXPECT_EQ(check(text), joined ? 0 : 1) << i;
    }
    EXPECT_EQ(check(good.substr(0, i)), (i >= good.find('\n')) + (i + 1 >= good.size())) << i;
  }
  EXPECT_EQ(check(good), 2);
  testing::internal::GetCapturedStderr();
}

TEST(ChoicesInMemory, TheNearestSizeIsByRatioAndNotFar) {
  ChoiceStore store({});
  store.add("f", "m100", {{1}, 2, 100});
  store.add("f", "m400", {{2}, 2, 400});
  store.add("f", "no size", {{3}, 2});
  const auto word = [&](int64_t size) {
    const auto found = store.nearest("f", size);
    return found ? static_cast<int>(found->words[0]) : 0;
  };
  EXPECT_EQ(word(100), 1);
  EXPECT_EQ(word(199), 1);
  EXPECT_EQ(word(201), 2);
  EXPECT_EQ(word(25), 1);
  EXPECT_EQ(word(24), 0);
  EXPECT_EQ(word(1600), 2);
  EXPECT_EQ(word(1601), 0);
  EXPECT_EQ(word(0), 0);
  EXPECT_FALSE(store.nearest("g", 100));
}

TEST(ChoicesInMemory, WithoutAFileTheyLastForTheProcess) {
  ChoiceStore store({});
  store.add("f", "k", {{1}, 2});
  EXPECT_TRUE(store.find("f", "k"));
}

}  // namespace
}  // namespace kpt
