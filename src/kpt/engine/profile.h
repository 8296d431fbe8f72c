// SPDX-License-Identifier: Apache-2.0
#pragma once
#include <string>
#include <vector>

#include "kpt/runtime/executor.h"

namespace kpt {

// Runs `rounds` calls with a clock around every step. JSON:
//   {"rounds", "threads", "call_start_ns": [round], "call_ns": [round],
//    "steps": [{value, op, provider, kernel, config, where, stack, flops (null: not known), bytes_read, bytes_written,
//               start_ns: [round], ns: [round]}],
//    "memory": {"arena_bytes", "workspace_bytes", "in_outputs_bytes", "live_bytes": [step]}}
// start_ns counts from the start of the call, call_start_ns from the first call. What a call spends outside its steps
// is call_ns minus the sum of ns. live_bytes: arena memory that holds a value while the step runs.
// Two clock reads a step (about 40 ns) are inside call_ns and outside ns. Times are those of the calling thread: right
// where a launch returns when its work is done, as on the CPU. Throws as Model::run, and Error{bad_input} for rounds
// out of [1, 100000]. Thread-safe, but calls beside it disturb what it measures.
std::string profile_json(Executor& executor, const std::vector<Tensor>& inputs, int rounds);

}  // namespace kpt
