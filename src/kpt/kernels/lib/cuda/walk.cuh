// SPDX-License-Identifier: Apache-2.0
#pragma once
#include "kpt/kernels/lib/cuda/program.cuh"
// How generated pointwise kernels reach their tensors. VEC: elements of one thread's unit; TENSORS: inputs and outputs;
// WIDE: offsets beyond 31 bits. Sizes and strides come at run time (lib/cuda/pointwise.cpp fills Walk in).

#ifdef WIDE
typedef i64 Index;
#else
typedef int Index;
#endif

// Division by a number known at launch, n below 2^31 unless WIDE: rows.cuh's Divider in fields of Index.
struct Divisor {
  Index size, multiply, shift;
};
inline Index divide(Index n, const Divisor& d) {
#ifdef WIDE
  return n / d.size;
#else
  return (Index)((__umulhi((u32)n, (u32)d.multiply) + (u32)n) >> (u32)d.shift);
#endif
}

// flat: dense in the order of the walk; single: one element for all; strided: anything else.
enum { kFlat = 0, kSingle = 1, kStrided = 2 };
struct Walk {
  Index elements, units, span, rank;
  Divisor row;      // units in a row
  Divisor size[8];  // merged dimensions, outer first
  Index stride[TENSORS][8];
  Index inner[TENSORS];  // stride of the last dimension
  Index kind[TENSORS];
};

template <class T>
struct alignas(sizeof(T) * VEC < 16 ? sizeof(T) * VEC : 16) Run {
  T e[VEC];
};
template <class T>
inline bool aligned(const T* p) {
  return ((u64)p & (alignof(Run<T>) - 1)) == 0;
}
template <class T>
inline void load_run(T (&x)[VEC], const T* p) {
  const Run<T> run = *(const Run<T>*)p;
#pragma unroll
  for (int e = 0; e < VEC; ++e) x[e] = run.e[e];
}
template <class T>
inline void store_run(T* p, const T (&x)[VEC]) {
  Run<T> run;
#pragma unroll
  for (int e = 0; e < VEC; ++e) run.e[e] = x[e];
  *(Run<T>*)p = run;
}
template <class T>
inline void load_one(T (&x)[VEC], const T* p) {
  const T one = *p;
#pragma unroll
  for (int e = 0; e < VEC; ++e) x[e] = one;
}

// --- dense: every tensor flat or single ---------------------------------------------------------------------------

template <class T>
inline void load_dense(T (&x)[VEC], const T* p, Index kind, Index unit) {
  if (kind == kFlat)
    load_run(x, p + unit * VEC);
  else
    load_one(x, p);
}

// --- rows: VEC divides the last dimension ---------------------------------------------------------------------------

// Offsets of a unit in all tensors.
inline void row_offsets(const Walk& w, Index unit, Index (&at)[TENSORS]) {
  Index rest = divide(unit, w.row);
  const Index column = (unit - rest * w.row.size) * VEC;
#pragma unroll
  for (int t = 0; t < TENSORS; ++t) at[t] = column * w.inner[t];
#pragma unroll 1
  for (int d = (int)w.rank - 2; d > 0; --d) {
    const Divisor size = w.size[d];
    const Index next = divide(rest, size), here = rest - next * size.size;
#pragma unroll
    for (int t = 0; t < TENSORS; ++t) at[t] += here * w.stride[t][d];
    rest = next;
  }
#pragma unroll
  for (int t = 0; t < TENSORS; ++t) at[t] += rest * w.stride[t][0];
}
template <class T>
inline void load_row(T (&x)[VEC], const T* p, Index step) {
  if (step == 1 && aligned(p)) {
    load_run(x, p);
  } else if (step == 0) {
    load_one(x, p);
  } else {
#pragma unroll
    for (int e = 0; e < VEC; ++e) x[e] = p[e * step];
  }
}
template <class T>
inline void store_row(T* p, const T (&x)[VEC], Index step) {
  if (step == 1 && aligned(p)) {
    store_run(p, x);
  } else {
#pragma unroll
    for (int e = 0; e < VEC; ++e) p[e * step] = x[e];
  }
}

// --- gather: an offset for each element -----------------------------------------------------------------------------

// Offsets of a unit's elements in tensor t; elements behind the last one take its place.
inline void gather_offsets(const Walk& w, int t, Index unit, Index (&at)[VEC]) {
  Index rest[VEC];
#pragma unroll
  for (int e = 0; e < VEC; ++e) {
    rest[e] = unit * VEC + e < w.elements ? unit * VEC + e : w.elements - 1;
    at[e] = 0;
  }
#pragma unroll 1
  for (int d = (int)w.rank - 1; d > 0; --d) {
    const Divisor size = w.size[d];
    const Index step = w.stride[t][d];
#pragma unroll
    for (int e = 0; e < VEC; ++e) {
      const Index next = divide(rest[e], size);
      at[e] += (rest[e] - next * size.size) * step;
      rest[e] = next;
    }
  }
#pragma unroll
  for (int e = 0; e < VEC; ++e) at[e] += rest[e] * w.stride[t][0];
}
template <class T>
inline void load_gather(T (&x)[VEC], const T* p, const Walk& w, int t, Index unit) {
  if (w.kind[t] == kFlat && (unit + 1) * VEC <= w.elements && aligned(p + unit * VEC)) {
    load_run(x, p + unit * VEC);
  } else if (w.kind[t] == kSingle) {
    load_one(x, p);
  } else {
    Index at[VEC];
    gather_offsets(w, t, unit, at);
#pragma unroll
    for (int e = 0; e < VEC; ++e) x[e] = p[at[e]];
  }
}
template <class T>
inline void store_gather(T* p, const T (&x)[VEC], const Walk& w, int t, Index unit) {
  if (w.kind[t] == kFlat && (unit + 1) * VEC <= w.elements && aligned(p + unit * VEC)) {
    store_run(p + unit * VEC, x);
  } else {
    Index at[VEC];
    gather_offsets(w, t, unit, at);
#pragma unroll
    for (int e = 0; e < VEC; ++e)
      if (unit * VEC + e < w.elements) p[at[e]] = x[e];
  }
}
