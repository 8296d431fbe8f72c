// SPDX-License-Identifier: Apache-2.0
#include "kpt/kernels/rotary/rotary_cuda.h"

#include <algorithm>

#include "kpt/kernels/lib/cuda/rows.h"

namespace kpt {
namespace {

constexpr int kMostHeads = 4;  // of a thread: 128 bytes in flight; as in rotary.cu
constexpr int64_t kBlock = 128;

// Params of rotary.cu.
struct Params {
  uint32_t units;
  int32_t half, heads, repeat;
  CudaDivider chunks, rows;
  CudaRows x, cos, sin, y;
  int64_t head_x, head_y;
  int64_t step_x, step_cos, step_sin, step_y;
};

// Leading dimensions but the one of the heads.
CudaRows outer_rows(const TensorDesc& desc, int axis) {
  Dims sizes, strides;
  for (int d = 0; d < desc.sizes.rank() - 1; ++d) {
    if (d == axis) continue;
    sizes.push_back(desc.sizes[d]);
    strides.push_back(desc.strides[d]);
  }
  return cuda_rows(sizes, strides);
}

int64_t units_of(const Rotary& r, const RotaryShape& s, int repeat) {
  return r.rows / s.heads * (r.half / s.vec) * ((s.heads + repeat - 1) / repeat);
}

Verdict supports(const Problem& p) {
  if (Verdict v = rotary_supports(p); !v) return v;
  Rotary r;
  read_rotary(p, r);
  // The count of units (elements of a half, at most) and an index behind the last one in a block stay below 2^31.
  return r.half == 0 || r.rows <= (kCudaMostUnits - kBlock) / r.half ? yes() : no(r.rows, " rows of ", 2 * r.half);
}

CudaWork plan(const Problem& p) {
  Rotary r;
  const Verdict v = read_rotary(p, r);
  KPT_CHECK(v.ok, "kernels.rotary", "got ", p.str(), ": ", v.reason);
  if (r.rows == 0 || r.half == 0) return {};
  const RotaryShape shape = rotary_shape(r, p.gpu);
  const int64_t units = units_of(r, shape, shape.repeat);
  Params params{};
  params.units = static_cast<uint32_t>(units);
  params.half = static_cast<int32_t>(r.half);
  params.heads = static_cast<int32_t>(shape.heads);
  params.repeat = shape.repeat;
  params.chunks = cuda_divider(r.half / shape.vec);
  params.rows = cuda_divider(r.rows / shape.heads);
  params.x = outer_rows(r.x, shape.axis);
  params.cos = outer_rows(r.cos, shape.axis);
  params.sin = outer_rows(r.sin, shape.axis);
  params.y = outer_rows(r.y, shape.axis);
  if (shape.axis >= 0) {
    params.head_x = r.x.strides[shape.axis];
    params.head_y = r.y.strides[shape.axis];
  }
  params.step_x = r.x.strides.back();
  params.step_cos = r.cos.strides.back();
  params.step_sin = r.sin.strides.back();
  params.step_y = r.y.strides.back();

  CudaCall call;
  call.program = {"rotary/rotary.cu",
                  cuda_text("rotary/rotary.cu"),
                  {cat("ROW=", cuda_type(r.x.dtype)), cat("TABLE=", cuda_type(r.cos.dtype)), cat("VEC=", shape.vec)},
                  "rotary_rows"};
  call.shape.grid[0] = cuda_blocks(units, kBlock);
  call.shape.block[0] = static_cast<uint32_t>(kBlock);
  call.shape.overlap = true;
  call.params = {in_param(p.operand_index(0)), in_param(p.operand_index(1)), in_param(p.operand_index(2)), out_param(0),
                 value_param(params)};
  return {{call}, 0, cat(shape.repeat, " x 2 x ", shape.vec, " elements a thread")};
}

}  // namespace

RotaryShape rotary_shape(const Rotary& r, const GpuTraits& gpu) {
  RotaryShape s;
  const int leading = r.x.sizes.rank() - 1;
  // The innermost one: for few positions its rows lie side by side.
  for (int d = leading - 1; d >= 0 && s.axis < 0; --d)
    if (r.x.sizes[d] > 1 && r.cos.strides[d] == 0 && r.sin.strides[d] == 0) s.axis = d;
  if (s.axis >= 0) s.heads = r.x.sizes[s.axis];

  const bool dense =
      r.x.strides.back() == 1 && r.cos.strides.back() == 1 && r.sin.strides.back() == 1 && r.y.strides.back() == 1;
  if (dense) {
    const int64_t size = static_cast<int64_t>(size_of(r.x.dtype)), entry = static_cast<int64_t>(size_of(r.cos.dtype));
    int64_t vec = common_word({r.half * size, row_word(r.x, leading), row_word(r.y, leading)}) / size;
    // Wider entries than elements are moved by several instructions of 16 bytes.
    const int64_t word = common_word({row_word(r.cos, leading), row_word(r.sin, leading)});
    while (vec > 1 && std::min<int64_t>(16, vec * entry) > word) vec /= 2;
    s.vec = static_cast<int>(vec);
  }
  // Several heads a thread once there are threads enough for half of what the multiprocessors hold: below, more threads
  // hide more.
  const int64_t enough = static_cast<int64_t>(std::max(1, gpu.multiprocessors)) * 1024;
  while (s.repeat < kMostHeads && s.repeat < s.heads && units_of(r, s, 2 * s.repeat) >= enough) s.repeat *= 2;
  return s;
}

void register_rotary_cuda(KernelRegistry& registry) { add_cuda(registry, "kpt.rotary", "rotary", supports, plan); }

}  // namespace kpt
