// SPDX-License-Identifier: Apache-2.0
#pragma once
#include <cuda.h>

#include <string>
#include <vector>

#include "kpt/base/error.h"

namespace kpt {

// Every function of libcuda that is called here. Opened at run time: the same library runs where there is no GPU.
// Breaks lists of macros anew each time.
// clang-format off
#define KPT_CUDA_DRIVER_FUNCTIONS(X)                                                                            \
  X(cuInit) X(cuDriverGetVersion) X(cuGetErrorName) X(cuGetErrorString) X(cuDeviceGetCount) X(cuDeviceGet)      \
  X(cuDeviceGetName) X(cuDeviceGetAttribute) X(cuDeviceTotalMem) X(cuDeviceGetUuid) X(cuDevicePrimaryCtxRetain) \
  X(cuCtxGetCurrent) X(cuCtxSetCurrent) X(cuCtxSynchronize) X(cuMemGetInfo) X(cuMemAlloc) X(cuMemFree)          \
  X(cuMemAllocAsync) X(cuMemFreeAsync) X(cuMemcpyHtoDAsync) X(cuMemcpyDtoHAsync) X(cuMemcpyDtoDAsync)           \
  X(cuMemsetD8Async) X(cuStreamCreate) X(cuStreamDestroy) X(cuStreamSynchronize) X(cuStreamWaitEvent)           \
  X(cuStreamQuery) X(cuStreamBeginCapture) X(cuStreamEndCapture) X(cuStreamIsCapturing)                         \
  X(cuStreamGetCaptureInfo) X(cuGraphInstantiateWithFlags) X(cuGraphLaunch) X(cuGraphUpload) X(cuGraphDestroy)  \
  X(cuGraphExecDestroy) X(cuGraphGetNodes) X(cuGraphNodeGetType) X(cuGraphExecKernelNodeSetParams)              \
  X(cuGraphKernelNodeGetParams) X(cuEventCreate) X(cuEventDestroy) X(cuEventRecord) X(cuEventSynchronize)       \
  X(cuEventElapsedTime) X(cuModuleLoadData) X(cuModuleUnload) X(cuModuleGetFunction) X(cuFuncSetAttribute)      \
  X(cuFuncGetAttribute) X(cuLaunchKernelEx) X(cuOccupancyMaxActiveBlocksPerMultiprocessor)                      \
  X(cuGraphNodeGetDependentNodes) X(cuGraphMemsetNodeGetParams) X(cuGraphAddDependencies)                       \
  X(cuGraphGetRootNodes) X(cuGraphAddKernelNode) X(cuGraphDestroyNode)                                          \
  X(cuTensorMapEncodeTiled)
// clang-format on

struct CudaDriver {
#define KPT_DECLARE(name) decltype(&::name) name = nullptr;
  KPT_CUDA_DRIVER_FUNCTIONS(KPT_DECLARE)
#undef KPT_DECLARE
  decltype(&::cuFuncLoad) cuFuncLoad = nullptr;  // null before CUDA 12.4
};

// Opens libcuda.so.1 once and initialises it. Not ok where there is no driver, it is too old (< 12.0), or it has no
// device; the reason says which. Thread-safe.
KPT_API Verdict cuda_here();
// The functions. Throws Error{no_driver} with the reason of cuda_here() where it is not ok.
KPT_API const CudaDriver& cuda();

// Throws Error{otherwise}, or Error{resource} for CUDA_ERROR_OUT_OF_MEMORY: "[where] CUDA_ERROR_X (text)". Errors that
// poison the context (illegal address, launch failure) are Error{fault}: no later result of this process may be
// trusted, so every later cuda_check throws Error{fault} with the text of the first one.
KPT_API void cuda_check(CUresult result, std::string_view where, ErrorKind otherwise = ErrorKind::device);
KPT_API bool cuda_poisoned();
KPT_API std::string cuda_fault();  // the first one, "" where there was none

// What a GPU is. Probed once for each device.
struct CudaDevice {
  int index = 0;
  std::string name, uuid;
  int arch = 0;  // 90 for compute capability 9.0
  int multiprocessors = 0;
  int64_t memory_bytes = 0, l2_bytes = 0, shared_bytes = 0;  // shared: most that one block may ask for
  int clock_khz = 0, memory_clock_khz = 0, bus_bits = 0;
  int driver_version = 0;  // 13000 for 13.0
};
KPT_API const std::vector<CudaDevice>& cuda_devices();  // empty where cuda_here() is not ok

// Makes the device's primary context current (the one that torch and the CUDA runtime use) for a scope.
class KPT_API CudaGuard {
 public:
  explicit CudaGuard(int device);
  ~CudaGuard();
  CudaGuard(const CudaGuard&) = delete;
  CudaGuard& operator=(const CudaGuard&) = delete;

 private:
  CUcontext before_ = nullptr;
  bool changed_ = false;
};
KPT_API int current_cuda_device();  // of the current context, -1 if there is none

}  // namespace kpt
