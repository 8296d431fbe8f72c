// SPDX-License-Identifier: Apache-2.0
#pragma once
#include <cstdint>

#include "kpt/base/error.h"

namespace kpt {

// A non-owning reference to a callable `void(int64_t task, int worker)`; valid during the call it is passed to.
class TaskRef {
 public:
  template <class F>
  TaskRef(F& f)  // NOLINT: a lambda converts silently at each call of parallel_for
      : self_(&f), call_([](void* self, int64_t task, int worker) { (*static_cast<F*>(self))(task, worker); }) {}
  void operator()(int64_t task, int worker) const { call_(self_, task, worker); }

 private:
  void* self_;
  void (*call_)(void*, int64_t, int);
};

// Runs task(i, worker) once for every i in [0, tasks), spread over at most `limit` threads, the caller among them.
// worker is in [0, limit): it indexes per-thread scratch. Tasks are handed out one by one from a shared counter, so
// make them coarse (>= 10 us). Returns after the last task ended. Threads of one process-wide pool are shared: where it
// is busy for another caller, the caller runs all tasks itself, so concurrent callers never wait for each other. The
// first exception of a task is rethrown in the caller; the other tasks still run. Nested calls run serially.
// Thread-safe.
KPT_API void parallel_for(int64_t tasks, int limit, TaskRef task);

template <class F>
void parallel(int64_t tasks, int limit, F&& f) {
  if (tasks <= 1 || limit <= 1) {
    for (int64_t i = 0; i < tasks; ++i) f(i, 0);
    return;
  }
  parallel_for(tasks, limit, TaskRef(f));
}

// Processors this process may use (affinity mask, not the machine's count).
KPT_API int usable_processors();

}  // namespace kpt
