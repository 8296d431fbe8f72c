// SPDX-License-Identifier: Apache-2.0
#pragma once
// What kernels over rows share: where a row lies, moving several elements at once, sums over groups of threads.
#include "kpt/kernels/lib/cuda/warp.cuh"

// n / divisor for n < 2^31 without a division (Granlund and Montgomery, 1994). Filled by cuda_divider() of rows.h.
struct Divider {
  u32 divisor, multiplier, shift;
  u32 quotient(u32 n) const { return (__umulhi(n, multiplier) + n) >> shift; }
};

// Offset of index number n < 2^31 of some dimensions, row-major. Filled by cuda_rows() of rows.h; layouts agree.
struct Rows {
  i32 rank;  // 0: one row, at 0
  Divider sizes[8];
  i64 strides[8];
  i64 offset(u32 n) const {
    if (rank == 1) return n * strides[0];
    i64 at = 0;
    for (int d = rank - 1; d > 0; --d) {
      const u32 q = sizes[d].quotient(n);
      at += (n - q * sizes[d].divisor) * strides[d];
      n = q;
    }
    return rank ? at + n * strides[0] : 0;
  }
};

// At most 16 bytes, in words of 4 where there is more than one: what one instruction moves.
template <int BYTES>
struct Word {
  struct alignas(BYTES) type {
    u32 w[BYTES / 4];
  };
};
template <>
struct Word<2> {
  typedef unsigned short type;
};
template <>
struct Word<1> {
  typedef u8 type;
};

// N elements of T as they lie in memory, moved 16 bytes at a time at most.
template <class T, int N>
struct Raw {
  static constexpr int kBytes = N * (int)sizeof(T), kStep = kBytes < 16 ? kBytes : 16;
  typedef typename Word<kStep>::type Step;
  union {
    Step steps[kBytes / kStep];
    T e[N];
  };
  // `from` must lie on a multiple of kStep bytes.
  void load(const T* from) {
#pragma unroll
    for (int i = 0; i < kBytes / kStep; ++i) steps[i] = reinterpret_cast<const Step*>(from)[i];
  }
  void store(T* to) const {
#pragma unroll
    for (int i = 0; i < kBytes / kStep; ++i) reinterpret_cast<Step*>(to)[i] = steps[i];
  }
};

// N floats as T to memory.
template <class T, int N>
inline void store_floats(T* to, const float* from) {
  Raw<T, N> raw;
  if constexpr (sizeof(T) == 2 && N >= 2) {
#pragma unroll
    for (int i = 0; i < N; i += 2) {
      const u32 two = pack_pair(from[i], from[i + 1], T{});
      raw.e[i].bits = (unsigned short)two;
      raw.e[i + 1].bits = (unsigned short)(two >> 16);
    }
  } else {
#pragma unroll
    for (int i = 0; i < N; ++i) raw.e[i] = from_float<T>(from[i]);
  }
  raw.store(to);
}

// True where all addresses are multiples of `bytes` (a power of two). Null counts as one.
inline bool aligned(u64 addresses, u32 bytes) { return (addresses & (bytes - 1)) == 0; }
template <class T>
inline u64 address(const T* p) {
  return reinterpret_cast<u64>(p);
}

inline float minus_infinity() { return __uint_as_float(0xff800000u); }

struct Add {
  static float f(float a, float b) { return a + b; }
};
struct Max {
  static float f(float a, float b) { return fmaxf(a, b); }
};

// Over groups of GROUP neighbouring threads (a power of two); every thread of the block must come here, and gets its
// group's result. Above a warp the block is one group, and `slots` (one a warp) serves one call.
template <class Op, int GROUP>
inline float group_reduce(float x, float* slots) {
#pragma unroll
  for (int step = (GROUP < 32 ? GROUP : 32) / 2; step; step >>= 1) x = Op::f(x, __shfl_xor_sync(0xffffffffu, x, step));
  if constexpr (GROUP > 32) {
    if (threadIdx.x % 32 == 0) slots[threadIdx.x / 32] = x;
    __syncthreads();
    x = slots[0];
#pragma unroll
    for (int i = 1; i < GROUP / 32; ++i) x = Op::f(x, slots[i]);
  }
  return x;
}

// Brings a line to L2, which is coherent: allowed before grid_wait().
inline void prefetch_l2(const void* p) { asm volatile("prefetch.global.L2 [%0];" ::"l"(p)); }
