// SPDX-License-Identifier: Apache-2.0
#include "kpt/kernels/lib/cuda/elements.cuh"
#include "kpt/kernels/lib/cuda/joint.cuh"
// Running sums. SUM: i64 where all are integers, else f64. A row of sums is taken by one thread, a warp or the block of
// 256: the last two scan as many elements at once (Hillis and Steele, 1986) and carry the total on.

struct Scan {
  Joint<2> rows;  // x, y
  i64 steps[2];   // along the sums
  u32 count, length, group;
  i32 in, out;
};
constexpr int kFlight = 4, kThreads = 256;

inline SUM load(const Scan& s, const char* x, i64 at) {
  return is_real(s.in) ? (SUM)load_real(s.in, x, at) : (SUM)load_integer(s.in, x, at);
}
inline void store(const Scan& s, char* y, i64 at, f64 sum) { store_real(s.out, y, at, sum); }
inline void store(const Scan& s, char* y, i64 at, i64 sum) { store_integer(s.out, y, at, sum); }

// The sum up to each thread of a warp or the block, and that of all.
inline SUM scan(SUM x, u32 group, SUM* slots, SUM& total) {
  const u32 lane = threadIdx.x % 32, warp = threadIdx.x / 32;
#pragma unroll
  for (int step = 1; step < 32; step *= 2) {
    const SUM before = __shfl_up_sync(0xffffffffu, x, step);
    if (lane >= step) x += before;
  }
  if (group == 32) {
    total = __shfl_sync(0xffffffffu, x, 31);
    return x;
  }
  __syncthreads();  // the slots of the call before are read
  if (lane == 31) slots[warp] = x;
  __syncthreads();
  SUM before = 0;
  total = 0;
#pragma unroll
  for (u32 i = 0; i < kThreads / 32; ++i) {
    if (i < warp) before += slots[i];
    total += slots[i];
  }
  return x + before;
}

extern "C" __global__ void __launch_bounds__(kThreads) cumsum(const __grid_constant__ Scan s, const char* x, char* y) {
  __shared__ SUM slots[kThreads / 32];
  grid_release();
  const u32 row = (blockIdx.x * kThreads + threadIdx.x) / s.group, here = threadIdx.x % s.group;
  if (row >= s.count) return;  // whole groups, the block included
  i64 at[2];
  s.rows.offsets(row, at);
  SUM sum = 0;
  grid_wait();
#pragma unroll 1
  for (u32 begin = 0; begin < s.length; begin += kFlight * s.group) {
    SUM held[kFlight];
#pragma unroll
    for (int i = 0; i < kFlight; ++i) {
      const u32 n = begin + i * s.group + here;
      held[i] = n < s.length ? load(s, x, at[0] + n * s.steps[0]) : (SUM)0;
    }
#pragma unroll
    for (int i = 0; i < kFlight; ++i) {
      const u32 n = begin + i * s.group + here;
      SUM total = held[i], upto = held[i];
      if (s.group > 1) upto = scan(held[i], s.group, slots, total);
      if (n < s.length) store(s, y, at[1] + n * s.steps[1], sum + upto);
      sum += total;
    }
  }
}
