// SPDX-License-Identifier: Apache-2.0
#pragma once
#include <string>
#include <vector>

#include "kpt/passes/pass.h"

namespace kpt::testing {

// One case of a test.kpt file:
//
//   ## name of the case
//   with: level=balanced device=cpu skip=KEY passes=cse,dce    (optional; passes: what runs, the pass under test if
//   absent) <graph before>
//   =>
//   <graph after>                                              or   => unchanged
//   rewrite: KEY                                               or   => unchanged: words of a declined rewrite's reason
//
// `rewrite:` lines (optional) name the rewrites that must have been applied, in order; with none given they are free.
struct PassCase {
  std::string name, before, after, reason;
  std::vector<std::string> rewrites, skip, passes;
  std::string level = "conservative", device = "cpu";
  bool unchanged = false;
  int line = 0;
};

std::vector<PassCase> read_cases(const std::string& path);

// Runs every case of <passes>/<pass>/test.kpt through the pass: text equals text, the result verifies, and running the
// pass again changes nothing. Fails the current GoogleTest with the name and the line of the case.
void run_case_file(const std::string& pass);

}  // namespace kpt::testing
