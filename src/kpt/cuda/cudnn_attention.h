// SPDX-License-Identifier: Apache-2.0
#pragma once
#include <array>
#include <memory>
#include <string>

#include "kpt/cuda/cudnn.h"

namespace kpt {

// y = softmax(q k^T scale) v, forward, bf16 or f16, scores and sums in f32. Sizes and strides (elements) in the order
// batch, heads, length, size of a head. causal: query i sees keys j <= i. lengths: batch entry b sees its first n[b]
// keys alone, n read on the device at each run.
struct CudnnAttention {
  DType dtype = DType::bf16;
  std::array<int64_t, 4> q{}, q_strides{}, k{}, k_strides{}, v{}, v_strides{}, y{}, y_strides{};
  double scale = 1;
  bool causal = false, lengths = false;

  std::string key() const;  // every field: equal keys, equal problems
};

struct CudnnAttentionPointers {
  const void *q, *k, *v;
  void* y;
  const int *query_lengths, *key_lengths;  // i32 [batch] on the device; null without lengths
  void* workspace;                         // workspace_bytes() long, any alignment
};

// The engine for a problem on one device. Immutable, thread-safe, kept for the life of the process.
class KPT_API CudnnAttentionPlan {
 public:
  virtual ~CudnnAttentionPlan() = default;
  virtual size_t workspace_bytes() const = 0;
  virtual std::string config() const = 0;
  // Puts the attention on the stream; neither allocates nor waits. All addresses must be multiples of 16.
  virtual void run(const CudnnAttentionPointers& at, CUstream stream) const = 0;
};

struct CudnnAttentionChoice {
  std::shared_ptr<const CudnnAttentionPlan> plan;  // null where cuDNN has no such engine
  Verdict verdict;
};

// The heuristics' first engine that builds; from this process' memo where the problem was seen. Thread-safe. Building
// may compile: tens of milliseconds.
KPT_API CudnnAttentionChoice cudnn_attention(const CudnnAttention& problem, int device);
// Has this process built (or tried to build) the engine? Then cudnn_attention() returns at once.
KPT_API bool cudnn_attention_built(const CudnnAttention& problem, int device);

}  // namespace kpt
