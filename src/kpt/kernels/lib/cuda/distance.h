// SPDX-License-Identifier: Apache-2.0
#pragma once
#include <algorithm>
#include <cmath>

#include "kpt/tensor/tensor.h"

namespace kpt {

struct CudaProgram;  // no header of CUDA: the judge includes this one

// What two tensors' distance is made of (kpt::distance), element by element in f64. Elements that are not finite are in
// the last two alone.
struct DistanceSums {
  double error2 = 0, reference2 = 0, x2 = 0, dot = 0, max_abs = 0;
  int64_t nonfinite = 0;  // one is not finite and the other not the same
  int64_t unequal = 0;

  void add(double x, double reference) {
    const bool same = x == reference || (std::isnan(x) && std::isnan(reference));
    unequal += !same;
    if (!std::isfinite(x) || !std::isfinite(reference)) {
      nonfinite += !same;
      return;
    }
    const double d = x - reference;
    error2 += d * d;
    reference2 += reference * reference;
    x2 += x * x;
    dot += x * reference;
    max_abs = std::max(max_abs, std::abs(d));
  }
  void add(const DistanceSums& more);
};

// Of two contiguous tensors of as many elements on that device, of any types. Waits for the stream. The same numbers
// give the same sums: every block of a grid that is fixed for the device leaves its own, and they are added in order.
// Takes 30 kB of device memory for that. Thread-safe.
KPT_API DistanceSums cuda_distance_sums(const Tensor& x, const Tensor& reference, int device, void* stream);

CudaProgram distance_program();  // for the test that compiles it

}  // namespace kpt
