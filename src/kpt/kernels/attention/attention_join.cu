// SPDX-License-Identifier: Apache-2.0
// Puts the parts of split keys together (flash-decoding): y = sum_i sums_i 2^(top_i - top) / sum_i sum_i 2^(top_i -
// top).
//   -D ELEM=f32|bf16|f16   ADDS   1: the mask is added, so rows that see no key are NaN, not 0
#ifndef KPT_EMULATED
#include "kpt/kernels/attention/arguments.cuh"
#include "kpt/kernels/lib/cuda/warp.cuh"
#endif

// sums: [splits][rows of all units][head], stats: [splits][rows of all units] (top, sum). head: a multiple of 4. One
// thread a row and 4 columns.
KERNEL void __launch_bounds__(128)
    attention_join(const float* sums, const float2* stats, char* y, int head, const AttentionArguments a) {
  grid_release();
  const int quads = head / 4;
  const i64 all = (i64)a.units_total * a.rows;
  const i64 item = (i64)blockIdx.x * 128 + threadIdx.x;
  const i64 at = item / quads;
  const int column = (int)(item - at * quads) * 4;
  grid_wait();
  if (at >= all || column >= a.e) return;
  float most = __int_as_float((int)0xff800000u), sum = 0, x[4] = {};
#pragma unroll 4
  for (int split = 0; split < a.splits; ++split) most = fmaxf(most, stats[split * all + at].x);
#pragma unroll 4
  for (int split = 0; split < a.splits; ++split) {
    const float2 one = stats[split * all + at];
    const float4 part = *(const float4*)(sums + (split * all + at) * head + column);
    const float factor = one.y == 0 ? 0.0f : exp2_of(one.x - most);
    sum = fmaf(one.y, factor, sum);
    x[0] = fmaf(part.x, factor, x[0]);
    x[1] = fmaf(part.y, factor, x[1]);
    x[2] = fmaf(part.z, factor, x[2]);
    x[3] = fmaf(part.w, factor, x[3]);
  }
  const float inverse = sum == 0 ? (ADDS ? __int_as_float(0x7fffffff) : 0.0f) : 1.0f / sum;
  const i64 of_all = at / a.rows, batch = of_all / a.units, unit = of_all - batch * a.units;
  const i64 row = at - of_all * a.rows, query = row / a.pack;
  char* to = y + batch * a.y_b + (unit * a.pack + row - query * a.pack) * a.y_h + query * a.y_s;
#pragma unroll
  for (int i = 0; i < 4; ++i)
    if (column + i < a.e) *(ELEM*)(to + (column + i) * sizeof(ELEM)) = from_float<ELEM>(x[i] * inverse);
}
