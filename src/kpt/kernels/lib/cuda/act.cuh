// SPDX-License-Identifier: Apache-2.0
#pragma once
// The activations of kpt.linear and kpt.convolution, numbered as kpt::Act (lib/cpu/act.h). Arithmetic as PyTorch's CUDA
// kernels do it: f32, no approximate instruction but where the result has 16 bits. A NaN stays one.
#include "kpt/kernels/lib/cuda/types.cuh"

// x Phi(x) = max(x, 0) - z Phi(-z) with z = |x|, and Phi(-z) = 2^q(z): erff and its branches would take longer than the
// memory does. q: the polynomial of degree 7 nearest to log2 Phi(-z) on [0, 14] (iteratively reweighted least squares).
// Relative error of Phi(-z): below 9e-5 up to z = 3.5, 2e-4 up to 4.5, then growing to 9e-3 where the result is below
// 1e-7 (roundings: bf16 2e-3, f16 5e-4); 0 from 13 on. -inf gives NaN, as erff does.
inline float gelu_of_16_bits(float x) {
  float below, positive, power;
  asm("min.NaN.f32 %0, %1, 0f41600000;" : "=f"(below) : "f"(x));  // 14: +inf stays out of the product
  asm("max.NaN.f32 %0, %1, 0f00000000;" : "=f"(positive) : "f"(x));
  const float z = fabsf(below);
  float q = fmaf(-5.76574507e-07f, z, 2.90735115e-05f);
  q = fmaf(q, z, -0.000606045476f);
  q = fmaf(q, z, 0.00694380281f);
  q = fmaf(q, z, -0.0501756892f);
  q = fmaf(q, z, -0.462761611f);
  q = fmaf(q, z, -1.14942825f);
  q = fmaf(q, z, -1.00012362f);
  asm("ex2.approx.ftz.f32 %0, %1;" : "=f"(power) : "f"(q));
  return fmaf(-z, power, positive);
}

// 1 / (1 + e^-x), relative error below 1e-6; 0 where e^-x is above 2^126.
inline float sigmoid_of_16_bits(float x) {
  float power, y;
  asm("ex2.approx.ftz.f32 %0, %1;" : "=f"(power) : "f"(-1.44269504f * x));
  asm("rcp.approx.ftz.f32 %0, %1;" : "=f"(y) : "f"(1.0f + power));
  return y;
}

template <int A, int BYTES = 4>
inline float act(float x) {
  if (A == 1 && BYTES == 2) return gelu_of_16_bits(x);
  // (1 + tanh u) / 2 = sigmoid(2 u)
  if (A == 2 && BYTES == 2) return x * sigmoid_of_16_bits(1.59576912160573071f * (x + 0.044715f * x * x * x));
  if (A == 3 && BYTES == 2) return x * sigmoid_of_16_bits(x);
  if (A == 6 && BYTES == 2) return sigmoid_of_16_bits(x);
  if (A == 1) return 0.5f * x * (1.0f + erff(x * 0.70710678118654752f));
  if (A == 2) return 0.5f * x * (1.0f + tanhf(0.79788456080286536f * (x + 0.044715f * x * x * x)));
  if (A == 3) return x / (1.0f + expf(-x));
  if (A == 4) return x < 0.0f ? 0.0f : x;
  if (A == 5) return tanhf(x);
  if (A == 6) return 1.0f / (1.0f + expf(-x));
  return x;
}
