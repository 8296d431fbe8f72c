// SPDX-License-Identifier: Apache-2.0
#pragma once
#include <memory>
#include <string>
#include <vector>

#include "kpt/cuda/cudnn.h"

namespace kpt {

// cuDNN's functions of one number. gelu: the exact form, by erf.
enum class CudnnAct : uint8_t { none, gelu, gelu_tanh, silu, tanh, sigmoid };

// y[m, n] = act(sum over k of x[m, k] w[k, n] + bias[n]) + residual[m, n], bf16 or f16, every step in f32 and one
// rounding at the end. x, y and residual are row-major with rows that many elements apart; of w's strides one is 1.
struct CudnnMatmul {
  DType dtype = DType::bf16;
  int64_t m = 0, n = 0, k = 0;
  int64_t x_m = 0, w_k = 0, w_n = 0, y_m = 0, residual_m = 0;
  bool bias = false, residual = false;
  CudnnAct act = CudnnAct::none;

  std::string family() const;  // all but m and what hangs on it
  std::string key() const;     // every field: equal keys, equal problems
};

struct CudnnMatmulPointers {
  const void *x, *w, *bias, *residual;  // bias, residual: null where the problem has none
  void* y;
  void* workspace;  // workspace_bytes() long, any alignment
};

// One engine for a problem on one device. Immutable, thread-safe.
class KPT_API CudnnMatmulPlan {
 public:
  virtual ~CudnnMatmulPlan() = default;
  virtual int64_t index() const = 0;  // among the heuristics' engines: names it to cudnn_matmul_engine
  virtual size_t workspace_bytes() const = 0;
  virtual std::string config() const = 0;
  // Puts the product on the stream; neither allocates nor waits. All addresses must be multiples of 16. A no where
  // cuDNN refuses.
  virtual Verdict run(const CudnnMatmulPointers& at, CUstream stream) const = 0;
};

struct CudnnMatmulPlans {
  std::vector<std::shared_ptr<const CudnnMatmulPlan>> plans;  // best guess first; empty: verdict says why
  Verdict verdict;
};

// The heuristics' first engines that can be built, `most` at most. Building compiles: a third of a second each.
// Thread-safe; nothing is kept.
KPT_API CudnnMatmulPlans cudnn_matmul(const CudnnMatmul& problem, int device, int most);
// The engine of that index alone.
KPT_API CudnnMatmulPlans cudnn_matmul_engine(const CudnnMatmul& problem, int device, int64_t index);

}  // namespace kpt
