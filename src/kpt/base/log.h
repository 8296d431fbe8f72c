// SPDX-License-Identifier: Apache-2.0
#pragma once
#include <functional>
#include <string>
#include <string_view>

#include "kpt/base/error.h"

namespace kpt {

enum class LogLevel : uint8_t { error, warn, info, debug };
KPT_API std::string_view name(LogLevel level);

struct LogLine {
  LogLevel level;
  std::string_view where;  // "runtime.plan": room and part, as in errors
  std::string_view text;
};

// Where lines go: "kpt warn [where] text" on stderr unless a sink is set (Python hands lines to its `logging`).
// The sink is called under a lock, one line at a time; it must not log. An empty sink restores stderr.
// Returns the sink that was set before.
using LogSink = std::function<void(const LogLine&)>;
KPT_API LogSink set_log_sink(LogSink sink);

// True where the setting KPT_LOG lets this level through.
KPT_API bool log_enabled(LogLevel level);
KPT_API void log_text(LogLevel level, std::string_view where, std::string_view text);

// The text is put together only where it will be printed.
template <class... Args>
void log(LogLevel level, std::string_view where, const Args&... args) {
  if (log_enabled(level)) log_text(level, where, cat(args...));
}

}  // namespace kpt
