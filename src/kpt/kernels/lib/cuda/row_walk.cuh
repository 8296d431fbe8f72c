// SPDX-License-Identifier: Apache-2.0
#pragma once
#include "kpt/kernels/lib/cuda/program.cuh"
#include "kpt/kernels/lib/cuda/rows.cuh"
// How generated kernels of kpt.row reach their tensors (lib/cuda/row_program.cpp fills RowWalk in). VEC: elements moved
// at once; TENSORS: inputs and outputs. A group of threads computes a row: a power of two within a warp, or the block.

struct RowWalk {
  u32 rows, width, group;
  i32 rank;
  Divider size[8];  // merged dimensions of the rows, outer first
  i64 stride[TENSORS][8];
  i64 inner[TENSORS];  // along the row; 0 for one element a row
};

inline void row_starts(const RowWalk& w, u32 row, i64 (&at)[TENSORS]) {
#pragma unroll
  for (int t = 0; t < TENSORS; ++t) at[t] = 0;
#pragma unroll 1
  for (int d = w.rank - 1; d > 0; --d) {
    const u32 next = w.size[d].quotient(row), here = row - next * w.size[d].divisor;
#pragma unroll
    for (int t = 0; t < TENSORS; ++t) at[t] += here * w.stride[t][d];
    row = next;
  }
#pragma unroll
  for (int t = 0; t < TENSORS; ++t) at[t] += row * w.stride[t][0];
}

// Elements [column, column + VEC) of a row; zeros behind its end.
template <class T>
inline void load_part(T (&x)[VEC], const T* row, i64 step, u32 column, u32 width) {
  const T* p = row + column * step;
  if (step == 1 && column + VEC <= width && aligned(address(p), sizeof(Raw<T, VEC>) < 16 ? sizeof(Raw<T, VEC>) : 16)) {
    Raw<T, VEC> raw;
    raw.load(p);
#pragma unroll
    for (int e = 0; e < VEC; ++e) x[e] = raw.e[e];
  } else {
#pragma unroll
    for (int e = 0; e < VEC; ++e) x[e] = column + e < width ? p[e * step] : T{};
  }
}
template <class T>
inline void store_part(T* row, const T (&x)[VEC], i64 step, u32 column, u32 width) {
  T* p = row + column * step;
  if (step == 1 && column + VEC <= width && aligned(address(p), sizeof(Raw<T, VEC>) < 16 ? sizeof(Raw<T, VEC>) : 16)) {
    Raw<T, VEC> raw;
#pragma unroll
    for (int e = 0; e < VEC; ++e) raw.e[e] = x[e];
    raw.store(p);
  } else {
#pragma unroll
    for (int e = 0; e < VEC; ++e)
      if (column + e < width) p[e * step] = x[e];
  }
}

struct RowSum {
  template <class T>
  static T first() {
    return 0;
  }
  template <class T>
  static T f(T a, T b) {
    return fn_add(a, b);
  }
};
template <class T>
struct Ends {
  static T low() { return (T)-infinity(); }
  static T high() { return (T)infinity(); }
};
template <>
struct Ends<i64> {
  static i64 low() { return (i64)0x8000000000000000ull; }
  static i64 high() { return 0x7fffffffffffffffll; }
};
struct RowMax {
  template <class T>
  static T first() {
    return Ends<T>::low();
  }
  template <class T>
  static T f(T a, T b) {
    return fn_maximum(a, b);
  }
};
struct RowMin {
  template <class T>
  static T first() {
    return Ends<T>::high();
  }
  template <class T>
  static T f(T a, T b) {
    return fn_minimum(a, b);
  }
};

// Over the group; every thread gets the result, and every thread of the block comes here.
template <class Op, class T>
inline T over_row(T x, u32 group) {
  __shared__ T slots[32];
  for (u32 step = (group < 32 ? group : 32) / 2; step; step >>= 1) x = Op::f(x, __shfl_xor_sync(0xffffffffu, x, step));
  if (group <= 32) return x;
  __syncthreads();  // the slots of the call before are read
  if (threadIdx.x % 32 == 0) slots[threadIdx.x / 32] = x;
  __syncthreads();
  x = slots[0];
  for (u32 i = 1; i < group / 32; ++i) x = Op::f(x, slots[i]);
  return x;
}
