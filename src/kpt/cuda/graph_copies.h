// SPDX-License-Identifier: Apache-2.0
#pragma once
#include <memory>
#include <vector>

#include "kpt/cuda/function.h"

namespace kpt {

struct CudaGraphPlace {
  void* place;
  size_t bytes;
};

// Copies between places that a graph keeps and memory that may be another at each launch, by one kernel for 16 of them.
// A copy node for each took the GPU 0.9 us and, where the memory is another, the host 0.55 us (H200, driver 580). Not
// thread-safe.
class CudaGraphCopies {
 public:
  enum class Way { in, out };  // to the places, from the places

  // Compiles and loads the kernel: not while a stream of this thread records.
  CudaGraphCopies(Way way, int device);
  // Puts the copies on a stream that records; until the first set() they copy the places onto themselves. Places of no
  // bytes are left out.
  void record(const std::vector<CudaGraphPlace>& places, CUstream stream);
  // Where the other ends lie at the next launch of `exec`, in the order of the places. Any alignment.
  void set(CUgraphExec exec, const void* const* others);
  size_t nodes() const { return batches_.size(); }

  // The kernel, for whoever compiles it without a GPU.
  static CudaProgram program();

 private:
  static constexpr size_t kMost = 16;
  struct Ranges {  // as in the kernel's text
    uint64_t from[kMost], to[kMost], bytes[kMost];
  };
  struct Batch {
    CUgraphNode node = nullptr;
    CudaShape shape;
    Ranges ranges{};
    bool untold = false;        // the graph has other ranges: telling it failed
    std::vector<size_t> index;  // of the places
  };

  Way way_;
  const CudaFunction* kernel_;
  unsigned most_blocks_;
  std::vector<std::unique_ptr<Batch>> batches_;  // the nodes' parameters point into them
};

// The node that a recording stream added last; null before the first. Works of one stream only.
CUgraphNode last_recorded(CUstream stream);

}  // namespace kpt
