// SPDX-License-Identifier: Apache-2.0
#pragma once
#include <cstddef>

// The functions of math.h over arrays, one entry for each instruction set, so that tests reach every build of them.
// `name` as in math.h. Returns false where there is no such function. The caller knows that the machine has the set.
namespace kpt {
namespace generic {
bool math_probe(const char* name, const float* x, float* y, size_t n);
}
namespace avx2 {
bool math_probe(const char* name, const float* x, float* y, size_t n);
}
namespace avx512 {
bool math_probe(const char* name, const float* x, float* y, size_t n);
}
namespace avx512bf16 {
bool math_probe(const char* name, const float* x, float* y, size_t n);
}
}  // namespace kpt
