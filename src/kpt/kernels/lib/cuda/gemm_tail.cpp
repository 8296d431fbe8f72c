// SPDX-License-Identifier: Apache-2.0
#include <algorithm>

#include "kpt/kernels/lib/cuda/gemm_cuda.h"

namespace kpt {
namespace {

constexpr int64_t kThreads = 256;
constexpr int64_t kRows = 2;   // of a deep thread: with more of them, registers would cost occupancy
constexpr int64_t kWaves = 4;  // blocks for every multiprocessor, below which threads are shallow instead

// Numbers of gemm_tail.cu.
struct Numbers {
  int64_t rows, y_step, residual_step, residual_m, residual_n;
  uint32_t width, blocks_of_row, row_blocks;
  float beta;
  int32_t shift, deep, wide;
};

int64_t ceil_div(int64_t a, int64_t b) { return (a + b - 1) / b; }

CudaCall call_of(const GemmCut& cut, const GemmItem& item, int64_t items, Numbers t, const GpuTraits& gpu) {
  const auto size = static_cast<int64_t>(size_of(cut.dtype));
  const int64_t vector = t.wide ? 16 / size : 1, columns = ceil_div(cut.n, vector);
  while ((int64_t{1} << t.shift) < std::min(columns, kThreads)) ++t.shift;
  const int64_t block_rows = kThreads >> t.shift, blocks_of_row = ceil_div(columns, int64_t{1} << t.shift);
  const auto blocks = [&](int64_t deep) { return items * ceil_div(t.rows, block_rows * deep) * blocks_of_row; };
  t.deep = blocks(kRows) >= kWaves * std::max(1, gpu.multiprocessors) ? kRows : 1;
  t.width = static_cast<uint32_t>(cut.n);
  t.blocks_of_row = static_cast<uint32_t>(blocks_of_row);
  t.row_blocks = static_cast<uint32_t>(ceil_div(t.rows, block_rows * t.deep));
  CudaCall call;
  call.program = {"lib/cuda/gemm_tail.cu",
                  cuda_text("lib/cuda/gemm_tail.cu"),
                  {cat("T=", cuda_type(cut.dtype)), cat("ACT=", static_cast<int>(cut.tail_act)),
                   cat("BIAS=", int{cut.tail_bias}), cat("RESIDUAL=", int{cut.tail_residual})},
                  "gemm_tail"};
  call.shape.grid = {static_cast<uint32_t>(blocks(t.deep)), 1, 1};
  call.shape.block = {static_cast<uint32_t>(kThreads), 1, 1};
  call.shape.overlap = true;
  call.params = {out_param(0, item.y * size), cut.tail_bias ? in_param(cut.at.bias) : null_param(),
                 cut.tail_residual ? in_param(cut.at.residual, item.residual * size) : null_param(), value_param(t)};
  return call;
}

}  // namespace

CudaWork plan_gemm_tail(const GemmCut& cut, const GpuTraits& gpu) {
  CudaWork work;
  if (cut.empty() || !cut.has_tail()) return work;
  const int64_t vector = 16 / static_cast<int64_t>(size_of(cut.dtype));
  Numbers t{};
  t.wide = cut.n % vector == 0;
  if (!cut.tail_residual) {  // y has no gaps: its rows are one matrix
    t.rows = cut.outputs() / cut.n;
    work.calls.push_back(call_of(cut, {}, 1, t, gpu));
    return work;
  }
  t.rows = cut.m;
  t.y_step = cut.y_step, t.residual_step = cut.residual_step;
  t.residual_m = cut.residual_m, t.residual_n = cut.residual_n;
  t.beta = static_cast<float>(cut.beta);
  t.wide = t.wide && t.residual_n == 1 && (t.residual_m | t.residual_step) % vector == 0;
  for (const GemmItem& item : cut.items) work.calls.push_back(call_of(cut, item, cut.batch, t, gpu));
  return work;
}

}  // namespace kpt
