// SPDX-License-Identifier: Apache-2.0
// softmax.h over rows of neighbouring elements, in registers. THREADS threads share a row, each holds PACKS packs of
// VEC. Defines: ROW (x), OUT (y), LOG (0: softmax), VEC, PACKS, THREADS.
#include "kpt/kernels/lib/cuda/exponents.cuh"
#include "kpt/kernels/lib/cuda/held.cuh"

struct Softmax {
  u32 rows;
  i32 width, log;
  Rows x, y;
};

constexpr bool kTwoBytes = sizeof(ROW) == 2 && sizeof(OUT) == 2;
constexpr int kHeld = PACKS * VEC;
constexpr int kBlock = THREADS <= 32 ? 128 : THREADS;
// Registers for the row and for what the code around it takes: the more blocks at a time, the busier memory is. With
// LOG the row waits in f32, else as it is stored, and exponentials are taken twice.
constexpr int kFloats = kHeld + (kHeld >= 32 && VEC > 1 ? 24 : 48);
constexpr int kStored = kHeld * (VEC > 1 ? (int)sizeof(ROW) : 4) / 4 + 48;
constexpr int kRegisters = LOG ? kFloats : kStored;
constexpr int kBlocks = 65536 / (kBlock * kRegisters) < 1 ? 1 : 65536 / (kBlock * kRegisters);

// width 0: a thread without a row. A NaN is passed over by the largest; it makes the sum NaN.
template <bool packed>
inline void log_softmax(const ROW* x, OUT* y, int t, int width, float (*slots)[32]) {
  typedef Part<PACKS, VEC, THREADS, packed> Mine;
  float v[kHeld];
  Mine::load(x, t, width, v);
  float largest = minus_infinity();
#pragma unroll
  for (int i = 0; i < kHeld; ++i) {
    if (Mine::place(i, t) >= width) v[i] = minus_infinity();
    largest = fmaxf(largest, v[i]);
  }
  largest = group_reduce<Max, THREADS>(largest, slots[0]);
  float total = 0;
#pragma unroll
  for (int i = 0; i < kHeld; ++i) {
    total += term<kTwoBytes>(v[i], largest);
    v[i] -= largest;
  }
  const float shift = logf(group_reduce<Add, THREADS>(total, slots[1]));
#pragma unroll
  for (int i = 0; i < kHeld; ++i) v[i] -= shift;
  Mine::store(y, v, t, width);
}

template <bool packed>
inline void softmax(const ROW* x, OUT* y, int t, int width, float (*slots)[32]) {
  typedef Part<PACKS, VEC, THREADS, packed> Mine;
  typename Mine::template Stored<ROW> row;
  row.load(x, t, width);
  const auto value = [&](int i) { return Mine::place(i, t) < width ? row.get(i) : minus_infinity(); };
  float largest = minus_infinity();
#pragma unroll
  for (int i = 0; i < kHeld; ++i) largest = fmaxf(largest, value(i));
  largest = group_reduce<Max, THREADS>(largest, slots[0]);
  row.forget();
  float total = 0;
#pragma unroll
  for (int i = 0; i < kHeld; ++i) total += term<kTwoBytes>(value(i), largest);
  const float factor = 1 / group_reduce<Add, THREADS>(total, slots[1]);
  row.forget();
  float v[kHeld];
#pragma unroll
  for (int i = 0; i < kHeld; ++i) v[i] = term<kTwoBytes>(row.get(i), largest) * factor;
  Mine::store(y, v, t, width);
}

template <bool packed>
inline void either(const ROW* x, OUT* y, int t, int width, float (*slots)[32]) {
  if constexpr (LOG)
    log_softmax<packed>(x, y, t, width, slots);
  else
    softmax<packed>(x, y, t, width, slots);
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
      either<true>(x, y, t, width, slots);
      return;
    }
  }
  either<false>(x, y, t, width, slots);
}
