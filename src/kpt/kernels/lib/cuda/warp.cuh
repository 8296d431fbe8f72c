// SPDX-License-Identifier: Apache-2.0
#pragma once
// Instructions of a warp (sm_80 on), one function each. A test stands in for each of them on the host and runs the
// kernels lane by lane (emulate.h), so device code that is tested so uses no other PTX.
#include "kpt/kernels/lib/cuda/types.cuh"

#define KERNEL extern "C" __global__
#define SHARED_MEMORY(name) extern __shared__ __align__(128) unsigned char name[]

inline u32 shared_address(const void* p) { return (u32)__cvta_generic_to_shared(p); }

// Four 8 x 8 matrices of 16-bit elements: lane 8 m + r gives the address of row r (16 bytes) of matrix m; r[m] of lane
// l becomes the elements 2 (l % 4) and the next of row l / 4 of matrix m, or of its transpose.
inline void load_matrices(u32 (&r)[4], u32 address) {
  asm volatile("ldmatrix.sync.aligned.m8n8.x4.shared.b16 {%0, %1, %2, %3}, [%4];"
               : "=r"(r[0]), "=r"(r[1]), "=r"(r[2]), "=r"(r[3])
               : "r"(address));
}
inline void load_matrices_transposed(u32 (&r)[4], u32 address) {
  asm volatile("ldmatrix.sync.aligned.m8n8.x4.trans.shared.b16 {%0, %1, %2, %3}, [%4];"
               : "=r"(r[0]), "=r"(r[1]), "=r"(r[2]), "=r"(r[3])
               : "r"(address));
}

// c[16][8] += a[16][16] b[16][8] in f32. With g = lane / 4 and i = 2 (lane % 4): a = (g, i), (g + 8, i), (g, i + 8),
// (g + 8, i + 8) and the column after each; b = (i, g) and (i + 8, g) and the row after each; c = (g, i), (g, i + 1),
// (g + 8, i), (g + 8, i + 1).
inline void multiply_add(float (&c)[4], const u32 (&a)[4], u32 b0, u32 b1, bf16) {
  asm volatile(
      "mma.sync.aligned.m16n8k16.row.col.f32.bf16.bf16.f32 {%0, %1, %2, %3}, {%4, %5, %6, %7}, {%8, %9}, {%0, %1, %2, "
      "%3};"
      : "+f"(c[0]), "+f"(c[1]), "+f"(c[2]), "+f"(c[3])
      : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b0), "r"(b1));
}
inline void multiply_add(float (&c)[4], const u32 (&a)[4], u32 b0, u32 b1, f16) {
  asm volatile(
      "mma.sync.aligned.m16n8k16.row.col.f32.f16.f16.f32 {%0, %1, %2, %3}, {%4, %5, %6, %7}, {%8, %9}, {%0, %1, %2, "
      "%3};"
      : "+f"(c[0]), "+f"(c[1]), "+f"(c[2]), "+f"(c[3])
      : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b0), "r"(b1));
}

// Two numbers rounded into one register, `low` in its low half.
inline u32 pack_pair(float low, float high, bf16) {
  u32 r;
  asm("cvt.rn.bf16x2.f32 %0, %1, %2;" : "=r"(r) : "f"(high), "f"(low));
  return r;
}
inline u32 pack_pair(float low, float high, f16) {
  u32 r;
  asm("cvt.rn.f16x2.f32 %0, %1, %2;" : "=r"(r) : "f"(high), "f"(low));
  return r;
}

// 16 bytes from global to shared memory behind the thread's back, both aligned; zeros without a read where not `whole`.
inline void copy_async(u32 to, const void* from, bool whole) {
  asm volatile("cp.async.cg.shared.global.L2::128B [%0], [%1], 16, %2;" ::"r"(to), "l"(from), "r"(whole ? 16 : 0)
               : "memory");
}
inline void copy_commit() { asm volatile("cp.async.commit_group;" ::: "memory"); }
// Waits till at most N of this thread's groups are under way.
template <int N>
inline void copy_wait() {
  asm volatile("cp.async.wait_group %0;" ::"n"(N) : "memory");
}
// The same for an n of at most MOST that is known when the code around is unrolled.
template <int MOST>
inline void copy_wait_at_most(int n) {
  if constexpr (MOST > 0) {
    if (n < MOST) return copy_wait_at_most<MOST - 1>(n);
  }
  copy_wait<MOST>();
}

// 2^x within 2 units of the last place; 0 below 2^-126, and 0 of -inf.
inline float exp2_of(float x) {
  float y;
  asm("ex2.approx.ftz.f32 %0, %1;" : "=f"(y) : "f"(x));
  return y;
}
