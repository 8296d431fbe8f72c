// SPDX-License-Identifier: Apache-2.0
#pragma once
// The activations of kpt.linear and kpt.convolution, numbered as kpt::Act (lib/cpu/act.h). Arithmetic as PyTorch's CUDA
// kernels do it: f32, no approximate instruction but where the result has 16 bits. A NaN stays one.
#include "kpt/kernels/lib/cuda/types.cuh"

// x Phi(x), relative error below 4e-5 (a sixth of the rounding to f16): erff and its branches would take longer than
// the memory does. With z = |x|: Phi(-z) = e^(-z^2/2) r(t), t = 1 / (1 + 0.38 z), where r is the polynomial without
// constant term whose largest relative error on [0, 14] is least (iteratively reweighted least squares against
// 50-digit values of erfc); beyond 13.2 the power of e is 0.
inline float gelu_of_16_bits(float x) {
  const float z = fabsf(x);
  float t, power;
  asm("rcp.approx.ftz.f32 %0, %1;" : "=f"(t) : "f"(fmaf(0.38f, z, 1.0f)));
  float r = fmaf(-0.08992695f, t, 0.18887344f);
  r = fmaf(r, t, 0.09198201f);
  r = fmaf(r, t, 0.15782878f);
  r = fmaf(r, t, 0.15122521f) * t;
  asm("ex2.approx.ftz.f32 %0, %1;" : "=f"(power) : "f"(-0.72134752f * z * z));
  const float tail = power * r;
  return x * (x > 0.0f ? 1.0f - tail : tail);
}

template <int A, int BYTES = 4>
inline float act(float x) {
  if (A == 1 && BYTES == 2) return gelu_of_16_bits(x);
  if (A == 1) return 0.5f * x * (1.0f + erff(x * 0.70710678118654752f));
  if (A == 2) return 0.5f * x * (1.0f + tanhf(0.79788456080286536f * (x + 0.044715f * x * x * x)));
  if (A == 3) return x / (1.0f + expf(-x));
  if (A == 4) return x < 0.0f ? 0.0f : x;
  if (A == 5) return tanhf(x);
  if (A == 6) return 1.0f / (1.0f + expf(-x));
  return x;
}
