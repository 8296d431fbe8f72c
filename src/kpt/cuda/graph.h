// SPDX-License-Identifier: Apache-2.0
#pragma once
#include <functional>
#include <vector>

#include "kpt/cuda/driver.h"

namespace kpt {

// Bytes copied at the start or the end of a recorded graph; the other end of the copy may change from launch to launch.
struct CudaGraphCopy {
  void* place;
  size_t bytes;
};

// A CUDA graph: copies in, work, copies out. One launch costs the host a few microseconds whatever the number of
// kernels. Not thread-safe. The caller keeps all memory that the work uses.
class KPT_API CudaGraph {
 public:
  // `work` runs once, on a stream that records instead of executing: it must neither allocate nor wait.
  CudaGraph(int device, std::vector<CudaGraphCopy> inputs, std::vector<CudaGraphCopy> outputs,
            const std::function<void(CUstream)>& work);
  ~CudaGraph();
  CudaGraph(const CudaGraph&) = delete;
  CudaGraph& operator=(const CudaGraph&) = delete;

  void launch(const std::vector<const void*>& inputs, const std::vector<void*>& outputs, CUstream stream);
  size_t nodes() const { return nodes_; }

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
  size_t nodes_ = 0;
};

}  // namespace kpt
