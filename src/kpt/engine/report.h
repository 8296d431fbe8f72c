// SPDX-License-Identifier: Apache-2.0
#pragma once
#include <string>
#include <vector>

#include "kpt/passes/pass.h"
#include "kpt/runtime/executor.h"

namespace kpt {

// What compile() did, kept for report() and explain().
struct CompileRecord {
  std::vector<PassTiming> passes;
  std::vector<Rewrite> rewrites;
  double plan_seconds = 0, prologue_seconds = 0, total_seconds = 0;
};

std::string report_json(const CompileRecord& record, Executor& executor);
std::string explain_value(const CompileRecord& record, Executor& executor, std::string_view value);

}  // namespace kpt
