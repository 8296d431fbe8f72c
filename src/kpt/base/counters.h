// SPDX-License-Identifier: Apache-2.0
#pragma once
#include <atomic>
#include <chrono>
#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "kpt/base/error.h"

namespace kpt {

// A number that only grows: calls, bytes, nanoseconds. Adding is one relaxed atomic, so it may stand on hot paths.
// The core emits; publishing (reports, monitoring) is the job of higher rooms.
class Counter {
 public:
  void add(int64_t n = 1) { value_.fetch_add(n, std::memory_order_relaxed); }
  int64_t value() const { return value_.load(std::memory_order_relaxed); }

 private:
  std::atomic<int64_t> value_{0};
};

// The counter of that name, made on first use; the reference stays valid for the life of the process. Takes a lock:
// keep the reference (`static Counter& calls = counter("runtime.calls")`). Names are "room.what" with unit suffix
// "_ns", "_bytes".
KPT_API Counter& counter(std::string_view name);

struct CounterValue {
  std::string name;
  int64_t value;
};
KPT_API std::vector<CounterValue> counter_values();  // by name; values of one moment each, not one moment together

// Counts a stretch of code: at the end adds 1 to "<name>" and the elapsed time to "<name>_ns".
class SpanCounters {
 public:
  explicit SpanCounters(std::string_view name) : count_(counter(name)), nanoseconds_(counter(cat(name, "_ns"))) {}

 private:
  friend class Span;
  Counter& count_;
  Counter& nanoseconds_;
};

class Span {
 public:
  explicit Span(SpanCounters& counters) : counters_(counters), start_(std::chrono::steady_clock::now()) {}
  Span(const Span&) = delete;
  Span& operator=(const Span&) = delete;
  ~Span() {
    auto elapsed = std::chrono::steady_clock::now() - start_;
    counters_.count_.add();
    counters_.nanoseconds_.add(std::chrono::duration_cast<std::chrono::nanoseconds>(elapsed).count());
  }

 private:
  SpanCounters& counters_;
  std::chrono::steady_clock::time_point start_;
};

}  // namespace kpt
