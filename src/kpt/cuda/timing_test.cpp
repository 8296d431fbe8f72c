// SPDX-License-Identifier: Apache-2.0
#include "kpt/cuda/timing.h"

#include <gtest/gtest.h>

namespace kpt {
namespace {

TEST(Timing, TheFirstCandidateStaysUnlessAnotherIsClearlyFaster) {
  EXPECT_EQ(fastest({100, 99}), 0);
  EXPECT_EQ(fastest({100, 99, 90}), 2);
  EXPECT_EQ(fastest({CudaTimer::kNever, 99}), 1);
  EXPECT_EQ(fastest({0}), 0);
  EXPECT_EQ(fastest({CudaTimer::kNever, CudaTimer::kNever}), -1);
  EXPECT_EQ(fastest({}), -1);
}

}  // namespace
}  // namespace kpt
