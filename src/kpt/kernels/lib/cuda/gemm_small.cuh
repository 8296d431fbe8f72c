// SPDX-License-Identifier: Apache-2.0
#pragma once
// What gemm_small.cu is told, the same text for the host and the device.
#ifndef __CUDACC_RTC__
namespace kpt {
#endif

// Strides in bytes. y = act(x w^T + bias) + beta residual.
struct SmallGemmArguments {
  long long x_m, w_step, y_m, residual_m;  // w_step: from one row of w in memory to the next
  int m, n, k;
  int tiles_m, k_part;  // tiles along m; depth of one block of a cluster, a multiple of 64
  int act;              // kpt::Act
  int early;            // nobody writes w shortly before: it is read while the kernel before still runs
  float beta;
};

#ifndef __CUDACC_RTC__
}  // namespace kpt
#endif
