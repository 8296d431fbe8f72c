// SPDX-License-Identifier: Apache-2.0
// norm.h, rows in registers. THREADS threads share a row, each holds PACKS packs of VEC neighbouring elements.
// Defines: ROW (type of x, residual, y, sum), WEIGHT (of weight, bias), VEC, PACKS, THREADS (power of two; a block has
// 128 threads, or a smaller power of two, where a row needs at most a warp, else it is one row).
#include "kpt/kernels/lib/cuda/held.cuh"

typedef ROW T;
typedef WEIGHT W;

struct Norm {
  u32 rows;
  i32 width;  // at most THREADS * PACKS * VEC
  f32 eps;
  i32 rms;
  Rows x, residual, y, sum;
};

constexpr int kHeld = PACKS * VEC;
constexpr int kBlock = THREADS <= 32 ? 128 : THREADS;
// Registers for what is held: the row in f32 and its weights as stored, and what the code around them takes.
constexpr int kWeightRegisters = kHeld * 2 * (int)sizeof(W) / 4;
constexpr int kRegisters = kHeld + kWeightRegisters + (kHeld < 32 ? 40 : 32);
constexpr int kBlocks = 65536 / (kBlock * kRegisters) < 1 ? 1 : 65536 / (kBlock * kRegisters);

// y = v * factor * w + b by single elements, a few at a time: all of their weights would not fit the registers.
inline void finish_singly(const float (&v)[kHeld], float factor, const W* w, const W* b, T* y, int t, int width) {
  constexpr int kBatch = 8;
#pragma unroll
  for (int start = 0; start < kHeld; start += kBatch) {
    float scale[kBatch], shift[kBatch];
#pragma unroll
    for (int i = 0; i < kBatch && start + i < kHeld; ++i) {
      const int at = Part<PACKS, VEC, THREADS, false>::place(start + i, t);
      scale[i] = w && at < width ? to_float(w[at]) : 1;
      shift[i] = b && at < width ? to_float(b[at]) : 0;
    }
#pragma unroll
    for (int i = 0; i < kBatch && start + i < kHeld; ++i) {
      const int at = Part<PACKS, VEC, THREADS, false>::place(start + i, t);
      if (at < width) y[at] = from_float<T>(v[start + i] * factor * scale[i] + shift[i]);
    }
  }
}

// width 0: a thread without a row, that only takes part in the sums.
template <bool packed>
inline void normalise(const Norm& n, const T* x, const T* residual, const W* w, const W* b, T* y, T* sum, int t,
                      int width, float (*slots)[32]) {
  typedef Part<PACKS, VEC, THREADS, packed> Mine;
  float v[kHeld];
  typename Mine::template Stored<T> from;
  typename Mine::template Stored<W> scale, shift;
  from.load(x, t, width);
  // Where it is little, what the end needs comes with the row.
  constexpr bool kEarly = packed && kHeld * sizeof(W) <= 32;
  const auto load_weights = [&] {
    if (w) scale.load(w, t, width);
    if (b) shift.load(b, t, width);
  };
  if (residual) {
    typename Mine::template Stored<T> other;
    other.load(residual, t, width);
    if (kEarly) load_weights();
#pragma unroll
    for (int i = 0; i < kHeld; ++i) v[i] = from.get(i) + other.get(i);
    if (sum) Mine::store(sum, v, t, width);
  } else {
    if (kEarly) load_weights();
#pragma unroll
    for (int i = 0; i < kHeld; ++i) v[i] = from.get(i);
    if (sum) Mine::store(sum, v, t, width);
  }

  float mean = 0;
  if (!n.rms) {
    float total = 0;
#pragma unroll
    for (int i = 0; i < kHeld; ++i) total += v[i];
    mean = group_reduce<Add, THREADS>(total, slots[0]) / (float)n.width;
  }
  float squares = 0;
#pragma unroll
  for (int i = 0; i < kHeld; ++i) {
    v[i] = Mine::place(i, t) < width ? v[i] - mean : 0;
    squares += v[i] * v[i];
  }
  const float factor = rsqrtf(group_reduce<Add, THREADS>(squares, slots[1]) / (float)n.width + n.eps);

  if constexpr (packed) {
    if (!kEarly) load_weights();
#pragma unroll
    for (int i = 0; i < kHeld; ++i) {
      v[i] *= factor;
      if (w) v[i] *= scale.get(i);
      if (b) v[i] += shift.get(i);
    }
    Mine::store(y, v, t, width);
  } else {
    finish_singly(v, factor, w, b, y, t, width);
  }
}

extern "C" __global__ void __launch_bounds__(kBlock, kBlocks)
    norm_rows(const T* x, const T* residual, const W* w, const W* b, T* y, T* sum, const __grid_constant__ Norm n) {
  __shared__ float slots[2][32];
  grid_release();
  const int t = threadIdx.x % THREADS;
  const u32 row = THREADS > 32 ? blockIdx.x : blockIdx.x * (blockDim.x / THREADS) + threadIdx.x / THREADS;
  const bool mine = row < n.rows;
  if (blockIdx.x == 0) {  // other rows find the weights in the cache
    constexpr int kLine = 128 / sizeof(W);
    for (int i = threadIdx.x * kLine; i < n.width; i += blockDim.x * kLine) {
      if (w) prefetch_l2(w + i);
      if (b) prefetch_l2(b + i);
    }
  }
  grid_wait();
  if (mine) {
    x += n.x.offset(row);
    y += n.y.offset(row);
    if (residual) residual += n.residual.offset(row);
    if (sum) sum += n.sum.offset(row);
  }
  const int width = mine ? n.width : 0;
  if constexpr (VEC > 1) {
    // Strides are multiples of a pack's bytes (the planner's choice of VEC), so all rows answer alike.
    if (aligned(address(x) | address(residual) | address(y) | address(sum), Raw<T, VEC>::kStep) &&
        aligned(address(w) | address(b), Raw<W, VEC>::kStep)) {
      normalise<true>(n, x, residual, w, b, y, sum, t, width, slots);
      return;
    }
  }
  normalise<false>(n, x, residual, w, b, y, sum, t, width, slots);
}
