// SPDX-License-Identifier: Apache-2.0
// distance.h. No defines: types are told at run time, since the judge meets many pairs of them once each.
#ifndef KPT_EMULATED
#include "kpt/kernels/lib/cuda/warp.cuh"
#endif

struct Sums {
  f64 error2, reference2, x2, dot, max_abs;
  i64 nonfinite, unequal;
};

// The numbers are those of DType.
inline f64 element(const void* p, int type, i64 i) {
  switch (type) {
    case 0: return static_cast<const f64*>(p)[i];
    case 1: return static_cast<const f32*>(p)[i];
    case 2: return to_float(static_cast<const f16*>(p)[i]);
    case 3: return to_float(static_cast<const bf16*>(p)[i]);
    case 4: return (f64)(static_cast<const i64*>(p)[i]);
    case 5: return static_cast<const i32*>(p)[i];
    case 6: return static_cast<const i16*>(p)[i];
    case 7: return static_cast<const i8*>(p)[i];
    case 8: return static_cast<const u8*>(p)[i];
    default: return static_cast<const u8*>(p)[i] ? 1 : 0;
  }
}

inline bool is_finite(f64 x) { return x - x == 0; }

inline void add(Sums& s, f64 x, f64 reference) {
  const bool same = x == reference || (x != x && reference != reference);
  s.unequal += !same;
  if (!is_finite(x) || !is_finite(reference)) {
    s.nonfinite += !same;
    return;
  }
  const f64 d = x - reference;
  s.error2 += d * d;
  s.reference2 += reference * reference;
  s.x2 += x * x;
  s.dot += x * reference;
  s.max_abs = d > s.max_abs ? d : -d > s.max_abs ? -d : s.max_abs;
}

KERNEL void __launch_bounds__(256)
    distance(const void* x, const void* reference, Sums* out, i64 count, int type_x, int type_reference) {
  constexpr int kFlight = 4;  // elements of a thread on their way at once
  Sums mine{};
  const i64 step = (i64)gridDim.x * blockDim.x;
  for (i64 i = (i64)blockIdx.x * blockDim.x + threadIdx.x; i < count; i += kFlight * step) {
    f64 a[kFlight], b[kFlight];
#pragma unroll
    for (int k = 0; k < kFlight; ++k) {
      const i64 at = i + k * step;
      a[k] = at < count ? element(x, type_x, at) : 0;
      b[k] = at < count ? element(reference, type_reference, at) : 0;
    }
#pragma unroll
    for (int k = 0; k < kFlight; ++k) add(mine, a[k], b[k]);
  }
  __shared__ Sums all[256];
  all[threadIdx.x] = mine;
  for (u32 half = 128; half > 0; half /= 2) {
    __syncthreads();
    if (threadIdx.x >= half) continue;
    Sums& to = all[threadIdx.x];
    const Sums& from = all[threadIdx.x + half];
    to.error2 += from.error2;
    to.reference2 += from.reference2;
    to.x2 += from.x2;
    to.dot += from.dot;
    to.max_abs = from.max_abs > to.max_abs ? from.max_abs : to.max_abs;
    to.nonfinite += from.nonfinite;
    to.unequal += from.unequal;
  }
  if (threadIdx.x == 0) out[blockIdx.x] = all[0];
}
