// SPDX-License-Identifier: Apache-2.0
// Timing of algorithms on temporary memory. One at a time in the process: two would disturb each other.
#include <algorithm>
#include <cmath>
#include <limits>
#include <mutex>

#include "kpt/cuda/gemm_setup.h"

namespace kpt {
namespace {

constexpr double kNever = std::numeric_limits<double>::infinity();
// Runs shorter than this are timed inside a CUDA graph: launched one by one they would wait for the host.
constexpr double kShort = 150;
// Microseconds of GPU time a candidate gets for each of its two passes.
constexpr double kPass = 300;
// Another algorithm than the first must be this much faster: the rest is noise.
constexpr double kGain = 1.02;

struct Stream {
  CUstream handle = nullptr;
  Stream() { cuda_check(cuda().cuStreamCreate(&handle, CU_STREAM_NON_BLOCKING), "cuda.gemm timing"); }
  ~Stream() { cuda().cuStreamDestroy(handle); }
  Stream(const Stream&) = delete;
  Stream& operator=(const Stream&) = delete;
};

struct Event {
  CUevent handle = nullptr;
  Event() { cuda_check(cuda().cuEventCreate(&handle, CU_EVENT_DEFAULT), "cuda.gemm timing"); }
  ~Event() { cuda().cuEventDestroy(handle); }
  Event(const Event&) = delete;
  Event& operator=(const Event&) = delete;
};

int64_t align(int64_t bytes) { return (bytes + 255) / 256 * 256; }

int64_t bytes_of(const CudaGemm& g, int64_t rows, int64_t columns, int64_t ld, int64_t step) {
  return align(((columns - 1) * ld + rows + (g.batch - 1) * step) * static_cast<int64_t>(size_of(g.dtype)));
}

// Memory of the problem's size. Several copies of `a`, used in turn: in a model the weights of the other layers have
// pushed this one's out of the cache since its last run.
class Scratch {
 public:
  Scratch(const GemmSetup& setup, CUstream stream) : stream_(stream) {
    const CudaGemm& g = setup.gemm;
    a_bytes_ = bytes_of(g, g.a_transposed ? g.depth : g.rows, g.a_transposed ? g.rows : g.depth, g.lda, g.a_step);
    b_bytes_ = bytes_of(g, g.b_transposed ? g.columns : g.depth, g.b_transposed ? g.depth : g.columns, g.ldb, g.b_step);
    c_bytes_ = g.has_c ? bytes_of(g, g.rows, g.columns, g.ldc, g.c_step) : 0;
    d_bytes_ = bytes_of(g, g.rows, g.columns, g.ldd, g.d_step);
    bias_bytes_ = g.has_bias ? align(g.rows * static_cast<int64_t>(size_of(g.dtype))) : 0;
    const int64_t cache = cuda_devices().at(static_cast<size_t>(setup.device)).l2_bytes;
    copies_ = std::clamp<int64_t>(2 * cache / a_bytes_ + 1, 1, 32);
    const int64_t all =
        copies_ * a_bytes_ + b_bytes_ + c_bytes_ + d_bytes_ + bias_bytes_ + static_cast<int64_t>(kGemmWorkspace);
    size_t free_bytes = 0, total = 0;
    cuda_check(cuda().cuMemGetInfo(&free_bytes, &total), "cuda.gemm timing");
    if (all > std::min<int64_t>(static_cast<int64_t>(free_bytes / 4), kMost)) return;
    const CUresult result = cuda().cuMemAllocAsync(&base_, static_cast<size_t>(all), stream);
    if (result == CUDA_ERROR_OUT_OF_MEMORY) return;
    cuda_check(result, "cuda.gemm timing");
    bytes_ = all;
    fill(0x3c);  // 0.0115 as f32 and bf16, 1.06 as f16
  }
  ~Scratch() {
    // A destructor cannot throw; a failed free has poisoned the context and shows at the next call.
    if (base_) cuda().cuMemFreeAsync(base_, stream_);
  }
  Scratch(const Scratch&) = delete;
  Scratch& operator=(const Scratch&) = delete;

  explicit operator bool() const { return base_ != 0; }
  void fill(unsigned char byte) {
    cuda_check(cuda().cuMemsetD8Async(base_, byte, static_cast<size_t>(bytes_), stream_), "cuda.gemm timing");
  }
  CudaGemmPointers pointers(int64_t turn) const {
    const CUdeviceptr b = base_ + static_cast<CUdeviceptr>(copies_ * a_bytes_),
                      c = b + static_cast<CUdeviceptr>(b_bytes_);
    const CUdeviceptr bias = c + static_cast<CUdeviceptr>(c_bytes_), d = bias + static_cast<CUdeviceptr>(bias_bytes_);
    const auto at = [](CUdeviceptr p) { return reinterpret_cast<void*>(p); };
    return {at(base_ + static_cast<CUdeviceptr>(turn % copies_ * a_bytes_)),
            at(b),
            at(c),
            at(bias),
            at(d),
            at(d + static_cast<CUdeviceptr>(d_bytes_))};
  }

 private:
  static constexpr int64_t kMost = int64_t{4} << 30;
  CUstream stream_;
  CUdeviceptr base_ = 0;
  int64_t a_bytes_ = 0, b_bytes_ = 0, c_bytes_ = 0, d_bytes_ = 0, bias_bytes_ = 0, copies_ = 1, bytes_ = 0;
};

class Timer {
 public:
  Timer(const GemmSetup& setup, const std::vector<cublasLtMatmulHeuristicResult_t>& candidates)
      : setup_(setup), candidates_(candidates), scratch_(setup, stream_.handle) {}

  bool ready() const { return static_cast<bool>(scratch_); }

  // Loads the algorithm's code and says how long one run takes, the launch included; kNever if it refuses to run.
  double first_run(size_t i) {
    if (launch(i, 0) != CUBLAS_STATUS_SUCCESS) return kNever;
    wait();
    return eager(i, 1);
  }

  // One pass: microseconds a run, of about kPass in all.
  double pass(size_t i, double estimate) {
    if (estimate > kShort) return eager(i, estimate > kPass ? 1 : 2);
    return recorded(i, static_cast<int>(std::clamp(kPass / estimate, 4.0, 24.0)));
  }

  // Does a NaN in every operand come out as NaN?
  bool keeps_nan(size_t i) {
    scratch_.fill(0xff);
    if (launch(i, 0) != CUBLAS_STATUS_SUCCESS) return false;
    uint32_t word = 0;
    cuda_check(cuda().cuMemcpyDtoHAsync(&word, reinterpret_cast<CUdeviceptr>(scratch_.pointers(0).d),
                                        size_of(setup_.gemm.dtype), stream_.handle),
               "cuda.gemm timing");
    wait();
    switch (setup_.gemm.dtype) {
      case DType::bf16: return (word & 0x7fff) > 0x7f80;
      case DType::f16: return (word & 0x7fff) > 0x7c00;
      default: return (word & 0x7fffffff) > 0x7f800000;
    }
  }

 private:
  cublasStatus_t launch(size_t i, int64_t turn) {
    const CudaGemmPointers at = scratch_.pointers(turn);
    return setup_.run(candidates_[i].algo, at, at.workspace, candidates_[i].workspaceSize, stream_.handle);
  }
  void wait() { cuda_check(cuda().cuStreamSynchronize(stream_.handle), "cuda.gemm timing"); }

  template <class Work>
  double span(int runs, Work&& work) {
    cuda_check(cuda().cuEventRecord(start_.handle, stream_.handle), "cuda.gemm timing");
    work();
    cuda_check(cuda().cuEventRecord(stop_.handle, stream_.handle), "cuda.gemm timing");
    cuda_check(cuda().cuEventSynchronize(stop_.handle), "cuda.gemm timing");
    float milliseconds = 0;
    cuda_check(cuda().cuEventElapsedTime(&milliseconds, start_.handle, stop_.handle), "cuda.gemm timing");
    return 1e3 * static_cast<double>(milliseconds) / runs;
  }

  double eager(size_t i, int runs) {
    return span(runs, [&] {
      for (int run = 0; run < runs; ++run) cublaslt_check(launch(i, run), "cuda.gemm timing");
    });
  }

  double recorded(size_t i, int runs) {
    const CudaDriver& d = cuda();
    CUgraph graph = nullptr;
    CUgraphExec exec = nullptr;
    cuda_check(d.cuStreamBeginCapture(stream_.handle, CU_STREAM_CAPTURE_MODE_RELAXED), "cuda.gemm timing");
    cublasStatus_t status = CUBLAS_STATUS_SUCCESS;
    for (int run = 0; run < runs && status == CUBLAS_STATUS_SUCCESS; ++run) status = launch(i, run);
    cuda_check(d.cuStreamEndCapture(stream_.handle, &graph), "cuda.gemm timing");
    cublaslt_check(status, "cuda.gemm timing");
    cuda_check(d.cuGraphInstantiateWithFlags(&exec, graph, 0), "cuda.gemm timing");
    const auto play = [&] { cuda_check(d.cuGraphLaunch(exec, stream_.handle), "cuda.gemm timing"); };
    play();
    wait();
    const double time = std::min(span(runs, play), span(runs, play));
    cuda_check(d.cuGraphExecDestroy(exec), "cuda.gemm timing");
    cuda_check(d.cuGraphDestroy(graph), "cuda.gemm timing");
    return time;
  }

  const GemmSetup& setup_;
  const std::vector<cublasLtMatmulHeuristicResult_t>& candidates_;
  Stream stream_;
  Event start_, stop_;
  Scratch scratch_;
};

// Index of the fastest; the first one where nothing is clearly faster.
int fastest(const std::vector<double>& times) {
  const auto best = std::min_element(times.begin(), times.end());
  return times[0] <= kGain * *best ? 0 : static_cast<int>(best - times.begin());
}

std::vector<double> times_of(Timer& timer, size_t count, bool quick) {
  std::vector<double> times(count, kNever);
  double best = kNever;
  for (size_t i = 0; i < count; ++i) {
    const double estimate = timer.first_run(i);
    // The first runs show by themselves that a slow candidate is out; a short one's is mostly the launch.
    if (estimate == kNever || (estimate > kShort && estimate > 1.5 * best)) continue;
    times[i] = timer.pass(i, estimate);
    best = std::min(best, times[i]);
  }
  if (quick) return times;
  for (size_t i = 0; i < count; ++i)
    if (times[i] < 1.15 * best) times[i] = std::min(times[i], timer.pass(i, times[i]));
  return times;
}

}  // namespace

GemmTimed time_gemm(const GemmSetup& setup, const std::vector<cublasLtMatmulHeuristicResult_t>& candidates, bool quick,
                    bool keep_nan) {
  static std::mutex mutex;
  const std::lock_guard<std::mutex> lock(mutex);
  Timer timer(setup, candidates);
  if (!timer.ready()) return {keep_nan ? -1 : 0, 0};
  const size_t count = std::min<size_t>(candidates.size(), quick ? 3 : candidates.size());
  std::vector<double> times(count, 0.0);
  if (count > 1) times = times_of(timer, count, quick);
  for (int index = fastest(times); times[static_cast<size_t>(index)] < kNever; index = fastest(times)) {
    const auto at = static_cast<size_t>(index);
    if (!keep_nan || timer.keeps_nan(at)) return {index, times[at]};
    times[at] = kNever;
  }
  return {-1, 0};
}

}  // namespace kpt
