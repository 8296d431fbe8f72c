// SPDX-License-Identifier: Apache-2.0
#include "kpt/base/counters.h"

#include <map>
#include <mutex>

namespace kpt {
namespace {

struct Counters {
  std::mutex mutex;
  std::map<std::string, Counter, std::less<>> by_name;  // nodes never move
};

// Never destroyed: threads may still count while the process ends.
Counters& counters() {
  static auto* all = new Counters;
  return *all;
}

}  // namespace

Counter& counter(std::string_view name) {
  Counters& all = counters();
  std::lock_guard lock(all.mutex);
  auto found = all.by_name.find(name);
  if (found == all.by_name.end()) found = all.by_name.try_emplace(std::string(name)).first;
  return found->second;
}

std::vector<CounterValue> counter_values() {
  Counters& all = counters();
  std::lock_guard lock(all.mutex);
  std::vector<CounterValue> values;
  for (const auto& [name, counter] : all.by_name) values.push_back({name, counter.value()});
  return values;
}

}  // namespace kpt
