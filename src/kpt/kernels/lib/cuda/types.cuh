// SPDX-License-Identifier: Apache-2.0
#pragma once
// Element types of device code and their conversions. No CUDA header is included: NVRTC then needs no include path and
// compiles in half the time. Rounding is to nearest even, as in the core (tensor.h).

typedef signed char i8;
typedef unsigned char u8;
typedef short i16;
typedef int i32;
typedef long long i64;
typedef unsigned int u32;
typedef unsigned long long u64;
typedef float f32;
typedef double f64;
struct boolean {
  u8 bits;
};
struct bf16 {
  unsigned short bits;
};
struct f16 {
  unsigned short bits;
};

inline float to_float(f32 x) { return x; }
inline float to_float(f64 x) { return (float)x; }
inline float to_float(bf16 x) { return __uint_as_float((u32)x.bits << 16); }
inline float to_float(f16 x) {
  float y;
  asm("cvt.f32.f16 %0, %1;" : "=f"(y) : "h"(x.bits));
  return y;
}
inline float to_float(boolean x) { return x.bits ? 1.0f : 0.0f; }
inline float to_float(i64 x) { return (float)x; }
inline float to_float(i32 x) { return (float)x; }
inline float to_float(i16 x) { return (float)x; }
inline float to_float(i8 x) { return (float)x; }
inline float to_float(u8 x) { return (float)x; }

template <class T>
struct From;  // From<T>::f(float)
template <>
struct From<f32> {
  static f32 f(float x) { return x; }
};
template <>
struct From<f64> {
  static f64 f(float x) { return x; }
};
template <>
struct From<bf16> {
  static bf16 f(float x) {
    bf16 y;
    asm("cvt.rn.bf16.f32 %0, %1;" : "=h"(y.bits) : "f"(x));
    return y;
  }
};
template <>
struct From<f16> {
  static f16 f(float x) {
    f16 y;
    asm("cvt.rn.f16.f32 %0, %1;" : "=h"(y.bits) : "f"(x));
    return y;
  }
};
template <class T>
inline T from_float(float x) {
  return From<T>::f(x);
}

// N elements moved by one instruction.
template <class T, int N>
struct alignas(sizeof(T) * N) Pack {
  T e[N];
};

// Programmatic dependent launch (sm_90 on): wait before the first read of what an earlier kernel wrote; release lets the
// next kernel of the stream be set up while this one drains. No effect where the launch did not ask for overlap.
inline void grid_wait() {
#if __CUDA_ARCH__ >= 900
  asm volatile("griddepcontrol.wait;" ::: "memory");
#endif
}
inline void grid_release() {
#if __CUDA_ARCH__ >= 900
  asm volatile("griddepcontrol.launch_dependents;");
#endif
}

inline float warp_sum(float x) {
#pragma unroll
  for (int step = 16; step; step >>= 1) x += __shfl_xor_sync(0xffffffffu, x, step);
  return x;
}
inline float warp_max(float x) {
#pragma unroll
  for (int step = 16; step; step >>= 1) x = fmaxf(x, __shfl_xor_sync(0xffffffffu, x, step));
  return x;
}
