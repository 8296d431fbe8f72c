// SPDX-License-Identifier: Apache-2.0
#pragma once
#include "kpt/kernels/lib/cuda/types.cuh"

// Elements of a dtype that is known at run time only, by its number in the core (base/dtype.h): one program for all.

// f64 to f32 rounded to odd: rounding that to a shorter float is then as if done at once (Boldo and Melquiond, 2008).
inline f32 odd_f32(f64 x) {
  const f32 y = __double2float_rz(x);
  return (f64)y == x || x != x ? y : __uint_as_float(__float_as_uint(y) | 1);
}

inline f64 load_real(i32 dtype, const char* p, i64 at) {
  switch (dtype) {
    case 0: return reinterpret_cast<const f64*>(p)[at];
    case 1: return reinterpret_cast<const f32*>(p)[at];
    case 2: return to_float(reinterpret_cast<const f16*>(p)[at]);
    default: return to_float(reinterpret_cast<const bf16*>(p)[at]);
  }
}
inline i64 load_integer(i32 dtype, const char* p, i64 at) {
  switch (dtype) {
    case 4: return reinterpret_cast<const i64*>(p)[at];
    case 5: return reinterpret_cast<const i32*>(p)[at];
    case 6: return reinterpret_cast<const i16*>(p)[at];
    case 7: return reinterpret_cast<const i8*>(p)[at];
    case 8: return reinterpret_cast<const u8*>(p)[at];
    default: return reinterpret_cast<const u8*>(p)[at] != 0;
  }
}
inline bool is_real(i32 dtype) { return dtype < 4; }

inline void store_real(i32 dtype, char* p, i64 at, f64 x) {
  switch (dtype) {
    case 0: reinterpret_cast<f64*>(p)[at] = x; break;
    case 1: reinterpret_cast<f32*>(p)[at] = (f32)x; break;
    case 2: reinterpret_cast<f16*>(p)[at] = from_float<f16>(odd_f32(x)); break;
    default: reinterpret_cast<bf16*>(p)[at] = from_float<bf16>(odd_f32(x)); break;
  }
}
inline void store_integer(i32 dtype, char* p, i64 at, i64 x) {
  switch (dtype) {
    case 4: reinterpret_cast<i64*>(p)[at] = x; break;
    case 5: reinterpret_cast<i32*>(p)[at] = (i32)x; break;
    case 6: reinterpret_cast<i16*>(p)[at] = (i16)x; break;
    case 7: reinterpret_cast<i8*>(p)[at] = (i8)x; break;
    case 8: reinterpret_cast<u8*>(p)[at] = (u8)x; break;
    default: reinterpret_cast<u8*>(p)[at] = x != 0; break;
  }
}
