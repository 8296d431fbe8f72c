// SPDX-License-Identifier: Apache-2.0
#pragma once
// The activations of kpt.linear and kpt.convolution, numbered as kpt::Act (lib/cpu/act.h). Arithmetic as PyTorch's CUDA
// kernels do it: f32, no approximate instruction. A NaN stays one.
#include "kpt/kernels/lib/cuda/types.cuh"

template <int A>
inline float act(float x) {
  if (A == 1) return 0.5f * x * (1.0f + erff(x * 0.70710678118654752f));
  if (A == 2) return 0.5f * x * (1.0f + tanhf(0.79788456080286536f * (x + 0.044715f * x * x * x)));
  if (A == 3) return x / (1.0f + expf(-x));
  if (A == 4) return x < 0.0f ? 0.0f : x;
  if (A == 5) return tanhf(x);
  if (A == 6) return 1.0f / (1.0f + expf(-x));
  return x;
}
