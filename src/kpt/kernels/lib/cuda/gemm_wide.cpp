// SPDX-License-Identifier: Apache-2.0
#include "kpt/kernels/lib/cuda/gemm_wide.h"

#include <algorithm>
#include <numeric>

namespace kpt {
namespace {

constexpr int64_t kLeastRows = 64;
constexpr int64_t kBand = 4;  // 2, 4, 8 and 16 were the same within 3 % on an H200
constexpr int64_t kLeastPlainColumns = 2048;
constexpr int64_t kStepsBeside = 16;  // that a tile's 16 pieces are finished beside
constexpr int64_t kThreads = 384;

int64_t ceil_div(int64_t a, int64_t b) { return (a + b - 1) / b; }

// The ring, four staging buffers, two biases, barriers, and what aligning to 1024 bytes may lose.
constexpr int64_t shared_bytes() {
  constexpr int64_t kStep = (kWideX + kWideW) * kWideDepth * 2;
  return kWideStages * kStep + 4 * 64 * 64 * 2 + 2 * kWideW * 2 + kWideStages * 16 + 1024;
}

// How many classes y's rows come in (WideArguments::classes); 1 where classes are not wanted or would waste tiles. A
// tile's depth ends with the row: what follows in x is another class' row.
int64_t classes_of(const GemmProblem& p, bool pair_rows) {
  const int64_t classes = 8 / std::gcd<int64_t>(8, p.y_m);
  const int64_t tiled = ceil_div(ceil_div(p.m, classes), 2 * kWideX) * 2 * kWideX * classes;
  const bool good = pair_rows && p.m % classes == 0 && p.k % kWideDepth == 0 && p.n >= kWideW &&
                    tiled * 10 <= p.m * 11 && classes * std::max(p.x_m, p.y_m) < (int64_t{1} << 31);
  return good ? classes : 1;
}

}  // namespace

Verdict wide_gemm(const GemmCall& call, const GpuTraits& gpu, WideGemm& out, bool classes) {
  out = {};
  out.call = call;
  GemmProblem& p = out.call.product;
  fold_batch(p);
  if (call.dtype != DType::bf16 && call.dtype != DType::f16) return no("got ", call.dtype, ", want bf16 or f16");
  if (gpu.arch != 90) return no("got compute capability ", gpu.arch, ", want 90");
  if (gpu.shared_bytes < shared_bytes()) return no("got ", gpu.shared_bytes, " bytes of shared memory");
  if (p.batch_dims > 0) return no("a batch of products");
  if (p.alpha != 1 || p.has_residual) return no("a factor or a residual");
  if (p.x_k != 1 || (p.w_k != 1 && p.w_n != 1)) return no("got strides ", p.x_k, ", ", p.w_n, " and ", p.w_k);
  out.w_along_depth = p.w_k == 1;
  const int64_t w_row = out.w_along_depth ? p.w_n : p.w_k;
  if ((p.k | p.x_m | w_row) % 8)
    return no("got k ", p.k, " and row strides ", p.x_m, " and ", w_row, ", want multiples of 8");
  if (p.x_m < p.k || p.y_m < p.n || w_row < (out.w_along_depth ? p.k : p.n)) return no("rows that overlap");
  if (p.k < kWideDepth * kStepsBeside / 2) return no("got a depth of ", p.k, ", want 512 and more");
  if (std::max({p.m, p.n, p.k}) > 1 << 24) return no("got m ", p.m, " n ", p.n, " k ", p.k, ", want at most 2^24");
  if (p.act == Act::none && p.n < kLeastPlainColumns) return no("no activation and got n ", p.n);
  if (p.m < kLeastRows) return no("got m ", p.m, ", want ", kLeastRows, " and more");
  out.pair_rows = p.m > kWideX;
  WideArguments& a = out.arguments;
  a.classes = static_cast<int>(classes ? classes_of(p, out.pair_rows) : 1);
  const int64_t rows = a.classes * ceil_div(p.m / a.classes, kWideX * (out.pair_rows ? 2 : 1));
  const int64_t columns = ceil_div(a.classes > 1 ? p.n + 7 : p.n, kWideW * (out.pair_rows ? 1 : 2));
  const int64_t pairs = gpu.multiprocessors / 2;
  if (rows * columns * 2 < pairs) return no("got ", rows * columns, " tiles, want ", (pairs + 1) / 2, " and more");
  a.rows = static_cast<int>(rows), a.columns = static_cast<int>(columns);
  a.tiles = static_cast<int>(rows * columns);
  a.steps = static_cast<int>(ceil_div(p.k, kWideDepth));
  a.band = static_cast<int>(kBand);
  a.m = static_cast<int>(p.m / a.classes), a.n = static_cast<int>(p.n);
  a.x_row = static_cast<int>(p.x_m), a.y_row = p.y_m;
  out.y_boxes = a.classes > 1 ? 2 : a.y_row % 8 == 0 && p.n % 8 == 0 ? 1 : 0;
  out.parts = a.steps >= kStepsBeside ? 1 : 2;
  out.blocks = static_cast<int>(2 * std::min(rows * columns, pairs));
  return yes();
}

CudaWork plan_wide_gemm(const WideGemm& g) {
  const GemmProblem& p = g.call.product;
  const GemmOperands& at = g.call.at;
  CudaCall call;
  call.program = {"lib/cuda/gemm_wide.cu",
                  cuda_text("lib/cuda/gemm_wide.cu"),
                  {cat("ELEM=", cuda_type(g.call.dtype)), cat("ACT=", static_cast<int>(p.act)),
                   cat("BIAS=", int{p.has_bias}), cat("W_ALONG_DEPTH=", int{g.w_along_depth}),
                   cat("Y_BOXES=", g.y_boxes), cat("PAIR_ROWS=", int{g.pair_rows}), cat("PARTS=", g.parts)},
                  "gemm_wide"};
  call.shape.grid[0] = static_cast<uint32_t>(g.blocks);
  call.shape.block[0] = kThreads;
  call.shape.shared_bytes = static_cast<uint32_t>(shared_bytes());
  call.shape.overlap = true;
  // A row of all classes is one row of these two.
  const int64_t classes = g.arguments.classes, m = g.arguments.m;
  const auto columns_of = [classes](int64_t row, int64_t columns) { return (classes - 1) * row + columns; };
  const CudaMatrix x{g.call.dtype, m, columns_of(p.x_m, p.k), classes * p.x_m, kWideX / (g.pair_rows ? 1 : 2),
                     kWideDepth};
  const CudaMatrix w = g.w_along_depth
                           ? CudaMatrix{g.call.dtype, p.n, p.k, p.w_n, kWideW / (g.pair_rows ? 2 : 1), kWideDepth}
                           : CudaMatrix{g.call.dtype, p.k, p.n, p.w_k, kWideDepth, 64};
  const CudaMatrix y{g.call.dtype, m, columns_of(p.y_m, p.n), classes * p.y_m, 64, 64};
  call.params = {in_matrix_param(at.x, x),
                 in_matrix_param(at.w, w),
                 g.y_boxes ? out_matrix_param(0, y) : in_matrix_param(at.x, x),  // unused where y is no boxes
                 p.has_bias ? in_param(at.bias) : null_param(),
                 out_param(0),
                 value_param(g.arguments)};
  CudaWork work;
  work.config = cat("wide, ", g.arguments.tiles, " tiles by ", g.blocks, " blocks",
                    g.arguments.classes > 1 ? cat(", rows in ", g.arguments.classes, " classes") : "");
  work.calls.push_back(std::move(call));
  return work;
}

}  // namespace kpt
