// SPDX-License-Identifier: Apache-2.0
// softmax.h over rows of neighbouring elements, in registers. THREADS threads share a row, each holds PACKS packs of
// VEC. Defines: ROW (x), OUT (y), LOG (0: softmax), VEC, PACKS, THREADS.
#include "kpt/kernels/lib/cuda/held.cuh"

struct Softmax {
  u32 rows;
  i32 width, log;
  Rows x, y;
};

constexpr int kHeld = PACKS * VEC;
constexpr int kBlock = THREADS <= 32 ? 128 : THREADS;
// Registers for the row in f32 and for what the code around it takes (more where warps meet): the more blocks at a time,
// the busier memory is.
constexpr bool kLean = LOG ? kHeld >= 32 : THREADS <= 32;
constexpr int kRegisters = kHeld + (kLean ? 24 : LOG ? 48 : 40);
constexpr int kBlocks = 65536 / (kBlock * kRegisters) < 1 ? 1 : 65536 / (kBlock * kRegisters);

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
    if (!LOG) v[i] = e;
  }
  total = group_reduce<Add, THREADS>(total, slots[1]);
  const float factor = LOG ? 1 : 1 / total, shift = LOG ? logf(total) : 0;
#pragma unroll
  for (int i = 0; i < kHeld; ++i) v[i] = LOG ? v[i] - shift : v[i] * factor;
  Mine::store(y, v, t, width);
}

extern "C" __global__ void __launch_bounds__(kBlock, kBlocks)
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
