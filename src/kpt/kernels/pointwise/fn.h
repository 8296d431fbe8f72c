// SPDX-License-Identifier: Apache-2.0
#pragma once
#include <cstdint>

namespace kpt {

// The instructions of kpt.pointwise and kpt.row. Names are those of the table in program.cpp.
enum class Fn : uint8_t {
  add, sub, mul, div, div_floor, div_trunc, pow, max, min, rem, atan2,
  neg, abs, sign, exp, exp2, expm1, log, log2, log1p, sqrt, rsqrt, recip, sin, cos, tan, tanh, sigmoid, erf,
  floor, ceil, round, trunc, relu, relu6, gelu_erf, gelu_tanh, silu, mish, elu, leaky_relu, hardtanh, hardswish,
  hardsigmoid, softplus, log_sigmoid, clamp,
  eq, ne, lt, le, gt, ge, logical_and, logical_or, logical_xor, logical_not, bit_and, bit_or, bit_xor, bit_not,
  isnan, isinf, where, masked_fill, swiglu, cast, row_sum, row_mean, row_max, row_min,
};

}  // namespace kpt
