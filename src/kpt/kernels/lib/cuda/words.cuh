// SPDX-License-Identifier: Apache-2.0
#pragma once
// 16 bytes as four words, moved by one instruction. A struct of 16-bit elements that is put together one by one is
// stored as four words, each a fourth of what its lines' sectors hold: half the speed of the memory.
#include "kpt/kernels/lib/cuda/types.cuh"

struct Words {
  u32 w[4];
};

inline Words load_words(const void* from) {
  Words x;
  asm volatile("ld.global.v4.b32 {%0, %1, %2, %3}, [%4];"
               : "=r"(x.w[0]), "=r"(x.w[1]), "=r"(x.w[2]), "=r"(x.w[3])
               : "l"(from)
               : "memory");
  return x;
}
inline void store_words(void* to, const Words& x) {
  asm volatile("st.global.v4.b32 [%0], {%1, %2, %3, %4};" ::"l"(to), "r"(x.w[0]), "r"(x.w[1]), "r"(x.w[2]), "r"(x.w[3])
               : "memory");
}
// The same for what is not read soon: its lines leave the L2 cache first.
inline void stream_words(void* to, const Words& x) {
  asm volatile("st.global.cs.v4.b32 [%0], {%1, %2, %3, %4};" ::"l"(to), "r"(x.w[0]), "r"(x.w[1]), "r"(x.w[2]),
               "r"(x.w[3])
               : "memory");
}

inline u32 pair(bf16, float low, float high) {
  u32 x;
  asm("cvt.rn.bf16x2.f32 %0, %1, %2;" : "=r"(x) : "f"(high), "f"(low));
  return x;
}
inline u32 pair(f16, float low, float high) {
  u32 x;
  asm("cvt.rn.f16x2.f32 %0, %1, %2;" : "=r"(x) : "f"(high), "f"(low));
  return x;
}

// The elements of 16 bytes as floats, and back. T: f32, bf16 or f16.
template <class T>
inline void unpack(const Words& x, float (&to)[16 / sizeof(T)]) {
#pragma unroll
  for (int i = 0; i < 4; ++i) {
    if constexpr (sizeof(T) == 4) {
      to[i] = __uint_as_float(x.w[i]);
    } else {
      to[2 * i] = to_float(T{(unsigned short)x.w[i]});
      to[2 * i + 1] = to_float(T{(unsigned short)(x.w[i] >> 16)});
    }
  }
}
template <class T>
inline Words pack(const float (&from)[16 / sizeof(T)]) {
  Words x;
#pragma unroll
  for (int i = 0; i < 4; ++i) {
    if constexpr (sizeof(T) == 4)
      x.w[i] = __float_as_uint(from[i]);
    else
      x.w[i] = pair(T{}, from[2 * i], from[2 * i + 1]);
  }
  return x;
}
