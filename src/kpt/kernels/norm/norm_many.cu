// SPDX-License-Identifier: Apache-2.0
// norm.h for layer_norm of many long rows of 2-byte elements: one block a multiprocessor stays and takes GROUPS rows at
// a time, the next ones on their way, with the weights in shared memory, where norm.cu reads them from the L2 cache for
// each row. 16,384 rows of 8192 in bf16 on an H200: 141 us, norm.cu 150; shorter rows and rms_norm were slower so. What
// is asked of w, b and rms at run time is not for them: without it the compiler orders the loop so that it takes 148 us.
// Defines: ROW (type of x, y), WEIGHT (of weight, bias), VEC, PACKS, THREADS (of a row), GROUPS.
#include "kpt/kernels/norm/arguments.cuh"

constexpr int kHeld = PACKS * VEC, kSpace = THREADS * kHeld;  // elements: of a thread, of a row

// Over the threads of a row, which are some of the block's. `slots` (one a warp) serves every other call.
inline float row_sum(float x, int group, float* slots) {
#pragma unroll
  for (int step = 16; step; step >>= 1) x += __shfl_xor_sync(0xffffffffu, x, step);
  if (threadIdx.x % 32 == 0) slots[threadIdx.x % THREADS / 32] = x;
  asm volatile("bar.sync %0, %1;" ::"r"(group + 1), "n"(THREADS) : "memory");
  x = slots[0];
#pragma unroll
  for (int i = 1; i < THREADS / 32; ++i) x += slots[i];
  return x;
}

// packed: packs of x, y and the weights can be moved at once.
template <bool packed>
inline void walk(const Norm& n, const T* x, const W* w, const W* b, T* y, float (*slots)[THREADS / 32]) {
  typedef Part<PACKS, VEC, THREADS, packed> Mine;
  extern __shared__ __align__(16) unsigned char memory[];
  W* const scales = reinterpret_cast<W*>(memory);
  W* const shifts = scales + kSpace;
  const int t = threadIdx.x % THREADS, group = threadIdx.x / THREADS;
  const auto kept = [&](W* all, int pack) { return all + (pack * THREADS + t) * VEC; };
  if (group == 0) {
    typename Mine::template Stored<W> some;
    const auto keep = [&](const W* from, W* all) {
      some.load(from, t, n.width);
#pragma unroll
      for (int p = 0; p < PACKS; ++p) some.pack[p].store(kept(all, p));
    };
    if (w) keep(w, scales);
    if (b) keep(b, shifts);
  }
  __syncthreads();
  const u32 first = blockIdx.x * GROUPS + group, step = gridDim.x * GROUPS;
  typename Mine::template Stored<T> held, next;
  if (first < n.rows) next.load(x + n.x.offset(first), t, n.width);
  int turn = 1;  // sums of one kind may follow one another: slots take turns
  for (u32 row = first; row < n.rows; row += step) {
    held = next;
    if (row + step < n.rows) next.load(x + n.x.offset(row + step), t, n.width);
    float mean = 0;
    if (!n.rms) {
      float total = 0;
#pragma unroll
      for (int i = 0; i < kHeld; ++i) total += held.get(i);
      mean = row_sum(total, group, slots[0]) / (float)n.width;
    }
    held.forget();
    float squares = 0;
#pragma unroll
    for (int i = 0; i < kHeld; ++i) {
      const float off = Mine::place(i, t) < n.width ? held.get(i) - mean : 0;
      squares += off * off;
    }
    const float factor = rsqrtf(row_sum(squares, group, slots[turn]) / (float)n.width + n.eps);
    if (n.rms) turn ^= 1;
    held.forget();
    T* const to = y + n.y.offset(row);
#pragma unroll
    for (int p = 0; p < PACKS; ++p) {
      Raw<W, VEC> scale, shift;
      if (w) scale.load(kept(scales, p));
      if (b) shift.load(kept(shifts, p));
      float out[VEC];
#pragma unroll
      for (int e = 0; e < VEC; ++e) {
        const int i = p * VEC + e;
        out[e] = (held.get(i) - mean) * factor;
        if (w) out[e] *= to_float(scale.e[e]);
        if (b) out[e] += to_float(shift.e[e]);
        if (!packed && Mine::place(i, t) < n.width) to[Mine::place(i, t)] = from_float<T>(out[e]);
      }
      if (packed && Mine::place(p * VEC, t) < n.width) store_floats<T, VEC>(to + Mine::place(p * VEC, t), out);
    }
  }
}

extern "C" __global__ void __launch_bounds__(THREADS* GROUPS, 1)
    norm_rows(const T* x, const T* residual, const W* w, const W* b, T* y, T* sum, const __grid_constant__ Norm n) {
  __shared__ float slots[GROUPS][2][THREADS / 32];
  grid_release();
  grid_wait();
  float(*const mine)[THREADS / 32] = slots[threadIdx.x / THREADS];
  // Strides are multiples of a pack's bytes (the planner's choice of VEC), so all rows answer alike.
  if (aligned(address(x) | address(y), Raw<T, VEC>::kStep) && aligned(address(w) | address(b), Raw<W, VEC>::kStep))
    walk<true>(n, x, w, b, y, mine);
  else
    walk<false>(n, x, w, b, y, mine);
}
