// SPDX-License-Identifier: Apache-2.0
#pragma once
#include <vector>

#include "kpt/cuda/cublaslt.h"
#include "kpt/cuda/gemm.h"

namespace kpt {

// A problem in cuBLASLt's own structs. Used by the files of gemm alone.
struct GemmSetup {
  GemmSetup(const CudaGemm& gemm, int device);

  // The heuristics' algorithms that need no more workspace, best guess first: at most `most`, none where the problem is
  // not supported.
  std::vector<cublasLtMatmulHeuristicResult_t> candidates(int most, size_t workspace_bytes) const;
  // Is the algorithm one for this problem? Fills in the workspace it needs.
  bool takes(const cublasLtMatmulAlgo_t& algo, size_t* workspace_bytes) const;
  cublasStatus_t run(const cublasLtMatmulAlgo_t& algo, const CudaGemmPointers& at, void* workspace,
                     size_t workspace_bytes, CUstream stream) const;

  CudaGemm gemm;
  int device;
  cublasLtHandle_t handle;

 private:
  void describe(cublasLtMatmulDescOpaque_t* desc, const void* bias) const;
  mutable cublasLtMatrixLayoutOpaque_t a_, b_, c_, d_;  // read alone: the library's signatures lack const
};

// More memory than this no algorithm gets: what NVIDIA advises for Hopper and what torch gives.
constexpr size_t kGemmWorkspace = size_t{32} << 20;

// One algorithm among the candidates, by time on memory of the problem's size: index and microseconds. `quick`: only
// the first three, once. Where `keep_nan`, one that turns a NaN of the operands into a number is never chosen. Index -1
// where none is left; microseconds 0 where the memory for timing is not there and the first one was taken.
struct GemmTimed {
  int index = 0;
  double microseconds = 0;
};
GemmTimed time_gemm(const GemmSetup& setup, const std::vector<cublasLtMatmulHeuristicResult_t>& candidates, bool quick,
                    bool keep_nan);

}  // namespace kpt
