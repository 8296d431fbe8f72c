// SPDX-License-Identifier: Apache-2.0
// For the tests of kernels: random tensors of any strides, a Launch run with guarded workspace, distances to a
// reference.
#pragma once
#include <gtest/gtest.h>

#include <cmath>
#include <limits>
#include <random>
#include <vector>

#include "kpt/kernels/kernel.h"

namespace kpt::test {

constexpr float kNaN = std::numeric_limits<float>::quiet_NaN();
constexpr float kInf = std::numeric_limits<float>::infinity();

// Normal numbers, rounded to the type. `order` lists the axes from the outermost in memory to the innermost; `gap`
// spare elements (NaN) follow each innermost row, so the tensor is a view into a larger buffer.
inline Tensor random(DType dtype, const Dims& sizes, unsigned seed, std::vector<int> order = {}, int gap = 0) {
  const int rank = sizes.rank();
  if (order.empty())
    for (int i = 0; i < rank; ++i) order.push_back(i);
  TensorDesc desc{dtype, sizes, Dims::filled(rank, 1)};
  int64_t step = 1;
  for (int i = rank - 1; i >= 0; --i) {
    const int axis = order[static_cast<size_t>(i)];
    desc.strides[axis] = step;
    step *= std::max<int64_t>(sizes[axis], 1);
    if (i == rank - 1) step += gap;
  }
  Tensor buffer = Tensor::empty(dtype, {std::max<int64_t>(step, 1)});
  for (int64_t i = 0; i < step; ++i) buffer.set(i, std::numeric_limits<double>::quiet_NaN());
  Tensor t{desc, buffer.data, buffer.owner};
  std::mt19937 engine(seed);
  std::normal_distribution<float> normal;
  for (int64_t i = 0; i < t.desc.numel(); ++i) t.set(i, normal(engine));
  return t;
}

// Runs into fresh outputs full of NaN. Fails the test where the launch writes past its workspace or its outputs.
inline std::vector<Tensor> run(const Launch& launch, const Problem& problem, const std::vector<Tensor>& inputs) {
  constexpr int64_t kGuard = 64;
  constexpr uint8_t kMark = 0xa5;
  const auto bytes = static_cast<int64_t>(launch.workspace_bytes());
  Tensor workspace = Tensor::empty(DType::u8, {bytes + kGuard});
  auto* w = static_cast<uint8_t*>(workspace.data);
  for (int64_t i = 0; i < bytes + kGuard; ++i) w[i] = i < bytes ? 0xff : kMark;  // NaN for whoever reads first
  std::vector<const void*> in;
  for (const Tensor& t : inputs) in.push_back(t.data);
  std::vector<Tensor> outputs;
  std::vector<void*> out;
  std::vector<Tensor> buffers;
  for (const TensorDesc& d : problem.outputs) {
    const auto size = static_cast<int64_t>(d.bytes());
    Tensor buffer = Tensor::empty(DType::u8, {size + kGuard});
    auto* b = static_cast<uint8_t*>(buffer.data);
    for (int64_t i = 0; i < size + kGuard; ++i) b[i] = i < size ? 0xff : kMark;
    outputs.push_back({d, buffer.data, buffer.owner});
    out.push_back(buffer.data);
  }
  launch.run({in.data(), out.data(), workspace.data});
  for (int64_t i = 0; i < kGuard; ++i) {
    EXPECT_EQ(w[bytes + i], kMark) << "workspace overrun at byte " << i << " of " << problem.str();
    for (const Tensor& t : outputs)
      EXPECT_EQ(static_cast<uint8_t*>(t.data)[t.desc.bytes() + static_cast<size_t>(i)], kMark)
          << "output overrun, " << problem.str();
  }
  return outputs;
}

// Allowed distance of one element for sums of `length` products of normal numbers in f32: a few roundings that add up
// as a random walk, plus the rounding to the output's type.
inline double tolerance(DType dtype, int64_t length, double value) {
  const double unit = dtype == DType::bf16 ? 0x1p-8 : dtype == DType::f16 ? 0x1p-11 : 0x1p-24;
  const double n = std::sqrt(static_cast<double>(length) + 1);
  return 8 * 0x1p-24 * n * (1 + std::sqrt(n)) + 1.01 * unit * std::fabs(value) + (dtype == DType::f16 ? 0x1p-25 : 0);
}

// Every element of `got` within tolerance of `want`; NaN wants NaN, inf wants inf.
inline void expect_close(const Tensor& got, const Tensor& want, int64_t length, const std::string& what,
                         double factor = 1) {
  ASSERT_EQ(got.desc.sizes, want.desc.sizes) << what;
  int shown = 0;
  for (int64_t i = 0; i < want.desc.numel() && shown < 3; ++i) {
    const double g = got.at(i), w = want.at(i);
    if (std::isnan(w)   ? std::isnan(g)
        : std::isinf(w) ? g == w
                        : std::fabs(g - w) <= factor * tolerance(got.desc.dtype, length, w))
      continue;
    ++shown;
    ADD_FAILURE() << what << ": element " << i << " got " << g << " want " << w;
  }
}

// The tensor's values as f64, contiguous: inputs of a reference problem.
inline std::vector<Tensor> widened(const std::vector<Tensor>& inputs) {
  std::vector<Tensor> wide;
  for (const Tensor& t : inputs) wide.push_back(is_float(t.desc.dtype) ? t.to(DType::f64) : t.clone());
  return wide;
}

// The same call on f64, contiguous tensors.
inline Problem widened(Problem problem) {
  for (auto* list : {&problem.inputs, &problem.outputs})
    for (TensorDesc& d : *list) d = TensorDesc::contiguous(is_float(d.dtype) ? DType::f64 : d.dtype, d.sizes);
  return problem;
}

inline std::vector<TensorDesc> descs(const std::vector<Tensor>& tensors) {
  std::vector<TensorDesc> d;
  for (const Tensor& t : tensors) d.push_back(t.desc);
  return d;
}

}  // namespace kpt::test
