// SPDX-License-Identifier: Apache-2.0
#include "kpt/kernels/lib/cuda/elements.cuh"
#include "kpt/kernels/lib/cuda/rows.cuh"
// SAME: one value everywhere. RANGE: first + i * step. VALUES: up to kValues bytes given with the launch.

#ifdef SAME
struct Same {
  alignas(16) u32 value[4];  // side by side
  u32 words, share;          // share: words of a block
  i32 word, shift;           // bytes; word = element << shift
};

template <int BYTES>
inline void set(const Same& f, char* y, u32 begin, u32 end) {
  typedef typename Word<BYTES>::type S;
  const S value = *reinterpret_cast<const S*>(f.value);
  for (u32 n = begin + threadIdx.x; n < end; n += blockDim.x) reinterpret_cast<S*>(y)[n] = value;
}

extern "C" __global__ void __launch_bounds__(256) fill(const __grid_constant__ Same f, char* y) {
  grid_release();
  const u32 begin = blockIdx.x * f.share, left = f.words - begin, end = begin + (left < f.share ? left : f.share);
  // The base may lie on any element: then words are set in pieces.
  const i32 shift = aligned(address(y), f.word) ? 0 : f.shift;
  y += (u64)begin * f.word;
  const u32 count = (end - begin) << shift;
  grid_wait();
  switch (f.word >> shift) {
    case 16: set<16>(f, y, 0, count); break;
    case 8: set<8>(f, y, 0, count); break;
    case 4: set<4>(f, y, 0, count); break;
    case 2: set<2>(f, y, 0, count); break;
    default: set<1>(f, y, 0, count); break;
  }
}
#endif

#ifdef RANGE
struct Range {
  i64 first, step;  // where all numbers are integers
  f64 real_first, real_step;
  u32 count;
  i32 dtype, exact;
};
constexpr i32 kBoolean = 9;

extern "C" __global__ void __launch_bounds__(256) fill(const __grid_constant__ Range f, char* y) {
  grid_release();
  const u32 n = blockIdx.x * blockDim.x + threadIdx.x;
  if (n >= f.count) return;
  const i64 whole = f.first + n * f.step;
  const f64 real = f.exact ? (f64)whole : f.real_first + (f64)n * f.real_step;
  grid_wait();
  if (is_real(f.dtype))
    store_real(f.dtype, y, n, real);
  else if (f.dtype == kBoolean)
    store_integer(f.dtype, y, n, real != 0);
  else
    store_integer(f.dtype, y, n, f.exact ? whole : (i64)real);
}
#endif

#ifdef VALUES
constexpr int kValues = 3072;
struct Values {
  u32 bytes;
  u32 words[kValues / 4];
};

extern "C" __global__ void __launch_bounds__(256) fill(const __grid_constant__ Values f, char* y) {
  grid_release();
  grid_wait();
  u32 at = 0;
  if (aligned(address(y), 4)) {
    at = f.bytes / 4 * 4;
    for (u32 n = threadIdx.x; n < at / 4; n += blockDim.x) reinterpret_cast<u32*>(y)[n] = f.words[n];
  }
  for (at += threadIdx.x; at < f.bytes; at += blockDim.x) y[at] = reinterpret_cast<const char*>(f.words)[at];
}
#endif
