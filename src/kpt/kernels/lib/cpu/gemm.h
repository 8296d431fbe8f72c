// SPDX-License-Identifier: Apache-2.0
// Batched matrix product with an epilogue, shared by linear and matmul:
//
//   y[m][n] = act(alpha * sum over k of x[m][k] w[k][n] + bias[n]) + beta * residual[m][n]
//
// One element type for all operands, f32 accumulation, one rounding at the end. No operand is copied as a whole: one of
// x and w is read in place, the other in panels of 48 (AVX-512) vectors that live in the L2 cache of one worker.
//
// "Rows" is the side read in place, "lanes" the packed side; either of m and n can be either:
//
//   rows are n   panels of x; w in place: y = x W^T of linear. The tile is y^T and is turned on its way out
//   rows are m   panels of w; x in place: w with n contiguous. The tile is y. Few rows: w is read in place too
//   dot          a side of at most one vector, k contiguous on both: sums along k, nothing packed
//
// Plain C++: included by *_simd.cpp, so no standard containers here. run_gemm and the choice of a plan: gemm_run.h.
#pragma once
#include <cstdint>

#include "kpt/kernels/lib/cpu/act.h"

namespace kpt {

constexpr int kGemmBatchDims = 6;

// Strides in elements. Batch strides of 0 broadcast.
struct GemmProblem {
  Elem elem = Elem::f32;
  int64_t m = 0, n = 0, k = 0;
  int64_t x_m = 0, x_k = 1, w_n = 0, w_k = 1, y_m = 0;  // y: n contiguous
  int64_t residual_m = 0, residual_n = 1;
  int batch_dims = 0;
  int64_t batch[kGemmBatchDims] = {};
  int64_t x_batch[kGemmBatchDims] = {}, w_batch[kGemmBatchDims] = {}, y_batch[kGemmBatchDims] = {};
  int64_t residual_batch[kGemmBatchDims] = {};
  bool has_bias = false, has_residual = false;
  Act act = Act::none;
  double alpha = 1, beta = 1;
  int threads = 1;
};

// How the work is cut. A unit is one panel times one row block of one batch item; a task is a run of units.
struct GemmPlan {
  bool rows_are_n = true, dot = false, in_place = false;
  int64_t lanes = 0, rows = 0;   // sizes of the two sides
  int max_v = 1;                 // vectors in the widest panel
  int64_t panels = 0, wide = 0;  // panels over `lanes`: the first `wide` have max_v vectors, the others one less
  int64_t row_blocks = 1, row_block = 0;  // a row block is a multiple of the vector's lanes
  int64_t batch = 1, units = 0, units_per_task = 1, tasks = 0;
  int64_t panel_floats = 0, wide_floats = 0;  // parts of a worker's scratch: the panel; rows as float (bf16, f16)
  int64_t worker_bytes = 0;                   // all of it, a multiple of 64
};

struct GemmPointers {
  const void* x;
  const void* w;
  const void* bias;
  const void* residual;
  void* y;
};

// One build for each instruction set. gemm_lanes: floats in a vector; gemm_max_v: vectors in a full panel.
#define KPT_GEMM_ENTRIES(isa)                                                                                      \
  namespace isa {                                                                                                  \
  int gemm_lanes();                                                                                                \
  int gemm_max_v();                                                                                                \
  /* Before the first task of a worker: marks its scratch as holding no panel. */                                  \
  void gemm_reset(void* scratch);                                                                                  \
  void gemm_task(const GemmProblem& p, const GemmPlan& plan, const GemmPointers& at, int64_t task, void* scratch); \
  }
KPT_GEMM_ENTRIES(generic)
KPT_GEMM_ENTRIES(avx2)
KPT_GEMM_ENTRIES(avx512)
KPT_GEMM_ENTRIES(avx512bf16)
#undef KPT_GEMM_ENTRIES

}  // namespace kpt
