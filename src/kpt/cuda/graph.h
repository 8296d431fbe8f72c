// SPDX-License-Identifier: Apache-2.0
#pragma once
#include <functional>
#include <vector>

#include "kpt/cuda/driver.h"

namespace kpt {

struct CudaGraphPlace {
  void* place;
  size_t bytes;
};

// Pieces 0 to own.size() - 1, each run once, in order, on a stream that records instead of executing: a piece must
// neither allocate nor wait. own[i]: temporary memory that no other piece touches.
struct CudaGraphWork {
  std::vector<CudaGraphPlace> own;
  std::function<void(size_t piece, CUstream stream)> run;
};

// A CUDA graph: copies in, work, copies out. One launch costs the host a few microseconds whatever the number of
// kernels. Not thread-safe. The caller keeps all memory that the work uses.
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
  struct Copy {
    CUgraphNode node = nullptr;  // null: no bytes
    CUdeviceptr from = 0, to = 0;
    size_t bytes = 0;
  };
  void set(Copy& copy, CUdeviceptr from, CUdeviceptr to);
  void release();

  CUcontext context_ = nullptr;
  CUgraph graph_ = nullptr;
  CUgraphExec exec_ = nullptr;
  std::vector<Copy> in_, out_;
  size_t nodes_ = 0, zeroes_ = 0;
};

}  // namespace kpt
