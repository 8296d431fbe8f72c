// SPDX-License-Identifier: Apache-2.0
#pragma once
#include "kpt/kernels/lib/cpu/act.h"

namespace kpt {

// The activation in double, for references.
double activate(Act act, double x);

}  // namespace kpt
