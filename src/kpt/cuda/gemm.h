// SPDX-License-Identifier: Apache-2.0
#pragma once
#include <memory>
#include <string>

#include "kpt/base/dtype.h"
#include "kpt/cuda/driver.h"

namespace kpt {

// What cuBLASLt does to a sum before it is rounded. gelu_tanh is its only gelu.
enum class GemmTail : uint8_t { none, relu, gelu_tanh };

// A batch of products as cuBLASLt sees them, all column-major:
//
//   d[rows, columns] = tail(alpha op(a) op(b) + beta c + bias)        op(a): [rows, depth], op(b): [depth, columns]
//
// A row-major y = x w^T is this with rows = N, columns = M, a = w, b = x. Element type: f32, bf16 or f16 for all; the
// sum is f32 (plain fp32, never TF32, and no split of the sum is rounded to 16 bits). c and d have the strides of their
// own `ld`; steps (elements from one item to the next) of a and b may be 0. bias: [rows].
struct CudaGemm {
  DType dtype = DType::f32;
  int64_t rows = 0, columns = 0, depth = 0;
  bool a_transposed = false, b_transposed = false;  // memory holds op(a)^T
  int64_t lda = 0, ldb = 0, ldc = 0, ldd = 0;
  int64_t batch = 1, a_step = 0, b_step = 0, c_step = 0, d_step = 0;
  bool has_bias = false, has_c = false;
  GemmTail tail = GemmTail::none;
  double alpha = 1, beta = 0;
  int alignment = 16;  // bytes that the addresses of a, b, c, d and bias are all multiples of: 16 at most

  std::string key() const;  // every field, in words: equal keys, equal problems
  // The key without `columns`: a new sequence length is a new problem of the same family.
  std::string family() const;
};

struct CudaGemmPointers {
  const void *a, *b, *c, *bias;
  void* d;
  void* workspace;  // workspace_bytes() long, any alignment
};

// The algorithm chosen for a problem on one device. Immutable, thread-safe, kept for the life of the process.
class KPT_API CudaGemmPlan {
 public:
  virtual ~CudaGemmPlan() = default;
  virtual size_t workspace_bytes() const = 0;
  virtual std::string config() const = 0;  // "algo 66 tile 24 split 1, timed 8: 41.2 us"
  // Puts the product on the stream; neither allocates nor waits. The device's context must be current.
  virtual void run(const CudaGemmPointers& at, CUstream stream) const = 0;
};

struct CudaGemmChoice {
  std::shared_ptr<const CudaGemmPlan> plan;  // null where cuBLASLt has no algorithm (or one that drops a NaN)
  Verdict verdict;
};

// The plan for a problem: from this process' memo, from the file of earlier choices (cache folder, by device and
// library version), else made now:
//   timed   cuBLASLt's heuristics give up to 8 algorithms, which are timed on memory of the problem's size unless the
//           problem is tiny. The first size of a family times all, a later one the best three.
//   known   the algorithm that was chosen for the nearest size of the family, where it takes this problem (no new
//   kernel
//           of the library is loaded then: that takes milliseconds); the heuristics' first where there is none
//   plain   the heuristics' first that needs no workspace
// Thread-safe; `timed` may wait for the GPU on a stream of its own.
enum class GemmEffort : uint8_t { plain, known, timed };
KPT_API CudaGemmChoice cuda_gemm(const CudaGemm& gemm, int device, GemmEffort effort = GemmEffort::timed);

}  // namespace kpt
