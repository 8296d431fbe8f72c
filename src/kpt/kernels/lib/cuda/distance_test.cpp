// SPDX-License-Identifier: Apache-2.0
// The kernel lane by lane on the host (emulate.h), its program without spills, and on a GPU against the host's sums.
#include "kpt/kernels/lib/cuda/distance.h"

#include <gtest/gtest.h>

#include <limits>
#include <random>

#include "kpt/cuda/nvrtc.h"
#include "kpt/kernels/lib/cuda/emulate.h"
#include "kpt/kernels/lib/cuda/on_device.h"

#pragma GCC diagnostic push
#pragma GCC diagnostic ignored "-Wunused-function"

namespace emulated {
using namespace kpt::emulate;
using i16 = short;
using f64 = double;
#include "kpt/kernels/lib/cuda/distance.cu"
}  // namespace emulated

#pragma GCC diagnostic pop

namespace kpt {
namespace {

struct Pair {
  Tensor x, reference;
};

// Values that every type holds, some equal and, where the type knows them, some not finite.
Pair pair_of(DType x, DType reference, int64_t count) {
  std::mt19937 random(static_cast<unsigned>(count) + 10 * static_cast<unsigned>(x));
  std::uniform_int_distribution<int> number(0, 100);
  const double special[] = {std::numeric_limits<double>::quiet_NaN(), std::numeric_limits<double>::infinity(),
                            -std::numeric_limits<double>::infinity()};
  Pair out{Tensor::empty(x, {count}), Tensor::empty(reference, {count})};
  for (int64_t i = 0; i < count; ++i) {
    const int a = number(random), b = number(random);
    out.x.set(i, a % 13 == 0 && is_float(x) ? special[a % 3] : a - (is_float(x) ? 50 : 0));
    out.reference.set(i, b % 3 == 0 ? out.x.at(i) : b % 11 == 0 && is_float(reference) ? special[b % 3] : b / 7.0);
  }
  return out;
}

DistanceSums on_the_host(const Pair& p) {
  DistanceSums out;
  for (int64_t i = 0; i < p.x.desc.numel(); ++i) out.add(p.x.at(i), p.reference.at(i));
  return out;
}

// Sums of as many products in another order; all terms of one sign but the last.
void expect_same(const DistanceSums& got, const DistanceSums& want, int64_t count) {
  const double close = 1e-16 * static_cast<double>(count);
  EXPECT_NEAR(got.error2, want.error2, close * want.error2);
  EXPECT_NEAR(got.reference2, want.reference2, close * want.reference2);
  EXPECT_NEAR(got.x2, want.x2, close * want.x2);
  EXPECT_NEAR(got.dot, want.dot, close * std::sqrt(want.x2 * want.reference2));
  EXPECT_EQ(got.max_abs, want.max_abs);
  EXPECT_EQ(got.nonfinite, want.nonfinite);
  EXPECT_EQ(got.unequal, want.unequal);
}

const DType kTypes[] = {DType::f64, DType::f32, DType::f16, DType::bf16, DType::i64,
                        DType::i32, DType::i16, DType::i8,  DType::u8,   DType::boolean};

TEST(DistanceSums, AgreesLaneByLane) {
  for (const DType type : kTypes)
    for (const int64_t count : {1, 255, 257, 5000}) {
      const Pair p = pair_of(type, is_float(type) ? DType::f64 : type, count);
      emulated::Sums blocks[3];
      CudaShape shape;
      shape.grid[0] = 3;
      shape.block[0] = 256;
      emulate::Block::current().run(shape, 7, [&] {
        emulated::distance(p.x.data, p.reference.data, blocks, count, static_cast<int>(type),
                           static_cast<int>(p.reference.desc.dtype));
      });
      DistanceSums sums;
      for (const emulated::Sums& b : blocks)
        sums.add(DistanceSums{b.error2, b.reference2, b.x2, b.dot, b.max_abs, b.nonfinite, b.unequal});
      SCOPED_TRACE(cat(type, " ", count));
      expect_same(sums, on_the_host(p), count);
    }
}

TEST(DistanceSums, CompilesWithoutSpills) {
  if (!nvrtc_here()) GTEST_SKIP() << "not checked: " << nvrtc_here().reason;
  CudaWork work;
  work.calls.push_back({distance_program(), {}, {}});
  for (const int arch : {80, 90, 100}) EXPECT_EQ(check_cuda_work(work, arch), "") << arch;
}

TEST(DistanceSums, OnAGpuAgreesWithTheHost) {
  if (!cuda_here()) GTEST_SKIP() << "not checked: " << cuda_here().reason;
  const CudaGuard guard(0);
  for (const DType type : kTypes)
    for (const int64_t count : {0, 1, 257, 5000, 700'001}) {
      const Pair p = pair_of(type, is_float(type) ? DType::f64 : type, count);
      const OnDevice x(p.x), reference(p.reference);
      SCOPED_TRACE(cat(type, " ", count));
      const DistanceSums sums = cuda_distance_sums(x.tensor(), reference.tensor(), 0, nullptr);
      expect_same(sums, on_the_host(p), count);
      const DistanceSums again = cuda_distance_sums(x.tensor(), reference.tensor(), 0, nullptr);
      EXPECT_EQ(sums.error2, again.error2);
      EXPECT_EQ(sums.dot, again.dot);
    }
}

}  // namespace
}  // namespace kpt
