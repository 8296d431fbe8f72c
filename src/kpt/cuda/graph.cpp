// SPDX-License-Identifier: Apache-2.0
#include "kpt/cuda/graph.h"

#include <algorithm>

#include "kpt/base/log.h"
#include "kpt/cuda/graph_zeroes.h"

namespace kpt {
namespace {

struct CaptureStream {
  CUstream stream = nullptr;
  CaptureStream() { cuda_check(cuda().cuStreamCreate(&stream, CU_STREAM_NON_BLOCKING), "cuda.graph"); }
  ~CaptureStream() { cuda().cuStreamDestroy(stream); }
};

// Nodes that are no kernels: five memset nodes made a launch cost the host 9 us instead of 2.
size_t other_nodes(CUgraph graph, size_t count) {
  std::vector<CUgraphNode> nodes(count);
  cuda_check(cuda().cuGraphGetNodes(graph, nodes.data(), &count), "cuda.graph");
  return static_cast<size_t>(std::count_if(nodes.begin(), nodes.end(), [](CUgraphNode node) {
    CUgraphNodeType type;
    cuda_check(cuda().cuGraphNodeGetType(node, &type), "cuda.graph");
    return type != CU_GRAPH_NODE_TYPE_KERNEL;
  }));
}

}  // namespace

CudaGraph::CudaGraph(int device, const std::vector<CudaGraphPlace>& inputs, const std::vector<CudaGraphPlace>& outputs,
                     const CudaGraphWork& work)
    : in_(CudaGraphCopies::Way::in, device),
      out_(CudaGraphCopies::Way::out, device),
      inputs_(inputs.size()),
      outputs_(outputs.size()) {
  const CudaGuard guard(device);
  const CudaDriver& d = cuda();
  const CaptureStream capture;
  // Thread-local: other threads may allocate and wait while this one records.
  cuda_check(d.cuStreamBeginCapture(capture.stream, CU_STREAM_CAPTURE_MODE_THREAD_LOCAL), "cuda.graph");
  std::vector<CUgraphNode> before;  // each piece
  try {
    in_.record(inputs, capture.stream);
    for (size_t i = 0; i < work.own.size(); ++i) {
      before.push_back(last_recorded(capture.stream));
      work.run(i, capture.stream);
    }
    out_.record(outputs, capture.stream);
  } catch (...) {  // the stream must leave the capture whatever was thrown
    d.cuStreamEndCapture(capture.stream, &graph_);
    release();
    throw;
  }
  cuda_check(d.cuStreamEndCapture(capture.stream, &graph_), "cuda.graph");
  try {
    zeroes_ = gather_zeroes(graph_, work.own, before, device);
    cuda_check(d.cuGraphGetNodes(graph_, nullptr, &nodes_), "cuda.graph");
    cuda_check(d.cuGraphInstantiateWithFlags(&exec_, graph_, 0), "cuda.graph");
    if (log_enabled(LogLevel::debug))
      log(LogLevel::debug, "cuda.graph", "event=recorded nodes=", nodes_, " not_kernels=", other_nodes(graph_, nodes_),
          " zeroes_gathered=", zeroes_);
  } catch (const Error&) {
    release();
    throw;
  }
}

CudaGraph::~CudaGraph() { release(); }

void CudaGraph::release() {
  // Destructors do not throw: a graph of a lost context is gone with it.
  if (exec_) cuda().cuGraphExecDestroy(exec_);
  if (graph_) cuda().cuGraphDestroy(graph_);
  exec_ = nullptr;
  graph_ = nullptr;
}

void CudaGraph::launch(const std::vector<const void*>& inputs, const std::vector<void*>& outputs, CUstream stream) {
  KPT_ASSERT(inputs.size() == inputs_ && outputs.size() == outputs_, "cuda.graph", "other inputs than recorded");
  in_.set(exec_, inputs.data());
  out_.set(exec_, outputs.data());
  cuda_check(cuda().cuGraphLaunch(exec_, stream), "cuda.graph", ErrorKind::launch);
}

}  // namespace kpt
