// SPDX-License-Identifier: Apache-2.0
#include "kpt/cuda/timing.h"

#include <algorithm>
#include <bit>
#include <random>

namespace kpt {
namespace {

constexpr const char* kWhere = "cuda.timing";
// Runs shorter than this many microseconds are timed inside a graph.
constexpr double kShort = 150;
// Microseconds of GPU time a candidate gets for each of its two passes.
constexpr double kPass = 300;
// Another candidate than the first must be this much faster: the rest is noise.
constexpr double kGain = 1.02;
// A candidate this near the best gets a second pass.
constexpr double kNear = 1.15;

std::mutex& turns() {
  static std::mutex mutex;
  return mutex;
}

}  // namespace

CudaTimer::CudaTimer() : turn_(turns()) {
  cuda_check(cuda().cuStreamCreate(&stream_, CU_STREAM_NON_BLOCKING), kWhere);
  cuda_check(cuda().cuEventCreate(&start_, CU_EVENT_DEFAULT), kWhere);
  cuda_check(cuda().cuEventCreate(&stop_, CU_EVENT_DEFAULT), kWhere);
}

CudaTimer::~CudaTimer() {
  // A destructor cannot throw; a fault has poisoned the context and shows at the next call.
  cuda().cuEventDestroy(stop_);
  cuda().cuEventDestroy(start_);
  cuda().cuStreamDestroy(stream_);
}

void CudaTimer::wait() const { cuda_check(cuda().cuStreamSynchronize(stream_), kWhere); }

double CudaTimer::span(int runs, const std::function<void()>& work) {
  cuda_check(cuda().cuEventRecord(start_, stream_), kWhere);
  work();
  cuda_check(cuda().cuEventRecord(stop_, stream_), kWhere);
  cuda_check(cuda().cuEventSynchronize(stop_), kWhere);
  float milliseconds = 0;
  cuda_check(cuda().cuEventElapsedTime(&milliseconds, start_, stop_), kWhere);
  return 1e3 * static_cast<double>(milliseconds) / runs;
}

double CudaTimer::eager(int runs, const Work& work) {
  bool ran = true;
  const double time = span(runs, [&] {
    for (int turn = 0; turn < runs && ran; ++turn) ran = work(turn);
  });
  return ran ? time : kNever;
}

double CudaTimer::recorded(int runs, const Work& work) {
  const CudaDriver& d = cuda();
  CUgraph graph = nullptr;
  CUgraphExec exec = nullptr;
  cuda_check(d.cuStreamBeginCapture(stream_, CU_STREAM_CAPTURE_MODE_RELAXED), kWhere);
  bool ran = true;
  for (int turn = 0; turn < runs && ran; ++turn) ran = work(turn);
  cuda_check(d.cuStreamEndCapture(stream_, &graph), kWhere);
  double time = kNever;
  if (ran) {
    cuda_check(d.cuGraphInstantiateWithFlags(&exec, graph, 0), kWhere);
    const auto play = [&] { cuda_check(d.cuGraphLaunch(exec, stream_), kWhere); };
    play();
    wait();
    time = std::min(span(runs, play), span(runs, play));
    cuda_check(d.cuGraphExecDestroy(exec), kWhere);
  }
  cuda_check(d.cuGraphDestroy(graph), kWhere);
  return time;
}

double CudaTimer::pass(const Work& work, double estimate) {
  if (estimate > kShort) return eager(estimate > kPass ? 1 : 2, work);
  return recorded(static_cast<int>(std::clamp(kPass / estimate, 4.0, 24.0)), work);
}

std::vector<double> CudaTimer::times(const std::vector<Work>& candidates, bool quick) {
  std::vector<double> times(candidates.size(), kNever);
  double best = kNever;
  for (size_t i = 0; i < candidates.size(); ++i) {
    if (!candidates[i](0)) continue;
    wait();
    const double estimate = eager(1, candidates[i]);
    // A first run shows by itself that a slow candidate is out; a short one's is mostly the launch.
    if (estimate > kShort && estimate > 1.5 * best) continue;
    times[i] = pass(candidates[i], estimate);
    best = std::min(best, times[i]);
  }
  for (size_t i = 0; i < candidates.size() && !quick; ++i)
    if (times[i] < kNear * best) times[i] = std::min(times[i], pass(candidates[i], times[i]));
  return times;
}

int fastest(const std::vector<double>& times) {
  const auto best = std::min_element(times.begin(), times.end());
  if (best == times.end() || *best == CudaTimer::kNever) return -1;
  return times[0] <= kGain * *best ? 0 : static_cast<int>(best - times.begin());
}

CudaScratch::CudaScratch(int64_t bytes, CUstream stream) : stream_(stream), bytes_(bytes) {
  constexpr int64_t kMost = int64_t{4} << 30;
  size_t free_bytes = 0, total = 0;
  cuda_check(cuda().cuMemGetInfo(&free_bytes, &total), kWhere);
  if (bytes > std::min<int64_t>(static_cast<int64_t>(free_bytes / 4), kMost)) return;
  const CUresult result = cuda().cuMemAllocAsync(&base_, static_cast<size_t>(bytes), stream);
  if (result == CUDA_ERROR_OUT_OF_MEMORY) return;
  cuda_check(result, kWhere);
}

CudaScratch::~CudaScratch() {
  // As above: a failed free shows at the next call.
  if (base_) cuda().cuMemFreeAsync(base_, stream_);
}

void CudaScratch::fill_normal() {
  static const std::vector<uint16_t> numbers = [] {
    std::mt19937 random(0);
    std::normal_distribution<float> normal;
    std::vector<uint16_t> out(size_t{1} << 19);
    for (uint16_t& x : out) x = static_cast<uint16_t>(std::bit_cast<uint32_t>(normal(random)) >> 16);
    return out;
  }();
  int64_t done = std::min<int64_t>(bytes_, static_cast<int64_t>(numbers.size() * sizeof(uint16_t)));
  cuda_check(cuda().cuMemcpyHtoDAsync(base_, numbers.data(), static_cast<size_t>(done), stream_), kWhere);
  for (; done < bytes_; done += std::min(done, bytes_ - done))
    cuda_check(cuda().cuMemcpyDtoDAsync(base_ + static_cast<CUdeviceptr>(done), base_,
                                        static_cast<size_t>(std::min(done, bytes_ - done)), stream_),
               kWhere);
}

void CudaScratch::fill(unsigned char byte) {
  cuda_check(cuda().cuMemsetD8Async(reinterpret_cast<CUdeviceptr>(data()), byte, static_cast<size_t>(bytes_), stream_),
             kWhere);
}

}  // namespace kpt
