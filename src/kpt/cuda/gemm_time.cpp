// SPDX-License-Identifier: Apache-2.0
#include <algorithm>

#include "kpt/cuda/gemm_setup.h"
#include "kpt/cuda/timing.h"

namespace kpt {
namespace {

int64_t align(int64_t bytes) { return (bytes + 255) / 256 * 256; }

int64_t bytes_of(const CudaGemm& g, int64_t rows, int64_t columns, int64_t ld, int64_t step) {
  return align(((columns - 1) * ld + rows + (g.batch - 1) * step) * static_cast<int64_t>(size_of(g.dtype)));
}

// Where the operands lie in one piece of temporary memory. Several copies of `a`, used in turn: in a model the weights
// of the other layers have pushed this one's out of the cache since its last run.
struct Layout {
  int64_t a = 0, b = 0, c = 0, bias = 0, d = 0, copies = 1;

  Layout(const CudaGemm& g, int64_t cache_bytes) {
    a = bytes_of(g, g.a_transposed ? g.depth : g.rows, g.a_transposed ? g.rows : g.depth, g.lda, g.a_step);
    b = bytes_of(g, g.b_transposed ? g.columns : g.depth, g.b_transposed ? g.depth : g.columns, g.ldb, g.b_step);
    c = g.has_c ? bytes_of(g, g.rows, g.columns, g.ldc, g.c_step) : 0;
    bias = g.has_bias ? align(g.rows * static_cast<int64_t>(size_of(g.dtype))) : 0;
    d = bytes_of(g, g.rows, g.columns, g.ldd, g.d_step);
    copies = std::clamp<int64_t>(2 * cache_bytes / a + 1, 1, 32);
  }
  int64_t bytes() const { return copies * a + b + c + bias + d + static_cast<int64_t>(kGemmWorkspace); }
  CudaGemmPointers pointers(char* base, int turn) const {
    char* const at_b = base + copies * a;
    char* const at_c = at_b + b;
    char* const at_bias = at_c + c;
    char* const at_d = at_bias + bias;
    return {base + turn % copies * a, at_b, at_c, at_bias, at_d, at_d + d};
  }
};

bool is_nan(DType dtype, uint32_t word) {
  switch (dtype) {
    case DType::bf16: return (word & 0x7fff) > 0x7f80;
    case DType::f16: return (word & 0x7fff) > 0x7c00;
    default: return (word & 0x7fffffff) > 0x7f800000;
  }
}

}  // namespace

GemmTimed time_gemm(const GemmSetup& setup, const std::vector<cublasLtMatmulHeuristicResult_t>& candidates, bool quick,
                    bool keep_nan) {
  CudaTimer timer;
  const Layout layout(setup.gemm, cuda_devices().at(static_cast<size_t>(setup.device)).l2_bytes);
  CudaScratch scratch(layout.bytes(), timer.stream());
  if (!scratch) return {keep_nan ? -1 : 0, 0};
  scratch.fill_normal();
  std::vector<CudaTimer::Work> works;
  for (size_t i = 0; i < std::min<size_t>(candidates.size(), quick ? 3 : candidates.size()); ++i)
    works.push_back([&, i](int turn) {
      const CudaGemmPointers at = layout.pointers(scratch.data(), turn);
      const auto& c = candidates[i];
      return setup.run(c.algo, at, at.workspace, c.workspaceSize, timer.stream()) == CUBLAS_STATUS_SUCCESS;
    });
  // Does a NaN in every operand come out as NaN?
  const auto keeps_nan = [&](size_t i) {
    scratch.fill(0xff);
    if (!works[i](0)) return false;
    uint32_t word = 0;
    const auto d = reinterpret_cast<CUdeviceptr>(layout.pointers(scratch.data(), 0).d);
    cuda_check(cuda().cuMemcpyDtoHAsync(&word, d, size_of(setup.gemm.dtype), timer.stream()), "cuda.gemm");
    timer.wait();
    return is_nan(setup.gemm.dtype, word);
  };
  std::vector<double> times(works.size(), 0.0);
  if (works.size() > 1) times = timer.times(works, quick);
  for (int index = fastest(times); index >= 0; index = fastest(times)) {
    const auto at = static_cast<size_t>(index);
    if (!keep_nan || keeps_nan(at)) return {index, times[at]};
    times[at] = CudaTimer::kNever;
  }
  return {-1, 0};
}

}  // namespace kpt
