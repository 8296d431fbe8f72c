// SPDX-License-Identifier: Apache-2.0
// norm.h for rows that registers do not hold: a block a row, read twice. Mean and squared deviations of what a thread
// has in hand are computed in two passes and merged as Chan, Golub and LeVeque (1983) do: no digits are lost.
// Defines: ROW, WEIGHT, VEC, THREADS.
#include "kpt/kernels/lib/cuda/rows.cuh"

typedef ROW T;
typedef WEIGHT W;

struct Norm {
  u32 rows;
  i32 width;
  f32 eps;
  i32 rms;
  Rows x, residual, y, sum;
};

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

// Thread's elements of the chunk at `start`; how many there are. Packs or single elements side by side.
template <bool packed>
inline int place(int start, int i) {
  return start + (packed ? ((i / VEC) * THREADS + (int)threadIdx.x) * VEC + i % VEC : i * THREADS + (int)threadIdx.x);
}
template <bool packed, class S>
inline void load(const S* from, int start, int width, float otherwise, float (&v)[kHeld]) {
  Raw<S, VEC> packs[kPacks];
#pragma unroll
  for (int p = 0; p < kPacks; ++p) {
    if (packed) {
      if (place<packed>(start, p * VEC) < width) packs[p].load(from + place<packed>(start, p * VEC));
    } else {
#pragma unroll
      for (int e = 0; e < VEC; ++e)
        if (place<packed>(start, p * VEC + e) < width) packs[p].e[e] = from[place<packed>(start, p * VEC + e)];
    }
  }
#pragma unroll
  for (int i = 0; i < kHeld; ++i)
    v[i] = place<packed>(start, i) < width ? to_float(packs[i / VEC].e[i % VEC]) : otherwise;
}
template <bool packed>
inline void store(T* to, int start, int width, const float (&v)[kHeld]) {
#pragma unroll
  for (int p = 0; p < kPacks; ++p) {
    if (packed) {
      if (place<packed>(start, p * VEC) < width) store_floats<T, VEC>(to + place<packed>(start, p * VEC), v + p * VEC);
    } else {
#pragma unroll
      for (int e = 0; e < VEC; ++e)
        if (place<packed>(start, p * VEC + e) < width)
          to[place<packed>(start, p * VEC + e)] = from_float<T>(v[p * VEC + e]);
    }
  }
}

template <bool packed>
inline void normalise(const Norm& n, const T* x, const T* residual, const W* w, const W* b, T* y, T* sum,
                      Stats* slots) {
  const int width = n.width;
  const auto value = [&](int start, float(&v)[kHeld]) {
    load<packed>(x, start, width, 0, v);
    if (!residual) return;
    float other[kHeld];
    load<packed>(residual, start, width, 0, other);
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
      here.count += place<packed>(start, i) < width ? 1.0f : 0.0f;
      here.mean += v[i];
    }
    here.mean = n.rms || here.count == 0 ? 0 : here.mean / here.count;
#pragma unroll
    for (int i = 0; i < kHeld; ++i) {
      const float d = place<packed>(start, i) < width ? v[i] - here.mean : 0;
      here.squares += d * d;
    }
    stats.merge(here);
  }
  stats = block_stats(stats, slots);
  const float mean = stats.mean, factor = rsqrtf(stats.squares / (float)width + n.eps);
  for (int start = 0; start < width; start += kHeld * THREADS) {
    float scale[kHeld], shift[kHeld];
    value(start, v);
    if (w) load<packed>(w, start, width, 0, scale);
    if (b) load<packed>(b, start, width, 0, shift);
    if (sum) store<packed>(sum, start, width, v);
#pragma unroll
    for (int i = 0; i < kHeld; ++i) {
      v[i] = (v[i] - mean) * factor;
      if (w) v[i] *= scale[i];
      if (b) v[i] += shift[i];
    }
    store<packed>(y, start, width, v);
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
