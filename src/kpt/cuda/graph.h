// SPDX-License-Identifier: Apache-2.0
#pragma once
#include <functional>
#include <vector>

#include "kpt/cuda/graph_copies.h"

namespace kpt {

// Pieces 0 to own.size() - 1, each run once, in order, on a stream that records instead of executing: a piece must
// neither allocate nor wait. own[i]: temporary memory that no other piece touches.
struct CudaGraphWork {
  std::vector<CudaGraphPlace> own;
  std::function<void(size_t piece, CUstream stream)> run;
};

// A CUDA graph: copies in, work, copies out. One launch costs the host about 2 us whatever the number of kernels, 9
// with five memset nodes among them (H200, driver 580). Not thread-safe. The caller keeps all memory that the work
// uses.
//
// A piece that begins by clearing part of its own memory (cuBLASLt's products that share their tiles out as they go
// do: 2.4 us a product on an H200, the memset and the gap before it) loses that node: one kernel at the start clears
// all of them.
class KPT_API CudaGraph {
 public:
  // Inputs and outputs are copied; the other end of the copy may change from launch to launch.
  CudaGraph(int device, const std::vector<CudaGraphPlace>& inputs, const std::vector<CudaGraphPlace>& outputs,
            const CudaGraphWork& work);
  ~CudaGraph();
  CudaGraph(const CudaGraph&) = delete;
  CudaGraph& operator=(const CudaGraph&) = delete;

  void launch(const std::vector<const void*>& inputs, const std::vector<void*>& outputs, CUstream stream);
  size_t nodes() const { return nodes_; }
  size_t zeroes() const { return zeroes_; }  // pieces whose memory is cleared at the start

 private:
  void release();

  CUgraph graph_ = nullptr;
  CUgraphExec exec_ = nullptr;
  CudaGraphCopies in_, out_;
  size_t inputs_, outputs_;
  size_t nodes_ = 0, zeroes_ = 0;
};

}  // namespace kpt
