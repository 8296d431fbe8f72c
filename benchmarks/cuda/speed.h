// SPDX-License-Identifier: Apache-2.0
#pragma once
// What the programs of this folder share: memory full of numbers, and the time of work in a CUDA graph. For one thread;
// every driver call is checked: kpt::Error.
#include <algorithm>
#include <cstdio>
#include <functional>
#include <random>
#include <string>
#include <utility>
#include <vector>

#include "kpt/cuda/graph.h"
#include "kpt/tensor/tensor.h"

namespace kpt::speed {

// Device memory of a tensor, strides included. Floats are normal numbers of this deviation (zeros would let the chip
// run cooler than a model does), integers lie in [0, below), bytes and booleans are 1.
class Memory {
 public:
  Memory(const TensorDesc& desc, CUstream stream, float deviation = 1, int64_t below = 2) {
    int64_t last = 0;
    for (int i = 0; i < desc.sizes.rank(); ++i) last += (desc.sizes[i] - 1) * desc.strides[i];
    const size_t bytes = static_cast<size_t>(last + 1) * size_of(desc.dtype);
    cuda_check(cuda().cuMemAlloc(&at_, bytes + 256), "speed");
    static constexpr size_t kBlock = size_t{1} << 22;
    std::vector<char> block(kBlock, 1);
    std::mt19937_64 engine(1);
    std::normal_distribution<float> normal(0, deviation);
    if (size_of(desc.dtype) > 1) {
      for (size_t i = 0; i < kBlock / size_of(desc.dtype); ++i) {
        const double value = is_float(desc.dtype) ? static_cast<double>(normal(engine))
                                                  : static_cast<double>(engine() % static_cast<uint64_t>(below));
        store_from_double(desc.dtype, block.data() + i * size_of(desc.dtype), value);
      }
    }
    for (size_t i = 0; i < bytes; i += kBlock)
      cuda_check(cuda().cuMemcpyHtoDAsync(at_ + i, block.data(), std::min(kBlock, bytes - i), stream), "speed");
    cuda_check(cuda().cuStreamSynchronize(stream), "speed");
  }
  Memory(Memory&& other) noexcept : at_(std::exchange(other.at_, 0)) {}
  ~Memory() {
    if (at_) cuda().cuMemFree(at_);
  }
  void* data() const { return reinterpret_cast<void*>(at_); }

 private:
  CUdeviceptr at_ = 0;
};

inline Memory workspace(size_t bytes, CUstream stream) {
  return {TensorDesc::contiguous(DType::u8, {static_cast<int64_t>(bytes) + 1}), stream};
}

// A stream of its own and what times it.
class Clock {
 public:
  CUstream stream = nullptr;
  Clock() {
    cuda_check(cuda().cuStreamCreate(&stream, CU_STREAM_NON_BLOCKING), "speed");
    cuda_check(cuda().cuEventCreate(&start_, CU_EVENT_DEFAULT), "speed");
    cuda_check(cuda().cuEventCreate(&stop_, CU_EVENT_DEFAULT), "speed");
  }
  // Microseconds of work(turn, stream), which stands `runs` times in a graph; the median of 7 launches.
  double median_us(size_t runs, const std::function<void(size_t, CUstream)>& work) const {
    work(0, stream);
    cuda_check(cuda().cuStreamSynchronize(stream), "speed");
    CudaGraph graph(0, {}, {}, {std::vector<CudaGraphPlace>(runs), work});
    std::vector<double> times;
    for (int i = 0; i < 9; ++i) {
      cuda_check(cuda().cuEventRecord(start_, stream), "speed");
      graph.launch({}, {}, stream);
      cuda_check(cuda().cuEventRecord(stop_, stream), "speed");
      cuda_check(cuda().cuEventSynchronize(stop_), "speed");
      float ms = 0;
      cuda_check(cuda().cuEventElapsedTime(&ms, start_, stop_), "speed");
      if (i >= 2) times.push_back(1e3 * static_cast<double>(ms) / static_cast<double>(runs));
    }
    std::sort(times.begin(), times.end());
    return times[times.size() / 2];
  }

 private:
  CUevent start_ = nullptr, stop_ = nullptr;
};

// Runs that take about 2 ms together where one takes `guess` seconds.
inline size_t runs_of(double guess) {
  return static_cast<size_t>(std::clamp(2e-3 / std::max(guess, 3e-6), 3.0, 200.0));
}

// True where there are no words, or the label holds one of them.
inline bool wanted(const std::string& label, const std::vector<std::string>& words) {
  return words.empty() || std::any_of(words.begin(), words.end(),
                                      [&](const std::string& w) { return label.find(w) != std::string::npos; });
}

// main() of a program: `body` on device 0; errors to stderr, exit code 1.
inline int main_of(const char* program, const std::function<void()>& body) {
  try {
    if (const Verdict here = cuda_here(); !here) throw_error(ErrorKind::no_driver, "speed", here.reason);
    const CudaGuard guard(0);
    body();
    return 0;
  } catch (const Error& e) {
    std::fprintf(stderr, "%s: %s\n", program, e.what());
    return 1;
  }
}

}  // namespace kpt::speed
