// SPDX-License-Identifier: Apache-2.0
#include "kpt/cuda/cudnn_engines.h"

#include <algorithm>
#include <array>

#include "kpt/cuda/library.h"

namespace cudnn_frontend {
void* cudnn_dlhandle = nullptr;  // where the frontend looks its functions up
}

namespace kpt {
namespace {

constexpr size_t kOldest = 90000;

Verdict open_cudnn() {
  if (Verdict v = cuda_here(); !v) return v;
  // The frontend asks the loader for the runtime by name: one that is loaded already is found by it.
  if (const OpenLibrary runtime = open_library({"libcudart.so.13", "libcudart.so.12"}); !runtime.verdict)
    return runtime.verdict;
  const OpenLibrary library = open_library({"libcudnn.so.9"});
  if (!library.verdict) return library.verdict;
  if (!library.symbol("cudnnGetVersion") || !library.symbol("cudnnBackendExecute"))
    return no("libcudnn.so.9 lacks cudnnBackendExecute");
  fe::cudnn_dlhandle = library.handle;
  if (fe::detail::get_backend_version() < kOldest)
    return no("got cuDNN ", fe::detail::get_backend_version(), ", want ", kOldest, " or newer");
  return yes();
}

}  // namespace

Verdict cudnn_here() {
  static const Verdict verdict = open_cudnn();
  return verdict;
}

size_t cudnn_version() { return cudnn_here() ? fe::detail::get_backend_version() : 0; }

CudnnHandle& cudnn_handle(int device) {
  constexpr size_t kHandles = 8;
  static std::mutex mutex;
  static std::map<int, std::pair<size_t, std::array<CudnnHandle, kHandles>>> devices;
  CudnnHandle* next;
  {
    const std::lock_guard<std::mutex> lock(mutex);
    auto& [given, handles] = devices[device];
    next = &handles[given++ % kHandles];
  }
  CudnnHandle& out = *next;
  const std::lock_guard<std::mutex> lock(out.mutex);
  if (!out.handle) {
    const CudaGuard guard(device);
    const cudnnStatus_t status = fe::detail::create_handle(&out.handle);
    if (status != CUDNN_STATUS_SUCCESS)
      throw_error(ErrorKind::device, "cuda.cudnn", cat("cudnnCreate: ", fe::detail::get_error_string(status)));
  }
  return out;
}

fe::DataType_t cudnn_type(DType dtype) {
  switch (dtype) {
    case DType::bf16: return fe::DataType_t::BFLOAT16;
    case DType::f16: return fe::DataType_t::HALF;
    case DType::i32: return fe::DataType_t::INT32;
    default: return fe::DataType_t::FLOAT;
  }
}

Verdict CudnnEngines::query(bool compiled, bool tf32) {
  const std::lock_guard<std::mutex> lock(handle_.mutex);
  fe::error_t error = graph_.validate();
  if (error.is_good()) error = graph_.build_operation_graph(handle_.handle);
  if (error.is_good()) error = graph_.create_execution_plans({fe::HeurMode_t::A, fe::HeurMode_t::FALLBACK});
  if (error.is_bad()) return no("cuDNN: ", error.get_message());
  using Note = fe::NumericalNote_t;
  graph_.deselect_numeric_notes({Note::DOWN_CONVERT_INPUTS, Note::REDUCED_PRECISION_REDUCTION, Note::FFT,
                                 Note::WINOGRAD, Note::NONDETERMINISTIC});
  if (!tf32) graph_.deselect_numeric_notes({Note::TENSOR_CORE});
  if (!compiled) graph_.deselect_behavior_notes({fe::BehaviorNote_t::RUNTIME_COMPILATION});
  graph_.deselect_workspace_greater_than(kCudnnMostWorkspace);
  return yes();
}

bool CudnnEngines::build(int64_t index) {
  const std::lock_guard<std::mutex> lock(handle_.mutex);
  return graph_.build_plan_at_index(handle_.handle, index).is_good();
}

size_t CudnnEngines::workspace_bytes(int64_t index) const {
  const int64_t bytes = workspace(index);
  return bytes > 0 ? static_cast<size_t>(bytes + kCudnnLine) : 0;
}

std::string CudnnEngines::name(int64_t index) const {
  std::string text;
  return graph_.get_plan_name_at_index(index, text).is_good() ? text : cat("engine ", index);
}

Verdict CudnnEngines::run(int64_t index, std::vector<std::pair<int64_t, void*>> operands, void* workspace,
                          CUstream stream) const {
  std::unordered_map<int64_t, void*> pointers(operands.begin(), operands.end());
  const auto line = (reinterpret_cast<uintptr_t>(workspace) + kCudnnLine - 1) / kCudnnLine * kCudnnLine;
  const std::lock_guard<std::mutex> lock(handle_.mutex);
  const cudnnStatus_t status = fe::detail::set_stream(handle_.handle, stream);
  if (status != CUDNN_STATUS_SUCCESS) return no(fe::detail::get_error_string(status));
  fe::error_t error = graph_.execute_plan_at_index(handle_.handle, pointers, reinterpret_cast<void*>(line), index);
  return error.is_good() ? yes() : no(error.get_message());
}

int64_t cudnn_bytes(DType dtype, const std::vector<int64_t>& sizes, const std::vector<int64_t>& strides) {
  int64_t last = 0;
  for (size_t i = 0; i < sizes.size(); ++i) last += (sizes[i] - 1) * strides[i];
  return ((last + 1) * static_cast<int64_t>(size_of(dtype)) + kCudnnLine - 1) / kCudnnLine * kCudnnLine;
}

}  // namespace kpt
