// SPDX-License-Identifier: Apache-2.0
#include "kpt/kernels/lib/cuda/joint.cuh"
// y[.., i, ..] = x[.., index[.., i, ..], ..]: elements n, n + blockDim.x, .. of the output, four on their way at once.
// No defines: one program for all.

struct Gather {
  Joint<3> at;     // x without the picked dimension, index, y; in bytes
  i64 size, step;  // of x's picked dimension; bytes
  u32 count, share;
  i32 element;
};

template <class S>
inline void gather_as(const Gather& g, const char* x, const char* index, char* y) {
  constexpr int kFlight = 4;
  const u32 begin = blockIdx.x * g.share, left = g.count - begin;
  const u32 end = begin + (left < g.share ? left : g.share);
  for (u32 n = begin + threadIdx.x; n < end; n += kFlight * blockDim.x) {
    i64 from[kFlight], to[kFlight], pick[kFlight];
    S held[kFlight];
#pragma unroll
    for (int i = 0; i < kFlight; ++i) {
      pick[i] = -1;
      if (n + i * blockDim.x >= end) continue;
      i64 at[3];
      g.at.offsets(n + i * blockDim.x, at);
      from[i] = at[0];
      to[i] = at[2];
      pick[i] = *reinterpret_cast<const i64*>(index + at[1]);
    }
#pragma unroll
    for (int i = 0; i < kFlight; ++i) {
      held[i] = (S) ~(S)0;  // a number out of range reads nothing: NaN, or -1
      if (pick[i] >= 0 && pick[i] < g.size) held[i] = *reinterpret_cast<const S*>(x + from[i] + pick[i] * g.step);
    }
#pragma unroll
    for (int i = 0; i < kFlight; ++i)
      if (n + i * blockDim.x < end) *reinterpret_cast<S*>(y + to[i]) = held[i];
  }
}

extern "C" __global__ void __launch_bounds__(256)
    gather(const __grid_constant__ Gather g, const char* x, const char* index, char* y) {
  grid_release();
  grid_wait();
  switch (g.element) {
    case 8: gather_as<u64>(g, x, index, y); break;
    case 4: gather_as<u32>(g, x, index, y); break;
    case 2: gather_as<unsigned short>(g, x, index, y); break;
    default: gather_as<u8>(g, x, index, y); break;
  }
}
