// SPDX-License-Identifier: Apache-2.0
#include "kpt/runtime/shortage.h"

#include <algorithm>
#include <mutex>
#include <vector>

#include "kpt/base/counters.h"
#include "kpt/base/log.h"

namespace kpt {
namespace {

struct Living {
  std::mutex mutex;
  std::vector<Holder*> holders;
};

Living& living() {
  static Living all;
  return all;
}

std::string left(const Device& device) {
  const std::optional<DeviceMemory> now = device.memory();
  if (!now) return "";
  return cat(", which has ", now->free_bytes, " bytes free of ", now->total_bytes);
}

}  // namespace

void Holder::join() {
  const std::lock_guard<std::mutex> lock(living().mutex);
  living().holders.push_back(this);
}

void Holder::leave() {
  const std::lock_guard<std::mutex> lock(living().mutex);
  std::erase(living().holders, this);
}

int64_t trim_idle() {
  const std::lock_guard<std::mutex> lock(living().mutex);
  int64_t freed = 0;
  for (Holder* holder : living().holders) freed += holder->trim();
  return freed;
}

namespace shortage {

int64_t first(const Device& device, int64_t bytes, const char* what, const Error& error) {
  static Counter& retries = counter("runtime.memory_retries");
  retries.add();
  const int64_t freed = trim_idle();
  log(LogLevel::warn, "runtime.memory", "event=oom_retry what=\"", what, "\" bytes=", bytes, " freed_bytes=", freed,
      " device=", device.label(), " error=\"", error.what(), '"');
  return freed;
}

void second(const Device& device, int64_t bytes, const char* what, int64_t freed, const Error& error) {
  log(LogLevel::error, "runtime.memory", "event=oom what=\"", what, "\" bytes=", bytes, " device=", device.label());
  throw_error(
      ErrorKind::resource, "runtime.memory",
      cat("got no memory for ", what, bytes ? cat(" (", bytes, " bytes)") : "", " on ", device.label(), left(device),
          ", after ", freed, " idle bytes of ours were freed; try a smaller batch, fewer callers ",
          "at once, or ending other processes on it: ", error.what()));
}

}  // namespace shortage
}  // namespace kpt
