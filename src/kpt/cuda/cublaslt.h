// SPDX-License-Identifier: Apache-2.0
#pragma once
#include <cublasLt.h>

#include <string_view>

#include "kpt/cuda/driver.h"

namespace kpt {

// Every function of cuBLASLt that is called here. Opened at run time, as libcuda is. The structs are made in place
// (…Init_internal with their size), so that a run needs no allocation.
// Breaks lists of macros anew each time.
// clang-format off
#define KPT_CUBLASLT_FUNCTIONS(X)                                                                               \
  X(cublasLtCreate) X(cublasLtGetVersion) X(cublasLtGetStatusName) X(cublasLtGetStatusString) X(cublasLtMatmul) \
  X(cublasLtMatmulAlgoGetHeuristic) X(cublasLtMatmulAlgoCheck) X(cublasLtMatmulAlgoConfigGetAttribute)          \
  X(cublasLtMatmulDescInit_internal) X(cublasLtMatmulDescSetAttribute) X(cublasLtMatrixLayoutInit_internal)     \
  X(cublasLtMatrixLayoutSetAttribute) X(cublasLtMatmulPreferenceInit_internal)                                  \
  X(cublasLtMatmulPreferenceSetAttribute)
// clang-format on

struct CublasLt {
#define KPT_DECLARE(name) decltype(&::name) name = nullptr;
  KPT_CUBLASLT_FUNCTIONS(KPT_DECLARE)
#undef KPT_DECLARE
};

// Opens libcublasLt.so.13, else .12, once. Not ok without a GPU, without the library, or where it lacks a function.
// Thread-safe.
KPT_API Verdict cublaslt_here();
// The functions. Throws Error{device} with the reason of cublaslt_here() where it is not ok.
KPT_API const CublasLt& cublaslt();
KPT_API size_t cublaslt_version();  // 130100 for 13.1.0

// The device's handle: made at first use, kept for the life of the process, usable from many threads at once.
KPT_API cublasLtHandle_t cublaslt_handle(int device);

// Throws Error{device}: "[where] CUBLAS_STATUS_X (text)". After a lost context every call throws (cuda_check).
KPT_API void cublaslt_check(cublasStatus_t status, std::string_view where);

}  // namespace kpt
