// SPDX-License-Identifier: Apache-2.0
#include <gtest/gtest.h>

#include "kpt/passes/pass_test_util.h"

namespace kpt::testing {

TEST(ChannelsLast, TextBeforeGivesTextAfter) { run_case_file("channels_last"); }

}  // namespace kpt::testing
