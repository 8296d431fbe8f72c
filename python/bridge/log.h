// SPDX-License-Identifier: Apache-2.0
#pragma once
#include <string>

namespace kpt::bridge {

// Keeps the core's log lines for Python from now on, instead of printing them. Python fetches them after its calls:
// a line may be written by any thread, with or without the interpreter's lock, so Python is never called from here.
void keep_log();

// JSON: [{level, where, text}], oldest first; at most the last 1,000, a line says how many were lost. Empties it.
std::string take_log();

}  // namespace kpt::bridge

// How many lines wait. Read by Python through ctypes at each call, which is cheaper than asking.
extern "C" __attribute__((visibility("default"))) int kpt_log_pending;
