// SPDX-License-Identifier: Apache-2.0
#include "kpt/kernels/lstm/lstm.h"

#include <gtest/gtest.h>

#include "kpt/kernels/conformance.h"
#include "kpt/kernels/lib/cuda/work.h"

namespace kpt {
namespace {

using conformance::Case;
using conformance::dense;
using conformance::make_case;

struct Sizes {
  int64_t steps, batch, inputs, hidden;
  int64_t layers = 1, directions = 1;
  bool biases = true, batch_first = true;
};

Case lstm(DType d, const Sizes& s) {
  const auto rows = [&](int64_t columns) {
    return s.batch_first ? Dims{s.batch, s.steps, columns} : Dims{s.steps, s.batch, columns};
  };
  const Dims state = {s.layers * s.directions, s.batch, s.hidden};
  std::vector<TensorDesc> inputs = {dense(d, rows(s.inputs)), dense(d, state), dense(d, state)};
  std::vector<conformance::Range> ranges = {{-2, 2}, {-1, 1}, {-1, 1}};
  AttrList params;
  const auto add = [&](const Dims& sizes) {
    params.push_back(In{static_cast<int>(inputs.size())});
    inputs.push_back(dense(d, sizes));
    ranges.push_back({-0.2, 0.2});
  };
  for (int64_t layer = 0; layer < s.layers; ++layer) {
    for (int64_t direction = 0; direction < s.directions; ++direction) {
      add({4 * s.hidden, layer ? s.directions * s.hidden : s.inputs});
      add({4 * s.hidden, s.hidden});
      for (int i = 0; i < (s.biases ? 2 : 0); ++i) add({4 * s.hidden});
    }
  }
  Case c = make_case(cat(inputs[0], state, s.biases, s.batch_first), "aten.lstm.input", inputs,
                     {In{0}, AttrList{In{1}, In{2}}, params},
                     {{"has_biases", s.biases},
                      {"num_layers", s.layers},
                      {"dropout", 0.0},
                      {"train", false},
                      {"bidirectional", s.directions == 2},
                      {"batch_first", s.batch_first}},
                     {dense(d, rows(s.directions * s.hidden)), dense(d, state), dense(d, state)},
                     s.steps * (s.inputs + s.hidden));
  c.ranges = ranges;
  return c;
}

const bool kCases = conformance::add("aten.lstm.input", [](DType d) {
  std::vector<Case> cases = {lstm(d, {5, 3, 7, 9}),
                             lstm(d, {4, 2, 20, 128, 2}),
                             lstm(d, {6, 3, 5, 24, 2, 2}),
                             lstm(d, {1, 1, 1, 1, 1, 1, false}),
                             lstm(d, {3, 70, 4, 40, 2, 2, false, false}),
                             lstm(d, {2, 135, 17, 16, 1, 1, true, false})};
  if (size_of(d) == 2) cases.push_back(lstm(d, {2, 1, 40, 256}));
  Case turned = lstm(d, {5, 4, 12, 8});
  turned.label += "turned";
  turned.problem.inputs[0] = conformance::transposed(d, {4, 5, 12});
  cases.push_back(turned);
  return cases;
});

// Values of torch.nn.LSTM (PyTorch 2.11, f64): the reference knows the equations from here alone.
TEST(Lstm, TwoDirectionsAsPyTorch) {
  const Case c = lstm(DType::f64, {3, 1, 1, 1, 1, 2, true, false});
  std::vector<Tensor> in = {Tensor::from<double>(DType::f64, {3, 1, 1}, {1, -0.5, 2}),
                            Tensor::from<double>(DType::f64, {2, 1, 1}, {0.25, -0.5}),
                            Tensor::from<double>(DType::f64, {2, 1, 1}, {1, 0.5})};
  for (int i = 0; i < 8; ++i) {
    const double first = -0.75 + 0.125 * i;
    in.push_back(Tensor::from<double>(DType::f64, c.problem.inputs[static_cast<size_t>(i) + 3].sizes,
                                      {first, first + 0.5, first + 1, first + 1.5}));
  }
  std::vector<Tensor> out;
  ASSERT_EQ(conformance::run_kernel(*kernel_registry().find(c.problem.op, "cpu")[0], c.problem, in, out), "");
  const std::vector<std::vector<double>> want = {
      {0.507367052, 0.888205269, 0.468473529, 0.799254408, 0.275864944, 0.673009595},
      {0.275864944, 0.888205269},
      {0.288489787, 1.431291047}};
  for (size_t o = 0; o < want.size(); ++o)
    for (size_t i = 0; i < want[o].size(); ++i)
      EXPECT_NEAR(out[o].at(static_cast<int64_t>(i)), want[o][i], 1e-9) << o << " " << i;
}

TEST(Lstm, OnAGpuALayerIsTwoLaunches) {
  const auto planned = [](DType d, const Sizes& s) {
    Problem p = lstm(d, s).problem;
    p.gpu.multiprocessors = 132;
    const auto k = kernel_registry().find(p.op, "cuda").at(0);
    const Verdict v = k->supports(p);
    if (!v) return v.reason;
    const CudaWork work = k->work(p);
    return cat(work.config, ", ", work.calls.size(), " launches, ", work.workspace_bytes, " bytes");
  };
  EXPECT_EQ(planned(DType::bf16, {32, 8, 64, 128, 2}), "2 layers, 8 blocks of 512, 4 launches, 655360 bytes");
  EXPECT_EQ(planned(DType::f32, {10, 200, 8, 20, 1, 2}), "1 layers, 200 blocks of 128, 2 launches, 1280000 bytes");
  EXPECT_EQ(planned(DType::bf16, {10, 2, 8, 257}),
            "hidden size 257: its weights of 528392 bytes do not stay near a multiprocessor");
}

TEST(Lstm, RefusesWeightsThatDoNotFit) {
  Case c = lstm(DType::f32, {2, 3, 4, 5});
  c.problem.inputs[4] = dense(DType::f32, {20, 4});
  EXPECT_EQ(kernel_registry().find(c.problem.op, "cpu")[0]->supports(c.problem).reason,
            "got f32[20, 4], want dense f32[20, 5]");
}

}  // namespace
}  // namespace kpt
