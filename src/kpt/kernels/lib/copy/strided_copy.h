// SPDX-License-Identifier: Apache-2.0
#pragma once
#include "kpt/kernels/kernel.h"

namespace kpt {

// The loops of kpt.copy (copy/copy.h), for every kernel that moves elements: input 0 to output 0 of its RunArgs. Sizes
// and dtypes are equal; strides of both are free.
std::unique_ptr<Launch> make_copy(const TensorDesc& from, const TensorDesc& to, int threads);

}  // namespace kpt
