// SPDX-License-Identifier: Apache-2.0
// norm.h for rows that registers do not hold: a block a row, read twice. Mean and squared deviations of what a thread
// has in hand are computed in two passes and merged as Chan, Golub and LeVeque (1983) do: no digits are lost.
// Defines: ROW, WEIGHT, VEC, THREADS.
#include "kpt/kernels/norm/arguments.cuh"

constexpr int kHeld = 16, kPacks = kHeld / VEC;

struct Stats {
  float count, mean, squares;
  void merge(const Stats& o) {
    const float all = count + o.count;
    if (all == 0) return;
    const float delta = o.mean - mean, part = o.count / all;
    mean += delta * part;
    squares += o.squares + delta * delta * count * part;
    count = all;
  }
};

inline Stats block_stats(Stats s, Stats* slots) {
#pragma unroll
  for (int step = 16; step; step >>= 1) {
    const Stats o = {__shfl_xor_sync(0xffffffffu, s.count, step), __shfl_xor_sync(0xffffffffu, s.mean, step),
                     __shfl_xor_sync(0xffffffffu, s.squares, step)};
    s.merge(o);
  }
  if (threadIdx.x % 32 == 0) slots[threadIdx.x / 32] = s;
  __syncthreads();
  s = slots[0];
  for (int i = 1; i < THREADS / 32; ++i) s.merge(slots[i]);
  return s;
}

template <bool packed>
inline void normalise(const Norm& n, const T* x, const T* residual, const W* w, const W* b, T* y, T* sum,
                      Stats* slots) {
  typedef Part<kPacks, VEC, THREADS, packed> Mine;
  const int width = n.width, t = threadIdx.x;
  const auto value = [&](int start, float(&v)[kHeld]) {
    Mine::load(x + start, t, width - start, v);
    if (!residual) return;
    float other[kHeld];
    Mine::load(residual + start, t, width - start, other);
#pragma unroll
    for (int i = 0; i < kHeld; ++i) v[i] += other[i];
  };
  Stats stats = {0, 0, 0};
  float v[kHeld];
  for (int start = 0; start < width; start += kHeld * THREADS) {
    value(start, v);
    Stats here = {0, 0, 0};
#pragma unroll
    for (int i = 0; i < kHeld; ++i) {
      here.count += start + Mine::place(i, t) < width ? 1.0f : 0.0f;
      here.mean += v[i];
    }
    here.mean = n.rms || here.count == 0 ? 0 : here.mean / here.count;
#pragma unroll
    for (int i = 0; i < kHeld; ++i) {
      const float d = start + Mine::place(i, t) < width ? v[i] - here.mean : 0;
      here.squares += d * d;
    }
    stats.merge(here);
  }
  stats = block_stats(stats, slots);
  const float mean = stats.mean, factor = rsqrtf(stats.squares / (float)width + n.eps);
  for (int start = 0; start < width; start += kHeld * THREADS) {
    float scale[kHeld], shift[kHeld];
    value(start, v);
    if (w) Mine::load(w + start, t, width - start, scale);
    if (b) Mine::load(b + start, t, width - start, shift);
    if (sum) Mine::store(sum + start, v, t, width - start);
#pragma unroll
    for (int i = 0; i < kHeld; ++i) {
      v[i] = (v[i] - mean) * factor;
      if (w) v[i] *= scale[i];
      if (b) v[i] += shift[i];
    }
    Mine::store(y + start, v, t, width - start);
  }
}

extern "C" __global__ void __launch_bounds__(THREADS)
    norm_rows(const T* x, const T* residual, const W* w, const W* b, T* y, T* sum, const __grid_constant__ Norm n) {
  __shared__ Stats slots[THREADS / 32];
  grid_release();
  grid_wait();
  const u32 row = blockIdx.x;
  x += n.x.offset(row);
  y += n.y.offset(row);
  if (residual) residual += n.residual.offset(row);
  if (sum) sum += n.sum.offset(row);
  if constexpr (VEC > 1) {
    if (aligned(address(x) | address(residual) | address(y) | address(sum), Raw<T, VEC>::kStep) &&
        aligned(address(w) | address(b), Raw<W, VEC>::kStep)) {
      normalise<true>(n, x, residual, w, b, y, sum, slots);
      return;
    }
  }
  normalise<false>(n, x, residual, w, b, y, sum, slots);
}
