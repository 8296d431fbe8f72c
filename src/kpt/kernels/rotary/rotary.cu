// SPDX-License-Identifier: Apache-2.0
// rotary.h. A thread has VEC neighbouring elements of the first half and those of the second half of up to kMost rows,
// which share their place in cos and sin. Defines: ROW (type of x, y), TABLE (of cos, sin), VEC.
#include "kpt/kernels/lib/cuda/rows.cuh"

typedef ROW T;
typedef TABLE C;

constexpr int kMost = 4;

struct Rotary {
  u32 units;                // threads with work: [groups of heads, rows, chunks of VEC elements]
  i32 half, heads, repeat;  // repeat: heads of a thread, at most kMost
  Divider chunks, rows;
  Rows x, cos, sin, y;                     // rows of one head
  i64 head_x, head_y;                      // from head to head
  i64 step_x, step_cos, step_sin, step_y;  // from element to element; all 1 where VEC > 1
};

template <bool packed, class S>
inline void load(Raw<S, VEC>& to, const S* from, i64 step) {
  if (packed) {
    to.load(from);
  } else {
#pragma unroll
    for (int e = 0; e < VEC; ++e) to.e[e] = from[e * step];
  }
}

template <bool packed>
inline void store(T* to, const float (&v)[VEC], i64 step) {
  if (packed) {
    store_floats<T, VEC>(to, v);
  } else {
#pragma unroll
    for (int e = 0; e < VEC; ++e) to[e * step] = from_float<T>(v[e]);
  }
}

template <bool packed>
inline void rotate(const Rotary& r, const T* x, const C* cos, const C* sin, T* y, int count) {
  Raw<T, VEC> low[kMost], high[kMost];
  Raw<C, VEC> cos_low, cos_high, sin_low, sin_high;
#pragma unroll
  for (int i = 0; i < kMost; ++i)
    if (i < count) {
      load<packed>(low[i], x + i * r.head_x, r.step_x);
      load<packed>(high[i], x + i * r.head_x + r.half * r.step_x, r.step_x);
    }
  load<packed>(cos_low, cos, r.step_cos);
  load<packed>(cos_high, cos + r.half * r.step_cos, r.step_cos);
  load<packed>(sin_low, sin, r.step_sin);
  load<packed>(sin_high, sin + r.half * r.step_sin, r.step_sin);
#pragma unroll
  for (int i = 0; i < kMost; ++i)
    if (i < count) {
      float first[VEC], second[VEC];
#pragma unroll
      for (int e = 0; e < VEC; ++e) {
        const float a = to_float(low[i].e[e]), b = to_float(high[i].e[e]);
        first[e] = a * to_float(cos_low.e[e]) - b * to_float(sin_low.e[e]);
        second[e] = b * to_float(cos_high.e[e]) + a * to_float(sin_high.e[e]);
      }
      store<packed>(y + i * r.head_y, first, r.step_y);
      store<packed>(y + i * r.head_y + r.half * r.step_y, second, r.step_y);
    }
}

extern "C" __global__ void __launch_bounds__(128)
    rotary_rows(const T* x, const C* cos, const C* sin, T* y, const __grid_constant__ Rotary r) {
  grid_release();
  const u32 unit = blockIdx.x * 128 + threadIdx.x;
  if (unit >= r.units) return;
  const u32 rest = r.chunks.quotient(unit);
  const i64 column = (i64)(unit - rest * r.chunks.divisor) * VEC;
  const u32 group = r.rows.quotient(rest), row = rest - group * r.rows.divisor;
  const int head = group * r.repeat;
  x += r.x.offset(row) + head * r.head_x + column * r.step_x;
  cos += r.cos.offset(row) + column * r.step_cos;
  sin += r.sin.offset(row) + column * r.step_sin;
  y += r.y.offset(row) + head * r.head_y + column * r.step_y;
  const int count = r.repeat < r.heads - head ? r.repeat : r.heads - head;
  grid_wait();
  if constexpr (VEC > 1) {
    // Distances between rows are multiples of a pack's bytes (the planner's choice of VEC): all threads answer alike.
    if (aligned(address(x) | address(y), Raw<T, VEC>::kStep) &&
        aligned(address(cos) | address(sin), Raw<C, VEC>::kStep)) {
      rotate<true>(r, x, cos, sin, y, count);
      return;
    }
  }
  rotate<false>(r, x, cos, sin, y, count);
}
