// SPDX-License-Identifier: Apache-2.0
#pragma once
#include "kpt/base/error.h"

namespace kpt {
KPT_API const char* version();  // "0.1.0", static storage
}  // namespace kpt
