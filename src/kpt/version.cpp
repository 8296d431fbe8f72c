// SPDX-License-Identifier: Apache-2.0
#include "kpt/version.h"

namespace kpt {
const char* version() { return KPT_VERSION; }
}  // namespace kpt
