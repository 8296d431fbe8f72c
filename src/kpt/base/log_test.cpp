// SPDX-License-Identifier: Apache-2.0
#include "kpt/base/log.h"

#include <gtest/gtest.h>

#include <vector>

#include "kpt/base/settings.h"

namespace kpt {
namespace {

std::vector<std::string> lines_at(const char* level) {
  set_setting("log", level);
  std::vector<std::string> lines;
  set_log_sink([&](const LogLine& l) { lines.push_back(cat(name(l.level), " ", l.where, ": ", l.text)); });
  log(LogLevel::error, "a.b", "broken ", 1);
  log(LogLevel::warn, "a.b", "odd");
  log(LogLevel::info, "a.b", "done");
  log(LogLevel::debug, "a.b", "detail");
  set_log_sink({});
  reload_settings();
  return lines;
}

TEST(Log, SettingCutsOffTheLessImportantLevels) {
  EXPECT_EQ(lines_at("error"), (std::vector<std::string>{"error a.b: broken 1"}));
  EXPECT_EQ(lines_at("warn"), (std::vector<std::string>{"error a.b: broken 1", "warn a.b: odd"}));
  EXPECT_EQ(lines_at("debug").size(), 4u);
}

TEST(Log, WithoutASinkLinesGoToStderr) {
  testing::internal::CaptureStderr();
  log(LogLevel::warn, "base.log", "hello");
  log(LogLevel::debug, "base.log", "unseen");
  EXPECT_EQ(testing::internal::GetCapturedStderr(), "kpt warn [base.log] hello\n");
}

TEST(Log, SetSinkReturnsTheOneBefore) {
  int calls = 0;
  set_log_sink([&](const LogLine&) { ++calls; });
  LogSink before = set_log_sink({});
  before({LogLevel::info, "x", "y"});
  EXPECT_EQ(calls, 1);
}

}  // namespace
}  // namespace kpt
