// SPDX-License-Identifier: Apache-2.0
#include "kpt/cuda/cublaslt.h"

#include <map>
#include <mutex>

#include "kpt/cuda/library.h"

namespace kpt {
namespace {

struct Opened {
  CublasLt functions;
  Verdict verdict;
  size_t version = 0;
};

Opened open_cublaslt() {
  Opened out;
  out.verdict = cuda_here();
  if (!out.verdict) return out;
  const OpenLibrary library = open_library({"libcublasLt.so.13", "libcublasLt.so.12"});
  out.verdict = library.verdict;
  if (!out.verdict) return out;
#define KPT_LOAD(name)                                                                        \
  out.functions.name = reinterpret_cast<decltype(out.functions.name)>(library.symbol(#name)); \
  if (!out.functions.name) {                                                                  \
    out.verdict = no("cuBLASLt lacks ", #name, ", want CUDA 12 or newer");                    \
    return out;                                                                               \
  }
  KPT_CUBLASLT_FUNCTIONS(KPT_LOAD)
#undef KPT_LOAD
  out.version = out.functions.cublasLtGetVersion();
  return out;
}

const Opened& opened() {
  static const Opened value = open_cublaslt();
  return value;
}

}  // namespace

Verdict cublaslt_here() { return opened().verdict; }

const CublasLt& cublaslt() {
  if (!opened().verdict) throw_error(ErrorKind::library, "cuda.cublaslt", opened().verdict.reason);
  return opened().functions;
}

size_t cublaslt_version() { return opened().version; }

cublasLtHandle_t cublaslt_handle(int device) {
  static std::mutex mutex;
  static std::map<int, cublasLtHandle_t> handles;
  const std::lock_guard<std::mutex> lock(mutex);
  cublasLtHandle_t& handle = handles[device];
  if (!handle) {
    const CudaGuard guard(device);
    cublaslt_check(cublaslt().cublasLtCreate(&handle), "cuda.cublaslt");
  }
  return handle;
}

void cublaslt_check(cublasStatus_t status, std::string_view where) {
  cuda_check(CUDA_SUCCESS, where);
  if (status == CUBLAS_STATUS_SUCCESS) return;
  const CublasLt& lt = cublaslt();
  throw_error(status == CUBLAS_STATUS_ALLOC_FAILED ? ErrorKind::resource : ErrorKind::device, where,
              cat(lt.cublasLtGetStatusName(status), " (", lt.cublasLtGetStatusString(status), ")"));
}

}  // namespace kpt
