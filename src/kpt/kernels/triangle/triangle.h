// SPDX-License-Identifier: Apache-2.0
#pragma once
#include "kpt/kernels/kernel.h"

namespace kpt {

// aten.tril(%x, diagonal=..), aten.triu(likewise): x with everything above (below) the diagonal set to 0, for each
// matrix of the last two dimensions. Any dtype, any strides of x, dense output. In place where x is dense.

}  // namespace kpt
