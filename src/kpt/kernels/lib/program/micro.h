// SPDX-License-Identifier: Apache-2.0
#pragma once
#include <cstdint>

#include "kpt/base/dtype.h"

// The vector micro-operations a program is compiled to: each one loop over a chunk that lies in the L1 cache.
namespace kpt {

enum class Fn : uint8_t;

// What elements are while being computed with: f32 for f32, bf16, f16; i64 for every integer; u8 for bool (0 or 1).
enum class Lane : uint8_t { f32, f64, i64, u8 };

constexpr Lane lane_of(DType d) {
  if (d == DType::f64) return Lane::f64;
  if (d == DType::boolean) return Lane::u8;
  return is_float(d) ? Lane::f32 : Lane::i64;
}
constexpr int64_t size_of(Lane l) { return l == Lane::f32 ? 4 : l == Lane::u8 ? 1 : 8; }
constexpr DType dtype_of(Lane l) {
  return l == Lane::f32 ? DType::f32 : l == Lane::f64 ? DType::f64 : l == Lane::i64 ? DType::i64 : DType::boolean;
}
// A chunk of such elements in memory can be computed on as it is.
constexpr bool native(DType d) { return dtype_of(lane_of(d)) == d; }

// dst[i] = fn(a[i], b[i], c[i]) for i < n. An operand whose bit of `form` is set is one element for all i.
// dst may be the very buffer of an operand of the same lane type. params: the instruction's, as doubles.
struct MicroArgs {
  void* dst;
  const void* a;
  const void* b;
  const void* c;
  int64_t n;
  const double* params;
};
using MicroFn = void (*)(const MicroArgs&);

// dst[i * dst_stride] = converted src[i * src_stride]; strides in elements, not negative (0: broadcast).
using MoveFn = void (*)(void* dst, int64_t dst_stride, const void* src, int64_t src_stride, int64_t n);

// The loops of one instruction set. Null where there is no such loop: the compiler of programs then fills single
// elements out to chunks (form 0 exists for every supported function) or refuses the program.
struct MicroTable {
  MicroFn (*f32)(Fn fn, int form);
  MicroFn (*other)(Fn fn, Lane lane,
                   int form);  // f64, i64, u8, and f32 where the result is u8 or the function is where
  MicroFn (*convert)(Lane from, Lane to);
  MicroFn (*fill)(Lane lane);      // from one element
  MicroFn (*wrap)(DType narrow);   // i64 lanes reduced to the range of i32, i16, i8 or u8
  MicroFn (*round)(DType narrow);  // f32 lanes rounded to the values of bf16 or f16
  MoveFn (*load)(DType from);      // to lane_of(from)
  MoveFn (*store)(DType to);       // from lane_of(to)
};

namespace generic {
extern const MicroTable kMicroTable;
}
namespace avx2 {
extern const MicroTable kMicroTable;
}
namespace avx512 {
extern const MicroTable kMicroTable;
}
namespace avx512bf16 {
extern const MicroTable kMicroTable;
}

const MicroTable& micro_table();  // for cpu_isa()

}  // namespace kpt
