// SPDX-License-Identifier: Apache-2.0
#include "kpt/kernels/softmax/softmax.h"

#include <gtest/gtest.h>

#include <cmath>

#include "kpt/kernels/conformance.h"
#include "kpt/kernels/lib/cuda/work.h"

namespace kpt {
namespace {

using conformance::Case;
using conformance::dense;
using conformance::make_case;

Case softmax(const std::string& op, const TensorDesc& x, int dim, DType out, const std::string& label) {
  Kwargs kwargs = {{"dim", dim}};
  kwargs.emplace_back(op.find(".int") != std::string::npos ? "dtype" : "half_to_float",
                      op.find(".int") != std::string::npos ? Attr(None{}) : Attr(out != x.dtype));
  Case c = make_case(cat(label, x, dim), op, {x}, {In{0}}, kwargs, {dense(out, x.sizes)},
                     x.sizes.rank() ? x.sizes[dim < 0 ? dim + x.sizes.rank() : dim] : 1);
  c.scale = op.find("log") != std::string::npos ? 3 : 0;
  return c;
}

std::vector<Case> cases(const std::string& op, DType d) {
  std::vector<Case> all;
  for (int64_t w : {1, 5, 16, 33, 128, 1001}) all.push_back(softmax(op, dense(d, {7, w}), -1, d, "width"));
  all.push_back(softmax(op, dense(d, {3, 12, 5}), 1, d, "middle"));
  all.push_back(softmax(op, dense(d, {19, 40}), 0, d, "first"));
  all.push_back(softmax(op, conformance::transposed(d, {2, 30, 41}), -1, d, "transposed"));
  all.push_back(softmax(op, conformance::padded(d, {2, 30, 41}, 7), -1, d, "padded"));
  all.push_back(softmax(op, dense(d, {0, 4}), -1, d, "no_rows"));
  all.push_back(softmax(op, dense(d, {4, 0}), -1, d, "no_columns"));
  all.push_back(softmax(op, dense(d, {}), -1, d, "scalar"));
  all.push_back(softmax(op, dense(d, {900, 70}), -1, d, "parallel"));
  all.push_back(softmax(op, dense(d, {64, 20}), -1, d, "special"));
  all.back().ranges = {{-3, 3, true}};
  all.push_back(softmax(op, dense(d, {6, 300}), -1, d, "large_values"));
  all.back().ranges = {{-400, 400}};
  all.back().scale = 400 * (op.find("log") != std::string::npos);
  all.push_back(softmax(op, dense(d, {2, 3, 50, 384}), -1, d, "heads"));
  all.push_back(softmax(op, dense(d, {3, 4096}), -1, d, "long"));
  for (int64_t w : {16385, 50000, 100003, 160001})
    if (w <= 50000 || d != DType::f16)  // weights of more elements are no normal numbers of f16
      all.push_back(softmax(op, dense(d, {2, w}), -1, d, "wide"));
  all.push_back(softmax(op, dense(d, {8, 20003}), -1, d, "wide_rows_begin_anywhere"));
  if (d == DType::bf16 && op.rfind("aten._", 0) == 0)
    all.push_back(softmax(op, dense(d, {300, 17003}), -1, d, "wide_row_after_row"));
  all.push_back(softmax(op, conformance::padded(d, {3, 17001}, 5), -1, d, "wide_otherwise_than_the_output"));
  all.push_back(softmax(op, dense(d, {2, 700, 70}), 1, d, "columns"));
  for (int64_t w : {20, 17000}) {
    all.push_back(softmax(op, dense(d, {16, w}), -1, d, "masked"));  // runs of -inf
    all.back().ranges = {{-3, 3, true}};
  }
  for (const auto& [sizes, dim] : {std::pair{Dims{4, 40}, -1}, {Dims{2, 17001}, -1}, {Dims{2, 300, 40}, 1}}) {
    all.push_back(softmax(op, dense(d, sizes), dim, d, "all_lowest"));  // wholly masked
    all.back().ranges = {{conformance::lowest(d), conformance::lowest(d)}};
  }
  if (d == DType::bf16)
    for (int64_t w : {50, 17003}) all.push_back(softmax(op, dense(d, {6, w}), -1, DType::f32, "to_f32"));
  return all;
}

const bool kRegistered = [] {
  for (const std::string op : {"aten.softmax.int", "aten.log_softmax.int", "aten._softmax", "aten._log_softmax"})
    conformance::add(op, [op](DType d) { return cases(op, d); });
  return true;
}();

TEST(Softmax, RowsOfMinusInfinityAndNan) {
  const float inf = INFINITY;
  const Tensor x = Tensor::from<float>(DType::f32, {4, 3}, {-inf, -inf, -inf, 0, NAN, 1, inf, 0, 0, -inf, 0, 0});
  const Case c = softmax("aten.softmax.int", dense(DType::f32, {4, 3}), -1, DType::f32, "x");
  for (const auto& k : kernel_registry().find("aten.softmax.int", "cpu")) {
    std::vector<Tensor> y;
    ASSERT_EQ(conformance::run_kernel(*k, c.problem, {x}, y), "");
    for (int i = 0; i < 9; ++i) EXPECT_TRUE(std::isnan(y[0].at(i)) || i >= 7) << k->name << i;
    EXPECT_EQ(y[0].at(9), 0);
    EXPECT_EQ(y[0].at(10), 0.5);
  }
}

TEST(Softmax, CudaRowsOrColumns) {
  const auto config = [](const TensorDesc& x, int dim) {
    Case c = softmax("aten.softmax.int", x, dim, x.dtype, "");
    c.problem.gpu = {90, 132, 60 << 20, 232448};
    for (const auto& k : kernel_registry().find(c.problem.op, "cuda"))
      if (k->work) return k->work(c.problem).config;
    return std::string("no kernel");
  };
  EXPECT_EQ(config(dense(DType::bf16, {12, 128, 128}), -1), "16 threads a row, 1 x 8 elements each");
  EXPECT_EQ(config(dense(DType::f32, {12, 128, 1000}), -1), "64 threads a row, 4 x 4 elements each");
  EXPECT_EQ(config(dense(DType::bf16, {2, 32000}), -1),
            "512 threads a row, 8 packs each in shared memory, 0 in registers");
  EXPECT_EQ(config(dense(DType::bf16, {2, 50257}), -1),
            "512 threads a row, 13 packs each in shared memory, 0 in registers");
  EXPECT_EQ(config(dense(DType::bf16, {2, 151936}), -1),
            "1024 threads a row, 14 packs each in shared memory, 5 in registers");
  EXPECT_EQ(config(dense(DType::f32, {2, 50257}), -1),
            "1024 threads a row, 13 packs each in shared memory, 0 in registers");
  EXPECT_EQ(config(dense(DType::bf16, {2, 256000}), -1), "1024 threads a row, two passes");
  // Rows that do not lie alike in x and y.
  EXPECT_EQ(config(conformance::padded(DType::bf16, {3, 17001}, 5), -1), "512 threads a row, two passes");
  EXPECT_EQ(config(dense(DType::f32, {8, 64, 4096}), 1), "columns, 8 threads each");
}

}  // namespace
}  // namespace kpt
