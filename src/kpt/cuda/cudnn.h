// SPDX-License-Identifier: Apache-2.0
#pragma once
#include "kpt/base/dtype.h"
#include "kpt/cuda/driver.h"

namespace kpt {

// Opens libcudnn.so.9 once. Not ok without a GPU, without the library, or where it is older than 9.0.
KPT_API Verdict cudnn_here();
KPT_API size_t cudnn_version();  // 91900 for 9.19.0

}  // namespace kpt
