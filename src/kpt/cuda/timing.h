// SPDX-License-Identifier: Apache-2.0
#pragma once
#include <functional>
#include <limits>
#include <mutex>
#include <vector>

#include "kpt/cuda/driver.h"

namespace kpt {

// Times work on a stream of its own, to choose among algorithms. Everything that is timed this way in the process takes
// turns: two at a time would disturb each other. Not thread-safe.
class CudaTimer {
 public:
  CudaTimer();
  ~CudaTimer();
  CudaTimer(const CudaTimer&) = delete;
  CudaTimer& operator=(const CudaTimer&) = delete;

  CUstream stream() const { return stream_; }
  void wait() const;

  // Puts one run on the stream; `turn` counts runs, so that they may use different memory. False: it refuses to run.
  using Work = std::function<bool(int turn)>;
  static constexpr double kNever = std::numeric_limits<double>::infinity();

  // Microseconds of a run for each candidate, kNever where it does not run or is clearly slow. The first run of each
  // loads its code. Short runs are timed inside a CUDA graph: launched one by one they would wait for the host.
  // `quick`: one pass instead of two.
  std::vector<double> times(const std::vector<Work>& candidates, bool quick);

 private:
  double span(int runs, const std::function<void()>& work);
  double eager(int runs, const Work& work);
  double recorded(int runs, const Work& work);
  double pass(const Work& work, double estimate);

  std::unique_lock<std::mutex> turn_;  // one timer at a time
  CUstream stream_ = nullptr;
  CUevent start_ = nullptr, stop_ = nullptr;
};

// Index of the fastest, the first one where no other is clearly faster; -1 where all are kNever.
int fastest(const std::vector<double>& times);

// Temporary device memory in stream order; null where there is not that much to spare (a quarter of what is free, 4 GiB
// at most).
class CudaScratch {
 public:
  CudaScratch(int64_t bytes, CUstream stream);
  ~CudaScratch();
  CudaScratch(const CudaScratch&) = delete;
  CudaScratch& operator=(const CudaScratch&) = delete;

  explicit operator bool() const { return base_ != 0; }
  char* data() const { return reinterpret_cast<char*>(base_); }
  void fill(unsigned char byte);
  // Normal random bf16 (as f16 between 0.3 and 2.5, either sign): equal numbers would draw less power than those of a
  // model, and a GPU at its power limit would look faster than it is.
  void fill_normal();

 private:
  CUstream stream_;
  CUdeviceptr base_ = 0;
  int64_t bytes_;
};

}  // namespace kpt
