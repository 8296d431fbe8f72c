// SPDX-License-Identifier: Apache-2.0
#include <gtest/gtest.h>

#include "kpt/passes/pass_test_util.h"

namespace kpt::testing {

TEST(Patches, TextBeforeGivesTextAfter) { run_case_file("patches"); }

}  // namespace kpt::testing
