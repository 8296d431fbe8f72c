// SPDX-License-Identifier: Apache-2.0
#include "kpt/kernels/lib/cuda/rows.cuh"
// x on one side of the diagonal, zeros on the other. No defines: one program for all.

struct Triangle {
  Rows rows;  // of x, in bytes
  Divider height, packs;
  i64 step;          // between x's columns, in bytes
  u32 units, share;  // packs of `vec` elements; those of a block
  i32 columns, vec, shift, element, edge,
      lower;  // vec = 1 << shift; edge: of row 0, the first column of the other side
};

// VEC elements from column `column` of a row on.
template <class S, int VEC>
inline void part(const Triangle& t, const char* x, char* y, u32 row, i32 column) {
  const i32 edge = (i32)(row - t.height.quotient(row) * t.height.divisor) + t.edge;
  Raw<S, VEC> v;
#pragma unroll
  for (int e = 0; e < VEC; ++e) v.e[e] = 0;
  const bool kept = t.lower ? column < edge : column + VEC > edge;
  if (kept) v.load(reinterpret_cast<const S*>(x + t.rows.offset(row) + column * t.step));
#pragma unroll
  for (int e = 0; e < VEC; ++e)
    if ((column + e < edge) != (t.lower != 0)) v.e[e] = 0;
  v.store(reinterpret_cast<S*>(y) + (i64)row * t.columns + column);
}

template <class S>
inline void parts(const Triangle& t, const char* x, char* y) {
  constexpr int kVec = 16 / sizeof(S);
  const u32 begin = blockIdx.x * t.share, left = t.units - begin, end = begin + (left < t.share ? left : t.share);
  // Bases may lie on any element: then packs move element by element.
  const bool whole = t.vec > 1 && aligned(address(x) | address(y), 16);
  const i32 shift = whole ? 0 : t.shift;
  for (u32 n = (begin << shift) + threadIdx.x; n < end << shift; n += blockDim.x) {
    const u32 pack = n >> shift, row = t.packs.quotient(pack);
    const i32 column = (i32)(pack - row * t.packs.divisor) * t.vec + (i32)(n & ((1u << shift) - 1));
    if (whole)
      part<S, kVec>(t, x, y, row, column);
    else
      part<S, 1>(t, x, y, row, column);
  }
}

extern "C" __global__ void __launch_bounds__(256) triangle(const __grid_constant__ Triangle t, const char* x, char* y) {
  grid_release();
  grid_wait();
  switch (t.element) {
    case 8: parts<u64>(t, x, y); break;
    case 4: parts<u32>(t, x, y); break;
    case 2: parts<unsigned short>(t, x, y); break;
    default: parts<u8>(t, x, y); break;
  }
}
