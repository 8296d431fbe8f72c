// SPDX-License-Identifier: Apache-2.0
#pragma once
#include <array>
#include <memory>

#include "kpt/cuda/driver.h"

namespace kpt {

// One kernel to compile: text, macros, entry (extern "C" name).
struct CudaProgram {
  std::string name;  // "norm/norm.cu", for messages
  std::string text;  // complete: nothing is included
  std::vector<std::string> defines;
  std::string entry;
};

// A kernel loaded on one device. Immutable; lives as long as the process.
struct CudaFunction {
  CUfunction handle = nullptr;
  int registers = 0, local_bytes = 0, shared_bytes = 0;  // shared: static
};

// The function on that device: from this process' memo, from the cache on disk (setting cache_dir; content-addressed,
// checksummed, written by rename, a damaged file is compiled again), else compiled by NVRTC. Thread-safe; two different
// programs compile at the same time. Counts cuda.nvrtc and cuda.cubin_loads.
KPT_API const CudaFunction& cuda_function(const CudaProgram& program, int device);

// Is it in the memo or in the cache on disk, so that cuda_function() compiles nothing (but where the file is damaged)?
KPT_API bool cuda_function_compiled(const CudaProgram& program, int device);

// Makes them ready, side by side on threads of their own. What one throws is thrown when all have ended. Thread-safe.
KPT_API void cuda_functions(const std::vector<CudaProgram>& programs, int device);

// As much dynamic shared memory as the launch asks for is allowed first where it is above 48 KiB. `params`: addresses
// of the arguments. `overlap`: programmatic dependent launch: the grid may start before its predecessor ended and must
// call griddepcontrol.wait before it reads what others wrote (arch >= 90; ignored below).
struct CudaShape {
  std::array<uint32_t, 3> grid{1, 1, 1}, block{1, 1, 1};
  uint32_t shared_bytes = 0;
  bool overlap = false;
  uint32_t cluster = 1;  // neighbours along x that run at the same time and see each other's shared memory: 8 at most
};
KPT_API void cuda_launch(const CudaFunction& function, const CudaShape& shape, void** params, CUstream stream,
                         std::string_view where);

}  // namespace kpt
