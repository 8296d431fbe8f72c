// SPDX-License-Identifier: Apache-2.0
#pragma once
#include <cstdint>

namespace kpt {

// The activation at the end of linear and convolution. Plain C++: shared by *_simd.cpp and the files around them.
enum class Act : int32_t { none, gelu, gelu_tanh, silu, relu, tanh, sigmoid };

// Element types the SIMD kernels take.
enum class Elem : int32_t { f32, bf16, f16 };

}  // namespace kpt
