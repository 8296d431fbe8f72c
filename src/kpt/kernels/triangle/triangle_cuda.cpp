// SPDX-License-Identifier: Apache-2.0
#include <algorithm>
#include <bit>

#include "kpt/kernels/lib/cuda/rows.h"
#include "kpt/kernels/triangle/triangle_problem.h"

namespace kpt {
namespace {

constexpr int64_t kThreads = 256, kPacksEach = 2;

// As triangle.cu's Triangle.
struct Triangle {
  CudaRows rows;
  CudaDivider height, packs;
  int64_t step = 0;
  uint32_t units = 0, share = 0;
  int32_t columns = 0, vec = 1, shift = 0, element = 0, edge = 0, lower = 0;
};

Verdict supports(const Problem& p) {
  if (Verdict v = triangle_supports(p); !v) return v;
  return p.outputs[0].numel() <= kCudaMostUnits / 2 ? yes() : no("more than 2^30 elements");
}

CudaWork plan(const Problem& p) {
  const Verdict v = supports(p);
  KPT_CHECK(v.ok, "kernels.triangle", "got ", p.str(), ": ", v.reason);
  const TensorDesc& x = *p.operand(0);
  if (x.numel() == 0) return {};
  const int rank = x.sizes.rank();
  const int64_t element = static_cast<int64_t>(size_of(x.dtype)), columns = x.sizes[rank - 1];
  const int64_t height = x.sizes[rank - 2];
  Triangle t;
  Dims strides = x.strides;
  for (int d = 0; d < rank; ++d) strides[d] *= element;
  t.rows = cuda_rows({x.dtype, x.sizes, strides}, rank - 1);
  t.height = cuda_divider(height);
  t.step = strides[rank - 1];
  const bool words = t.step == element && std::min(row_word(x, rank - 1), common_word({columns * element})) == 16;
  t.vec = static_cast<int32_t>(words ? 16 / element : 1);
  t.shift = std::countr_zero(static_cast<uint32_t>(t.vec));
  t.packs = cuda_divider(columns / t.vec);
  const int64_t units = x.numel() / t.vec, chips = std::max(1, p.gpu.multiprocessors);
  t.units = static_cast<uint32_t>(units);
  int64_t threads = kThreads, share = kThreads * kPacksEach;
  if (units < 2 * chips * share) {
    while (threads > 64 && units < chips * threads) threads /= 2;
    share = threads;
  }
  t.share = static_cast<uint32_t>(share);
  t.columns = static_cast<int32_t>(columns);
  t.element = static_cast<int32_t>(element);
  t.lower = p.op == "aten.tril";
  // Farther away than this nothing changes.
  const int64_t diagonal = std::clamp(get_int(p.kwargs, "diagonal", 0), -height - 1, columns + 1);
  t.edge = static_cast<int32_t>(diagonal + t.lower);
  CudaCall call;
  call.program = {"triangle/triangle.cu", cuda_text("triangle/triangle.cu"), {}, "triangle"};
  call.shape.grid[0] = cuda_blocks(units, share);
  call.shape.block[0] = static_cast<uint32_t>(threads);
  call.shape.overlap = true;
  call.params = {value_param(t), in_param(p.operand_index(0)), out_param(0)};
  return {{call}, 0, cat(t.vec, " elements at once, blocks of ", threads)};
}

}  // namespace

void register_triangle_cuda(KernelRegistry& registry) {
  for (const char* op : {"aten.tril", "aten.triu"}) add_cuda(registry, op, "triangle", supports, plan);
}

}  // namespace kpt
