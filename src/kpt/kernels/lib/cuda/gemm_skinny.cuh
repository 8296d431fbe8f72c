// SPDX-License-Identifier: Apache-2.0
#pragma once
// What gemm_skinny.cu is told, the same text for the host and the device.
#ifndef __CUDACC_RTC__
namespace kpt {
#endif

// Strides in bytes. y = act(x w^T + bias) + beta residual.
struct SkinnyArguments {
  long long x_m, w_step, y_m, residual_m;
  int m, n, k;
  int act;    // kpt::Act
  int early;  // nobody writes w shortly before: it is read while the kernel before still runs
  float beta;
};

#ifndef __CUDACC_RTC__
}  // namespace kpt
#endif
