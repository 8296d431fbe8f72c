// SPDX-License-Identifier: Apache-2.0
#include "kpt/base/log.h"

#include <iostream>
#include <mutex>

#include "kpt/base/settings.h"

namespace kpt {
namespace {

struct Output {
  std::mutex mutex;
  LogSink sink;
};

Output& output() {
  static Output out;
  return out;
}

}  // namespace

std::string_view name(LogLevel level) {
  switch (level) {
    case LogLevel::error: return "error";
    case LogLevel::warn: return "warn";
    case LogLevel::info: return "info";
    case LogLevel::debug: return "debug";
  }
  return "unknown";
}

LogSink set_log_sink(LogSink sink) {
  std::lock_guard lock(output().mutex);
  std::swap(output().sink, sink);
  return sink;
}

bool log_enabled(LogLevel level) {
  std::string_view least = setting_choice("log");
  for (LogLevel l : {LogLevel::error, LogLevel::warn, LogLevel::info, LogLevel::debug})
    if (name(l) == least) return level <= l;
  return true;
}

void log_text(LogLevel level, std::string_view where, std::string_view text) {
  std::lock_guard lock(output().mutex);
  if (output().sink) {
    output().sink({level, where, text});
  } else {
    std::cerr << cat("kpt ", name(level), " [", where, "] ", text, "\n");
  }
}

}  // namespace kpt
