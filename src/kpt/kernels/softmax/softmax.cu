// SPDX-License-Identifier: Apache-2.0
// softmax.h over rows of neighbouring elements, in registers. THREADS threads share a row, each holds PACKS packs of
// VEC. Defines: ROW (x), OUT (y), VEC, PACKS, THREADS.
#include "kpt/kernels/lib/cuda/held.cuh"

struct Softmax {
  u32 rows;
  i32 width, log;
  Rows x, y;
};

constexpr int kHeld = PACKS * VEC;

// width 0: a thread without a row.
template <bool packed>
inline void softmax(const Softmax& s, const ROW* x, OUT* y, int t, int width, float (*slots)[32]) {
  typedef Part<PACKS, VEC, THREADS, packed> Mine;
  float v[kHeld];
  Mine::load(x, t, width, v);
  float largest = minus_infinity();
#pragma unroll
  for (int i = 0; i < kHeld; ++i) {
    if (Mine::place(i, t) >= width) v[i] = minus_infinity();
    largest = fmaxf(largest, v[i]);
  }
  // A NaN is passed over here; it makes the sum NaN.
  largest = group_reduce<Max, THREADS>(largest, slots[0]);
  float total = 0;
#pragma unroll
  for (int i = 0; i < kHeld; ++i) {
    v[i] -= largest;
    const float e = expf(v[i]);
    total += e;
    if (!s.log) v[i] = e;
  }
  total = group_reduce<Add, THREADS>(total, slots[1]);
  const float factor = s.log ? 1 : 1 / total, shift = s.log ? logf(total) : 0;
#pragma unroll
  for (int i = 0; i < kHeld; ++i) v[i] = s.log ? v[i] - shift : v[i] * factor;
  Mine::store(y, v, t, width);
}

extern "C" __global__ void __launch_bounds__(THREADS <= 32 ? 128 : THREADS)
    softmax_rows(const ROW* x, OUT* y, const __grid_constant__ Softmax s) {
  __shared__ float slots[2][32];
  grid_release();
  const int t = threadIdx.x % THREADS;
  const u32 row = THREADS > 32 ? blockIdx.x : blockIdx.x * (blockDim.x / THREADS) + threadIdx.x / THREADS;
  const bool mine = row < s.rows;
  if (mine) {
    x += s.x.offset(row);
    y += s.y.offset(row);
  }
  const int width = mine ? s.width : 0;
  grid_wait();
  if constexpr (VEC > 1) {
    // Strides are multiples of VEC, so all rows answer alike.
    if (aligned(address(x), Raw<ROW, VEC>::kStep) && aligned(address(y), Raw<OUT, VEC>::kStep)) {
      softmax<true>(s, x, y, t, width, slots);
      return;
    }
  }
  softmax<false>(s, x, y, t, width, slots);
}
