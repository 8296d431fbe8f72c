// SPDX-License-Identifier: Apache-2.0
#pragma once
#include <array>
#include <functional>
#include <memory>
#include <string>

#include "kpt/cuda/cudnn.h"

namespace kpt {

// y = x * w, forward, two spatial axes (a 1-D convolution has height 1), and what may be done with it before it is
// stored: y = relu(x * w + bias + residual), each part or none. One element type, f32, bf16 or f16; sums in f32: no
// TF32, no Winograd or FFT, nothing rounded on the way, the same bits at every run. Strides in elements.
struct CudnnConvolution {
  DType dtype = DType::f32;
  int64_t groups = 1;
  std::array<int64_t, 4> x{}, x_strides{};  // batch, channels, height, width
  std::array<int64_t, 4> w{}, w_strides{};  // outputs, channels / groups, height, width
  std::array<int64_t, 4> y{}, y_strides{};
  std::array<int64_t, 2> stride{1, 1}, padding{0, 0}, dilation{1, 1};
  bool bias = false, residual = false, relu = false;  // bias: one number an output channel; residual: laid out as y

  bool has_epilogue() const { return bias || residual || relu; }

  std::string key() const;     // every field: equal keys, equal problems
  std::string family() const;  // the key without the batch
};

struct CudnnPointers {
  const void *x, *w;
  const void *bias, *residual;  // null where the problem has none
  void* y;
  void* workspace;  // workspace_bytes() long, any alignment
};

// The engine chosen for a problem on one device. Immutable, thread-safe, kept for the life of the process.
class KPT_API CudnnConvolutionPlan {
 public:
  virtual ~CudnnConvolutionPlan() = default;
  virtual size_t workspace_bytes() const = 0;
  virtual std::string config() const = 0;
  virtual bool has_epilogue() const = 0;  // false: bias, residual and relu are still to be done to y
  // Puts the convolution on the stream; neither allocates nor waits. All addresses must be multiples of 16.
  virtual void run(const CudnnPointers& at, CUstream stream) const = 0;
};

struct CudnnChoice {
  std::shared_ptr<const CudnnConvolutionPlan> plan;  // null where cuDNN has no such engine
  Verdict verdict;
};

// Does the problem's epilogue to y in place.
using CudnnTail = std::function<void(const CudnnPointers&, CUstream)>;

// The plan for a problem: from this process' memo, by the number kept from an earlier process, else chosen now: the
// best few of the heuristics' engines are timed (if `timed`), once for each family; else the first one is taken. 16-bit
// channels-last problems may have their epilogue inside, by engines that compile: the plain ones are timed together
// with the tail. Thread-safe, engines of different problems compile side by side; may wait for the GPU on a stream of
// its own.
KPT_API CudnnChoice cudnn_convolution(const CudnnConvolution& problem, int device, const CudnnTail& tail, bool timed);

}  // namespace kpt
