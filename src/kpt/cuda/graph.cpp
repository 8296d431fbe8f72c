// SPDX-License-Identifier: Apache-2.0
#include "kpt/cuda/graph.h"

#include "kpt/base/log.h"
#include "kpt/cuda/graph_zeroes.h"

namespace kpt {
namespace {

CUdeviceptr address(const void* p) { return reinterpret_cast<CUdeviceptr>(p); }

// The node that the capture added last; null before the first.
CUgraphNode last_node(CUstream stream) {
  CUstreamCaptureStatus status;
  cuuint64_t id = 0;
  CUgraph graph = nullptr;
  const CUgraphNode* nodes = nullptr;
  const CUgraphEdgeData* edges = nullptr;
  size_t count = 0;
  cuda_check(cuda().cuStreamGetCaptureInfo(stream, &status, &id, &graph, &nodes, &edges, &count), "cuda.graph");
  KPT_ASSERT(count <= 1, "cuda.graph", count, " nodes wait at the end of a capture on one stream");
  return count ? nodes[0] : nullptr;
}

struct CaptureStream {
  CUstream stream = nullptr;
  CaptureStream() { cuda_check(cuda().cuStreamCreate(&stream, CU_STREAM_NON_BLOCKING), "cuda.graph"); }
  ~CaptureStream() { cuda().cuStreamDestroy(stream); }
};

}  // namespace

CudaGraph::CudaGraph(int device, const std::vector<CudaGraphPlace>& inputs, const std::vector<CudaGraphPlace>& outputs,
                     const CudaGraphWork& work) {
  const CudaGuard guard(device);
  const CudaDriver& d = cuda();
  cuda_check(d.cuCtxGetCurrent(&context_), "cuda.graph");
  const CaptureStream capture;
  // Thread-local: other threads may allocate and wait while this one records.
  cuda_check(d.cuStreamBeginCapture(capture.stream, CU_STREAM_CAPTURE_MODE_THREAD_LOCAL), "cuda.graph");
  const auto copy = [&](const CudaGraphPlace& c) {
    Copy out;
    out.from = out.to = address(c.place);  // a copy onto itself until the first launch says where from or to
    out.bytes = c.bytes;
    if (c.bytes == 0) return out;
    cuda_check(d.cuMemcpyDtoDAsync(out.to, out.from, c.bytes, capture.stream), "cuda.graph");
    out.node = last_node(capture.stream);
    return out;
  };
  std::vector<CUgraphNode> before;  // each piece
  try {
    for (const CudaGraphPlace& c : inputs) in_.push_back(copy(c));
    for (size_t i = 0; i < work.own.size(); ++i) {
      before.push_back(last_node(capture.stream));
      work.run(i, capture.stream);
    }
    for (const CudaGraphPlace& c : outputs) out_.push_back(copy(c));
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
    log(LogLevel::debug, "cuda.graph", "event=recorded nodes=", nodes_, " zeroes_gathered=", zeroes_);
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

void CudaGraph::set(Copy& copy, CUdeviceptr from, CUdeviceptr to) {
  if (!copy.node || (copy.from == from && copy.to == to)) return;
  CUDA_MEMCPY3D c{};
  c.srcMemoryType = c.dstMemoryType = CU_MEMORYTYPE_DEVICE;
  c.srcDevice = from;
  c.dstDevice = to;
  c.WidthInBytes = c.srcPitch = c.dstPitch = copy.bytes;
  c.Height = c.Depth = c.srcHeight = c.dstHeight = 1;
  cuda_check(cuda().cuGraphExecMemcpyNodeSetParams(exec_, copy.node, &c, context_), "cuda.graph");
  copy.from = from;
  copy.to = to;
}

void CudaGraph::launch(const std::vector<const void*>& inputs, const std::vector<void*>& outputs, CUstream stream) {
  KPT_ASSERT(inputs.size() == in_.size() && outputs.size() == out_.size(), "cuda.graph", "other inputs than recorded");
  for (size_t i = 0; i < in_.size(); ++i) set(in_[i], address(inputs[i]), in_[i].to);
  for (size_t i = 0; i < out_.size(); ++i) set(out_[i], out_[i].from, address(outputs[i]));
  cuda_check(cuda().cuGraphLaunch(exec_, stream), "cuda.graph", ErrorKind::launch);
}

}  // namespace kpt
