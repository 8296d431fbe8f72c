// SPDX-License-Identifier: Apache-2.0
#include "kpt/base/threads.h"

#include <pthread.h>
#include <sched.h>

#include <algorithm>
#include <atomic>
#include <chrono>
#include <condition_variable>
#include <exception>
#include <mutex>
#include <thread>
#include <vector>

#include "kpt/base/settings.h"

namespace kpt {

namespace {

inline void relax() {
#if defined(__x86_64__)
  __builtin_ia32_pause();
#else
  std::this_thread::yield();
#endif
}

thread_local bool inside_task = false;

// One job at a time. `state_` is kOpen plus the number of workers inside the job: a worker that wakes late finds the
// job closed and leaves it alone, so a caller never waits for a sleeping thread.
class Pool {
 public:
  bool try_run(int64_t tasks, int limit, TaskRef task) {
    if (!busy_.try_lock()) return false;
    std::lock_guard<std::mutex> release(busy_, std::adopt_lock);
    start_workers(static_cast<int>(std::min<int64_t>(limit, tasks)) - 1);
    task_ = &task;
    tasks_ = tasks;
    limit_ = limit;
    next_task_.store(0, std::memory_order_relaxed);
    next_worker_.store(1, std::memory_order_relaxed);
    failure_ = nullptr;
    epoch_.fetch_add(1, std::memory_order_relaxed);
    state_.store(kOpen, std::memory_order_seq_cst);
    wake_sleepers();
    work(0);
    state_.fetch_and(~kOpen, std::memory_order_acq_rel);
    for (int spins = 0; state_.load(std::memory_order_acquire) != 0; ++spins)
      spins < 2000 ? relax() : std::this_thread::yield();
    if (failure_) std::rethrow_exception(failure_);
    return true;
  }

 private:
  static constexpr int64_t kOpen = int64_t{1} << 32;

  void start_workers(int wanted) {
    if (started_ >= wanted) return;
    const std::chrono::microseconds spin(setting_int("spin_us"));  // read here: a bad value throws in the caller
    while (started_ < wanted) {
      std::thread([this, spin] { serve(spin); }).detach();  // detached: the pool lives as long as the process
      ++started_;
    }
  }

  void wake_sleepers() {
    if (sleepers_.load(std::memory_order_seq_cst) == 0) return;
    std::lock_guard<std::mutex> lock(sleep_mutex_);
    sleep_.notify_all();
  }

  void serve(std::chrono::microseconds spin) {
    uint64_t served = 0;
    for (;;) {
      wait_for_job(served, spin);
      int64_t s = state_.load(std::memory_order_acquire);
      while ((s & kOpen) && !state_.compare_exchange_weak(s, s + 1, std::memory_order_acq_rel)) {
      }
      if (!(s & kOpen)) {
        relax();
        continue;
      }
      served = epoch_.load(std::memory_order_relaxed);
      const int worker = next_worker_.fetch_add(1, std::memory_order_relaxed);
      if (worker < limit_) work(worker);
      state_.fetch_sub(1, std::memory_order_acq_rel);
    }
  }

  bool has_job(uint64_t served) const {
    return (state_.load(std::memory_order_seq_cst) & kOpen) && epoch_.load(std::memory_order_relaxed) != served;
  }

  void wait_for_job(uint64_t served, std::chrono::microseconds spin) {
    const auto until = std::chrono::steady_clock::now() + spin;
    do {
      for (int i = 0; i < 64; ++i) {
        if (has_job(served)) return;
        relax();
      }
    } while (std::chrono::steady_clock::now() < until);
    std::unique_lock<std::mutex> lock(sleep_mutex_);
    sleepers_.fetch_add(1, std::memory_order_seq_cst);
    sleep_.wait(lock, [&] { return has_job(served); });
    sleepers_.fetch_sub(1, std::memory_order_relaxed);
  }

  void work(int worker) {
    inside_task = true;
    for (;;) {
      const int64_t i = next_task_.fetch_add(1, std::memory_order_relaxed);
      if (i >= tasks_) break;
      try {
        (*task_)(i, worker);
      } catch (...) {  // carried to the caller, who rethrows it
        std::lock_guard<std::mutex> lock(failure_mutex_);
        if (!failure_) failure_ = std::current_exception();
      }
    }
    inside_task = false;
  }

  std::mutex busy_;
  int started_ = 0;
  const TaskRef* task_ = nullptr;
  int64_t tasks_ = 0;
  int limit_ = 0;
  std::exception_ptr failure_;
  std::mutex failure_mutex_;
  alignas(64) std::atomic<int64_t> next_task_{0};
  alignas(64) std::atomic<int64_t> state_{0};
  std::atomic<uint64_t> epoch_{0};
  std::atomic<int> next_worker_{0};
  std::atomic<int> sleepers_{0};
  std::mutex sleep_mutex_;
  std::condition_variable sleep_;
};

std::atomic<Pool*> the_pool{nullptr};

// A forked child has none of the parent's threads: it starts a pool of its own (the old one is never touched again).
void forget_pool() { the_pool.store(nullptr, std::memory_order_relaxed); }

Pool& pool() {
  Pool* p = the_pool.load(std::memory_order_acquire);
  if (p) return *p;
  static std::once_flag hooked;
  std::call_once(hooked, [] { pthread_atfork(nullptr, nullptr, forget_pool); });
  auto* fresh = new Pool;  // never freed: workers may outlive static destruction
  if (the_pool.compare_exchange_strong(p, fresh, std::memory_order_acq_rel)) return *fresh;
  delete fresh;
  return *p;
}

}  // namespace

void parallel_for(int64_t tasks, int limit, TaskRef task) {
  if (tasks > 1 && limit > 1 && !inside_task && pool().try_run(tasks, limit, task)) return;
  std::exception_ptr failure;
  for (int64_t i = 0; i < tasks; ++i) {
    try {
      task(i, 0);
    } catch (...) {  // the other tasks still run, as in the parallel case
      if (!failure) failure = std::current_exception();
    }
  }
  if (failure) std::rethrow_exception(failure);
}

int usable_processors() {
  cpu_set_t set;
  if (sched_getaffinity(0, sizeof set, &set) == 0) return std::max(1, CPU_COUNT(&set));
  return std::max(1u, std::thread::hardware_concurrency());
}

}  // namespace kpt
