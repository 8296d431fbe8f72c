// SPDX-License-Identifier: Apache-2.0
#include <gtest/gtest.h>

#include "kpt/passes/pass_test_util.h"

namespace kpt::testing {

TEST(Cse, TextBeforeGivesTextAfter) { run_case_file("cse"); }

}  // namespace kpt::testing
