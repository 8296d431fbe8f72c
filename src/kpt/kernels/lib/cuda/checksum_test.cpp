// SPDX-License-Identifier: Apache-2.0
// What a checksum tells apart; the kernel lane by lane on the host (emulate.h), without spills, and on a GPU.
#include "kpt/kernels/lib/cuda/checksum.h"

#include <gtest/gtest.h>

#include <random>
#include <set>

#include "kpt/cuda/nvrtc.h"
#include "kpt/kernels/lib/cuda/emulate.h"
#include "kpt/kernels/lib/cuda/on_device.h"

#pragma GCC diagnostic push
#pragma GCC diagnostic ignored "-Wunused-function"

namespace emulated {
using namespace kpt::emulate;
#include "kpt/kernels/lib/cuda/checksum.cu"
}  // namespace emulated

#pragma GCC diagnostic pop

namespace kpt {
namespace {

Tensor bytes_of(int64_t count) {
  std::mt19937 random(static_cast<unsigned>(count));
  Tensor out = Tensor::empty(DType::u8, {count});
  for (int64_t i = 0; i < count; ++i) static_cast<uint8_t*>(out.data)[i] = static_cast<uint8_t>(random());
  return out;
}

Checksum on_the_host(const Tensor& t) {
  Checksum out;
  out.add(static_cast<const char*>(t.data), static_cast<int64_t>(t.desc.bytes()), 1);
  return out;
}

const int64_t kCounts[] = {1, 7, 8, 9, 2047, 2048, 2056, 100'003};

TEST(Checksum, TellsEveryBitOfSmallMemory) {
  const Tensor t = bytes_of(37);
  std::set<std::pair<uint64_t, uint64_t>> seen;
  for (int64_t bit = -1; bit < 37 * 8; ++bit) {
    Tensor other = t.clone();
    if (bit >= 0) static_cast<uint8_t*>(other.data)[bit / 8] ^= static_cast<uint8_t>(1 << (bit % 8));
    const Checksum sum = on_the_host(other);
    EXPECT_TRUE(seen.insert({sum.first, sum.second}).second) << bit;
  }
}

TEST(Checksum, TellsPlaces) {
  Tensor a = Tensor::empty(DType::i64, {64}), b = Tensor::empty(DType::i64, {64});
  for (int64_t i = 0; i < 64; ++i) a.set(i, static_cast<double>(i)), b.set(i, static_cast<double>(63 - i));
  EXPECT_FALSE(on_the_host(a) == on_the_host(b));
}

TEST(Checksum, AgreesLaneByLane) {
  for (const int64_t count : kCounts) {
    const Tensor t = bytes_of(count);
    std::vector<uint64_t> words(static_cast<size_t>(count / 8 + 1));
    std::memcpy(words.data(), t.data, static_cast<size_t>(count));
    emulated::Pair blocks[3];
    CudaShape shape;
    shape.grid[0] = 3;
    shape.block[0] = 256;
    emulate::Block::current().run(
        shape, 7, [&] { emulated::checksum(reinterpret_cast<const emulate::u64*>(words.data()), blocks, count); });
    Checksum sum;
    for (const emulated::Pair& b : blocks) sum.add(Checksum{b.first, b.second});
    EXPECT_EQ(sum, on_the_host(t)) << count;
  }
}

TEST(Checksum, CompilesWithoutSpills) {
  if (!nvrtc_here()) GTEST_SKIP() << "not checked: " << nvrtc_here().reason;
  CudaWork work;
  work.calls.push_back({checksum_program(), {}, {}});
  for (const int arch : {80, 90, 100}) EXPECT_EQ(check_cuda_work(work, arch), "") << arch;
}

TEST(Checksum, OnAGpuAgreesWithTheHost) {
  if (!cuda_here()) GTEST_SKIP() << "not checked: " << cuda_here().reason;
  const CudaGuard guard(0);
  for (const int64_t count : {int64_t{0}, int64_t{1}, int64_t{9}, int64_t{2056}, int64_t{40'000'003}}) {
    const Tensor t = bytes_of(count);
    const OnDevice x(t);
    EXPECT_EQ(cuda_checksum(x.tensor(), 0, nullptr), on_the_host(t)) << count;
  }
}

}  // namespace
}  // namespace kpt
