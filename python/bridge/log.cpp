// SPDX-License-Identifier: Apache-2.0
#include "log.h"

#include <deque>
#include <mutex>
#include <nlohmann/json.hpp>

#include "kpt/base/log.h"

int kpt_log_pending = 0;

namespace kpt::bridge {
namespace {

constexpr size_t kKept = 1000;

struct Line {
  LogLevel level;
  std::string where, text;
};

struct Kept {
  std::mutex mutex;
  std::deque<Line> lines;
  int64_t lost = 0;
};

Kept& kept() {
  static auto* all = new Kept;  // threads may log while the process ends
  return *all;
}

void count(const Kept& all) {
  __atomic_store_n(&kpt_log_pending, static_cast<int>(all.lines.size()), __ATOMIC_RELAXED);
}

}  // namespace

void keep_log() {
  set_log_sink([](const LogLine& line) {
    Kept& all = kept();
    const std::lock_guard<std::mutex> lock(all.mutex);
    all.lines.push_back({line.level, std::string(line.where), std::string(line.text)});
    if (all.lines.size() > kKept) {
      all.lines.pop_front();
      ++all.lost;
    }
    count(all);
  });
}

std::string take_log() {
  Kept& all = kept();
  const std::lock_guard<std::mutex> lock(all.mutex);
  nlohmann::json out = nlohmann::json::array();
  if (all.lost)
    out.push_back({{"level", "warn"}, {"where", "bridge.log"}, {"text", cat("event=log_lost lines=", all.lost)}});
  for (const Line& line : all.lines)
    out.push_back({{"level", name(line.level)}, {"where", line.where}, {"text", line.text}});
  all.lines.clear();
  all.lost = 0;
  count(all);
  return out.dump(-1, ' ', false, nlohmann::json::error_handler_t::replace);
}

}  // namespace kpt::bridge
