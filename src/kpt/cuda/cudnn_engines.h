// SPDX-License-Identifier: Apache-2.0
#pragma once
// For the files of cuDNN alone: its frontend is header-only and costs half a minute of compiling.
#define NV_CUDNN_FRONTEND_USE_DYNAMIC_LOADING
#define CUDNN_FRONTEND_SKIP_JSON_LIB
#include <cudnn_frontend.h>

#include <map>
#include <memory>
#include <mutex>
#include <string>
#include <utility>
#include <vector>

#include "kpt/cuda/cudnn.h"

namespace kpt {

namespace fe = cudnn_frontend;

constexpr int64_t kCudnnLine = 256;                 // where a workspace starts
constexpr int64_t kCudnnMostWorkspace = 256 << 20;  // an engine that wants more is left out

fe::DataType_t cudnn_type(DType dtype);  // f32, bf16, f16, i32

template <class List>
std::vector<int64_t> cudnn_list(const List& numbers) {
  return {numbers.begin(), numbers.end()};
}

// A few handles a device, given out in turn. Each carries the stream of its next call: its calls take turns, while
// plans of different handles compile side by side.
struct CudnnHandle {
  std::mutex mutex;
  cudnnHandle_t handle = nullptr;
};
CudnnHandle& cudnn_handle(int device);

// A graph of cuDNN and its engines by the heuristics, best guess first. Not thread-safe until built; run() is.
class CudnnEngines {
 public:
  explicit CudnnEngines(int device) : handle_(cudnn_handle(device)) {}

  fe::graph::Graph& graph() { return graph_; }
  // Asks for engines. A no where nothing supports the graph. `compiled`: engines that compile at run time too.
  Verdict query(bool compiled, bool tf32);
  int64_t count() const { return graph_.get_execution_plan_count(); }
  bool build(int64_t index);
  int64_t workspace(int64_t index) const { return graph_.get_workspace_size_plan_at_index(index); }
  // What run() wants, with room to align it.
  size_t workspace_bytes(int64_t index) const;
  std::string name(int64_t index) const;
  // Queues the engine; false where it refuses, with why. Operands by their uid.
  Verdict run(int64_t index, std::vector<std::pair<int64_t, void*>> operands, void* workspace, CUstream stream) const;

 private:
  CudnnHandle& handle_;
  fe::graph::Graph graph_;
};

// choose() on that device; what the frontend throws of its own, for a function or library that it lacks, is a no.
template <class Choice, class Choose>
Choice cudnn_choice(int device, const Choose& choose) {
  const CudaGuard guard(device);
  try {
    return choose();
  } catch (const Error&) {
    throw;
  } catch (const std::runtime_error& e) {
    return {nullptr, no("cuDNN: ", e.what())};
  }
}

// Bytes between the first and the last element, up to the next line.
int64_t cudnn_bytes(DType dtype, const std::vector<int64_t>& sizes, const std::vector<int64_t>& strides);

}  // namespace kpt
