// SPDX-License-Identifier: Apache-2.0
#include "kpt/kernels/write/write.h"

#include <gtest/gtest.h>

#include <cstring>
#include <numeric>

#include "kpt/cuda/memory.h"
#include "kpt/cuda/nvrtc.h"
#include "kpt/kernels/conformance.h"
#include "kpt/kernels/lib/cuda/rows.h"
#include "kpt/kernels/lib/cuda/work.h"

namespace kpt {
namespace {

using conformance::Case;
using conformance::dense;
using conformance::make_case;

Case write(const TensorDesc& state, const TensorDesc& index, const TensorDesc& source, int dim) {
  Case c = make_case(cat(state, index, source, dim), "kpt.write_", {state, index, source}, {In{0}, In{1}, In{2}},
                     {{"dim", dim}}, {state});
  c.ranges = {
      {-3, 3},
      {0, static_cast<double>(std::max<int64_t>(1, state.sizes[dim < 0 ? dim + state.sizes.rank() : dim]) - 1)}};
  return c;
}

// [b, h, s, d] of a merged projection [b, s, (h + more) d].
TensorDesc heads(DType dtype, int64_t b, int64_t h, int64_t s, int64_t d, int64_t more) {
  const int64_t row = (h + more) * d;
  return {dtype, {b, h, s, d}, {s * row, d, row, 1}};
}

const bool kCases = conformance::add("kpt.write_", [](DType d) {
  const DType i = DType::i64;
  std::vector<Case> cases = {
      write(dense(d, {2, 3, 17, 16}), dense(i, {1}), dense(d, {2, 3, 1, 16}), 2),
      write(dense(d, {2, 3, 17, 16}), dense(DType::i32, {5}), heads(d, 2, 3, 5, 16, 2), 2),
      write(dense(d, {16, 2, 40, 128}), dense(i, {1}), heads(d, 16, 2, 1, 128, 5), -2),
      write(dense(d, {2, 3, 9, 7}), dense(i, {4}), heads(d, 2, 3, 4, 7, 1), 2),
      write(dense(d, {3, 50}), dense(i, {7}), dense(d, {3, 7}), 1),
      write(dense(d, {50}), {i, {7}, {2}}, dense(d, {7}), 0),
      write(dense(d, {40, 6}), dense(i, {9}), conformance::transposed(d, {9, 6}), 0),
      write(dense(d, {40, 6}), {i, {3}, {0}}, conformance::expanded(d, {3, 6}, 1), 0),
      write(dense(d, {4, 5}), dense(i, {0}), dense(d, {4, 0}), 1),
      write(dense(d, {0, 5}), dense(i, {2}), dense(d, {0, 2}), 1),
  };
  if (d == DType::f32)
    for (DType other : {DType::i64, DType::i32, DType::u8, DType::boolean})
      cases.push_back(write(dense(other, {3, 20, 5}), dense(i, {2}), dense(other, {3, 2, 5}), 1));
  return cases;
});

Tensor counted(const Dims& sizes, float from) {
  Tensor t = Tensor::empty(DType::f32, sizes);
  std::iota(static_cast<float*>(t.data), static_cast<float*>(t.data) + sizes.numel(), from);
  return t;
}

TEST(Write, InPlaceWritesTheSlicesAlone) {
  const Case c = write(dense(DType::f32, {2, 4, 2}), dense(DType::i64, {2}), dense(DType::f32, {2, 2, 2}), 1);
  for (const auto& k : kernel_registry().find("kpt.write_", "cpu")) {
    Tensor state = counted({2, 4, 2}, 0);
    const Tensor index = Tensor::from<int64_t>(DType::i64, {2}, {3, 1}), source = counted({2, 2, 2}, 100);
    const void* in[] = {state.data, index.data, source.data};
    void* out[] = {state.data};
    k->make(c.problem)->run({in, out, nullptr});
    std::vector<double> got;
    for (int64_t i = 0; i < 16; ++i) got.push_back(state.at(i));
    EXPECT_EQ(got, (std::vector<double>{0, 1, 102, 103, 4, 5, 100, 101, 8, 9, 106, 107, 12, 13, 104, 105})) << k->name;
  }
}

TEST(Write, APlaceOutsideIsAnErrorBeforeAnythingIsWritten) {
  const Case c = write(dense(DType::f32, {4, 2}), dense(DType::i64, {2}), dense(DType::f32, {2, 2}), 0);
  for (const auto& k : kernel_registry().find("kpt.write_", "cpu"))
    for (int64_t bad : {int64_t{4}, int64_t{-1}, INT64_MIN}) {
      Tensor state = counted({4, 2}, 0);
      const Tensor index = Tensor::from<int64_t>(DType::i64, {2}, {1, bad}), source = counted({2, 2}, 100);
      const void* in[] = {state.data, index.data, source.data};
      void* out[] = {state.data};
      EXPECT_THROW(k->make(c.problem)->run({in, out, nullptr}), Error) << k->name;
      for (int64_t i = 0; i < 8; ++i) EXPECT_EQ(state.at(i), static_cast<double>(i)) << k->name;
    }
}

TEST(Write, RefusesWhatItsContractExcludes) {
  const TensorDesc state = dense(DType::f32, {4, 3}), index = dense(DType::i64, {2});
  const auto why = [&](const Case& c) {
    std::string reasons;
    for (const auto& k : kernel_registry().find("kpt.write_", "cpu")) reasons = k->supports(c.problem).reason;
    return reasons;
  };
  EXPECT_EQ(why(write(state, dense(DType::boolean, {4}), dense(DType::f32, {4, 3}), 0)), "index of bool");
  EXPECT_EQ(why(write(state, index, dense(DType::f32, {2, 4}), 0)), "source f32[2, 4], want f32[2, 3]");
  EXPECT_EQ(why(write(state, index, dense(DType::bf16, {2, 3}), 0)), "source bf16[2, 3], want f32[2, 3]");
  EXPECT_NE(why(write(conformance::transposed(DType::f32, {4, 3}), index, dense(DType::f32, {2, 3}), 0)), "");
}

TEST(WriteCuda, MovesTheLargestWordThatAllRowsAllow) {
  const auto config = [](const Case& c) {
    for (const auto& k : kernel_registry().find("kpt.write_", "cuda"))
      if (k->work) {
        const CudaWork work = k->work(c.problem);
        return cat(work.config, ", ", work.calls[0].shape.grid[0], " blocks");
      }
    return std::string();
  };
  const TensorDesc one = dense(DType::i64, {1});
  EXPECT_EQ(config(write(dense(DType::bf16, {16, 8, 2112, 128}), one, heads(DType::bf16, 16, 8, 1, 128, 40), 2)),
            "16 bytes a thread, 16 blocks");
  EXPECT_EQ(config(write(dense(DType::bf16, {2, 8, 64, 36}), one, heads(DType::bf16, 2, 8, 1, 36, 1), 2)),
            "8 bytes a thread, 2 blocks");
  EXPECT_EQ(config(write(dense(DType::bf16, {64, 36}), dense(DType::i64, {2}),
                         conformance::transposed(DType::bf16, {2, 36}), 0)),
            "2 bytes a thread, 1 blocks");
}

// As write.cu's Write.
struct Params {
  uint32_t units, elements;
  int32_t word, element, wide, count;
  int64_t size, stride, step;
  CudaDivider words, sizes, inner;
  CudaRows source, state, which;
};

int64_t offset(const CudaRows& rows, uint32_t n) {
  int64_t at = 0;
  for (int d = rows.rank - 1; d >= 0; --d) {
    const uint32_t q = d > 0 ? rows.sizes[d].quotient(n) : 0;
    at += (n - q * rows.sizes[d].divisor) * rows.strides[d];
    n = q;
  }
  return at;
}

// What the threads of write.cu do in place, one after the other.
void write_by_words(const CudaWork& work, const Tensor& state, const Tensor& index, const Tensor& source) {
  ASSERT_EQ(work.calls.size(), 1u);
  const CudaCall& call = work.calls[0];
  Params k;
  ASSERT_EQ(call.params[4].bytes.size(), sizeof k);
  std::memcpy(&k, call.params[4].bytes.data(), sizeof k);
  ASSERT_GE(call.shape.grid[0] * call.shape.block[0], k.units);
  for (uint32_t unit = 0; unit < k.units; ++unit) {
    const uint32_t slice = k.words.quotient(unit), w = unit - slice * k.words.divisor;
    const auto n = static_cast<int64_t>(index.at(offset(k.which, slice)));
    std::memcpy(static_cast<char*>(state.data) + offset(k.state, slice) + n * k.stride + int64_t{w} * k.word,
                static_cast<const char*>(source.data) + offset(k.source, slice) + int64_t{w} * k.word,
                static_cast<size_t>(k.word));
  }
}

std::vector<std::pair<Case, std::vector<int64_t>>> in_place_cases() {
  const DType d = DType::bf16, i = DType::i64;
  return {
      {write(dense(d, {16, 2, 40, 128}), dense(i, {1}), heads(d, 16, 2, 1, 128, 5), 2), {39}},
      {write(dense(d, {2, 3, 9, 7}), dense(i, {4}), heads(d, 2, 3, 4, 7, 1), 2), {8, 0, 3, 5}},
      {write(dense(d, {3, 50}), dense(DType::i32, {3}), dense(d, {3, 3}), 1), {49, 1, 2}},
      {write(dense(d, {40, 6}), dense(i, {2}), conformance::transposed(d, {2, 6}), 0), {7, 0}},
  };
}

std::vector<Tensor> inputs_of(const Case& c, const std::vector<int64_t>& places) {
  std::vector<Tensor> in = conformance::make_inputs(c);
  for (size_t i = 0; i < places.size(); ++i) in[1].set(static_cast<int64_t>(i), static_cast<double>(places[i]));
  return in;
}

Tensor by_reference(const Case& c, const std::vector<Tensor>& in) {
  Tensor want = in[0].clone();
  for (const auto& k : kernel_registry().find("kpt.write_", "cpu")) {
    if (k->provider != "reference") continue;
    const void* inputs[] = {want.data, in[1].data, in[2].data};
    void* outputs[] = {want.data};
    k->make(c.problem)->run({inputs, outputs, nullptr});
  }
  return want;
}

TEST(WriteCuda, WordByWordItIsTheReference) {
  for (const auto& [c, places] : in_place_cases()) {
    const std::vector<Tensor> in = inputs_of(c, places);
    const Tensor got = in[0].clone();
    for (const auto& k : kernel_registry().find("kpt.write_", "cuda"))
      if (k->work) write_by_words(k->work(c.problem), got, in[1], in[2]);
    EXPECT_EQ(conformance::compare(got, by_reference(c, in), 0, 0), "") << c.label;
  }
}

// Memory of a tensor on the device, from its first element to its last.
class OnDevice {
 public:
  explicit OnDevice(const Tensor& t) : host_(static_cast<char*>(t.data)) {
    int64_t last = 0;
    for (int d = 0; d < t.desc.sizes.rank(); ++d) last += (t.desc.sizes[d] - 1) * t.desc.strides[d];
    bytes_ = static_cast<size_t>(last + 1) * size_of(t.desc.dtype);
    memory_ = cuda_allocate(static_cast<int64_t>(bytes_), 0, nullptr);
    cuda_check(cuda().cuMemcpyHtoDAsync(reinterpret_cast<CUdeviceptr>(memory_.get()), host_, bytes_, nullptr), "test");
  }
  void* get() const { return memory_.get(); }
  void back() const {
    cuda_check(cuda().cuMemcpyDtoHAsync(host_, reinterpret_cast<CUdeviceptr>(memory_.get()), bytes_, nullptr), "test");
    cuda_check(cuda().cuStreamSynchronize(nullptr), "test");
  }

 private:
  char* host_;
  size_t bytes_;
  std::shared_ptr<void> memory_;
};

TEST(WriteCuda, OnAGpuInPlaceWritesTheSlicesAlone) {
  if (!cuda_here()) GTEST_SKIP() << "not checked: " << cuda_here().reason;
  const CudaGuard guard(0);
  for (const auto& [c, places] : in_place_cases()) {
    const std::vector<Tensor> in = inputs_of(c, places);
    const Tensor got = in[0].clone();
    const OnDevice state(got), index(in[1]), source(in[2]);
    for (const auto& k : kernel_registry().find("kpt.write_", "cuda")) {
      if (!k->work) continue;
      const std::unique_ptr<Launch> launch = k->make(c.problem);
      launch->prepare(Effort::timed);
      const void* inputs[] = {state.get(), index.get(), source.get()};
      void* outputs[] = {state.get()};
      launch->run({inputs, outputs, nullptr});
    }
    state.back();
    EXPECT_EQ(conformance::compare(got, by_reference(c, in), 0, 0), "") << c.label;
  }
}

TEST(WriteCuda, CompilesForEachArchitecture) {
  if (!nvrtc_here()) GTEST_SKIP() << "not checked: " << nvrtc_here().reason;
  const Case c = write(dense(DType::f32, {4, 2}), dense(DType::i64, {2}), dense(DType::f32, {2, 2}), 0);
  for (const auto& k : kernel_registry().find("kpt.write_", "cuda"))
    if (k->work) {
      for (int arch : {80, 90, 100}) EXPECT_EQ(check_cuda_work(k->work(c.problem), arch), "") << arch;
    }
}

}  // namespace
}  // namespace kpt
