// SPDX-License-Identifier: Apache-2.0
// On a GPU alone: what a graph copies in and out, whatever the memory at the other end.
#include "kpt/cuda/graph.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <numeric>
#include <optional>

#include "kpt/cuda/memory.h"
#include "kpt/cuda/nvrtc.h"

namespace kpt {
namespace {

struct Fixture : testing::Test {
  std::vector<std::shared_ptr<void>> held;
  CUstream stream = nullptr;

  void SetUp() override {
    if (!cuda_here()) GTEST_SKIP() << "not checked: " << cuda_here().reason;
    if (!nvrtc_here()) GTEST_SKIP() << "not checked: " << nvrtc_here().reason;
    guard.emplace(0);
    cuda_check(cuda().cuStreamCreate(&stream, CU_STREAM_NON_BLOCKING), "test");
  }
  void TearDown() override {
    if (stream) cuda().cuStreamDestroy(stream);
  }
  // `bytes` from `shift` bytes behind a boundary of 256 on, filled from the seed; after them lies a guard of 64 bytes.
  char* memory(size_t bytes, size_t shift, int seed) {
    held.push_back(cuda_allocate(static_cast<int64_t>(bytes + shift + 64), 0, stream));
    char* const at = static_cast<char*>(held.back().get()) + shift;
    std::vector<char> all(bytes + 64, char(0x5a));
    std::iota(all.begin(), all.begin() + static_cast<ptrdiff_t>(bytes), static_cast<char>(seed));
    cuda_check(cuda().cuMemcpyHtoDAsync(reinterpret_cast<CUdeviceptr>(at), all.data(), all.size(), stream), "test");
    cuda_check(cuda().cuStreamSynchronize(stream), "test");
    return at;
  }
  std::vector<char> read(const char* at, size_t bytes) {
    std::vector<char> out(bytes);
    cuda_check(cuda().cuMemcpyDtoHAsync(out.data(), reinterpret_cast<CUdeviceptr>(at), bytes, stream), "test");
    cuda_check(cuda().cuStreamSynchronize(stream), "test");
    return out;
  }
  std::optional<CudaGuard> guard;
};

using CudaGraphTest = Fixture;

TEST_F(CudaGraphTest, OnAGpuCopiesAnySizesFromAndToAnyMemory) {
  const std::vector<size_t> sizes = {16,   1,  0,  1000003, 64, 8,    12,      16384, 16385, 3,
                                     4096, 20, 17, 1 << 22, 2,  1024, 2000000, 5,     48,    7};
  std::vector<CudaGraphPlace> in, out;
  for (size_t bytes : sizes) {
    in.push_back({memory(bytes, 0, 1), bytes});
    out.push_back({memory(bytes, 0, 2), bytes});
  }
  CudaGraph graph(0, in, out,
                  {{{nullptr, 0}}, [&](size_t, CUstream s) {
                     for (size_t i = 0; i < sizes.size(); ++i)
                       if (sizes[i])
                         cuda_check(cuda().cuMemcpyDtoDAsync(reinterpret_cast<CUdeviceptr>(out[i].place),
                                                             reinterpret_cast<CUdeviceptr>(in[i].place), sizes[i], s),
                                    "test");
                   }});
  EXPECT_EQ(graph.nodes(), 2u + 19u + 2u);  // sixteen places a kernel, and none for no bytes
  for (size_t shift : {0, 16, 4, 2, 1, 13}) {
    std::vector<const void*> from;
    std::vector<void*> to;
    for (size_t i = 0; i < sizes.size(); ++i) {
      from.push_back(memory(sizes[i], shift, static_cast<int>(i + shift)));
      to.push_back(memory(sizes[i], i % 2 ? shift : 0, 99));
    }
    for (int again = 0; again < 2; ++again) {
      graph.launch(from, to, stream);
      for (size_t i = 0; i < sizes.size(); ++i)
        EXPECT_EQ(read(static_cast<const char*>(to[i]), sizes[i] + 64),
                  read(static_cast<const char*>(from[i]), sizes[i] + 64))
            << "place " << i << " of " << sizes[i] << " bytes, shift " << shift;
    }
  }
}

TEST_F(CudaGraphTest, OnAGpuOneMemsetOfAPieceGoesToTheStart) {
  char *const in = memory(256, 0, 1), *const out = memory(256, 0, 2), *const own = memory(256, 0, 3);
  CudaGraph graph(0, {{in, 256}}, {{out, 256}},
                  {{{own, 256}}, [&](size_t, CUstream s) {
                     const auto place = reinterpret_cast<CUdeviceptr>(own);
                     cuda_check(cuda().cuMemsetD8Async(place, 0, 128, s), "test");
                     cuda_check(cuda().cuMemcpyDtoDAsync(reinterpret_cast<CUdeviceptr>(out), place, 256, s), "test");
                   }});
  EXPECT_EQ(graph.zeroes(), 1u);
  char* const to = memory(256, 0, 4);
  graph.launch({in}, {to}, stream);
  std::vector<char> want = read(own, 256);
  EXPECT_EQ(std::count(want.begin(), want.begin() + 128, 0), 128);
  EXPECT_EQ(want[129], static_cast<char>(3 + 129));
  EXPECT_EQ(read(to, 256), want);
}

}  // namespace
}  // namespace kpt
