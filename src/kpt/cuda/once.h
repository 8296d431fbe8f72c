// SPDX-License-Identifier: Apache-2.0
#pragma once
#include <atomic>
#include <map>
#include <memory>
#include <mutex>
#include <string>
#include <utility>

namespace kpt {

// What is made once for a key on a device, and kept as long as this object (as a function's static: for the life of the
// process). Different keys are made at the same time, callers of one key wait for the first; what throws is made again
// at the next call. Thread-safe.
template <class T>
class OncePerKey {
 public:
  template <class Make>  // T()
  const T& get(int device, const std::string& key, const Make& make) {
    Entry* entry;
    {
      const std::lock_guard<std::mutex> lock(mutex_);
      auto& slot = entries_[{device, key}];
      if (!slot) slot = std::make_unique<Entry>();
      entry = slot.get();
    }
    if (entry->made.load(std::memory_order_acquire)) return entry->value;
    // No std::call_once: under ThreadSanitizer one that threw never lets go.
    const std::lock_guard<std::mutex> lock(entry->making);
    if (!entry->made.load(std::memory_order_relaxed)) {
      entry->value = make();
      entry->made.store(true, std::memory_order_release);
    }
    return entry->value;
  }
  // Null where it was not made yet.
  const T* find(int device, const std::string& key) const {
    const std::lock_guard<std::mutex> lock(mutex_);
    const auto it = entries_.find({device, key});
    return it != entries_.end() && it->second->made.load(std::memory_order_acquire) ? &it->second->value : nullptr;
  }

 private:
  struct Entry {
    std::mutex making;
    T value{};
    std::atomic<bool> made{false};
  };
  mutable std::mutex mutex_;
  std::map<std::pair<int, std::string>, std::unique_ptr<Entry>> entries_;
};

}  // namespace kpt
