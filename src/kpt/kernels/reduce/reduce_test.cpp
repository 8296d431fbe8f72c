// SPDX-License-Identifier: Apache-2.0
#include "kpt/kernels/reduce/reduce.h"

#include <gtest/gtest.h>

#include <cmath>

#include "kpt/kernels/conformance.h"

namespace kpt {
namespace {

using conformance::Case;
using conformance::dense;
using conformance::make_case;

Case reduce(const std::string& op, const TensorDesc& x, const std::vector<int>& dims, bool keepdim, DType out,
            Kwargs more = {}) {
  std::vector<bool> gone(static_cast<size_t>(x.sizes.rank()), dims.empty());
  AttrList list;
  for (int d : dims) {
    gone[static_cast<size_t>(d < 0 ? d + x.sizes.rank() : d)] = true;
    list.push_back(d);
  }
  Dims y;
  int64_t n = 1;
  for (int d = 0; d < x.sizes.rank(); ++d) {
    const bool here = gone[static_cast<size_t>(d)];
    if (here) n *= x.sizes[d];
    if (!here || keepdim) y.push_back(here ? 1 : x.sizes[d]);
  }
  const bool one = op == "aten.any.dim" || op == "aten.all.dim" || op == "aten.argmax";
  Kwargs kwargs = std::move(more);
  kwargs.emplace_back("dim", one && dims.size() == 1 ? Attr(dims[0]) : one ? Attr(None{}) : Attr(list));
  kwargs.emplace_back("keepdim", keepdim);
  Case c = make_case(cat(x, y, keepdim, out), op, {x}, {In{0}}, kwargs, {dense(out, y)}, std::max<int64_t>(n, 1));
  c.scale = op == "aten.sum.dim_IntList" ? std::sqrt(static_cast<double>(n)) : 1;
  return c;
}

std::vector<Case> cases(const std::string& op, DType d, DType out) {
  std::vector<Case> all = {
      reduce(op, dense(d, {4, 33, 65}), {-1}, false, out), reduce(op, dense(d, {4, 33, 65}), {1}, true, out),
      reduce(op, dense(d, {40, 1300}), {0}, false, out),
      reduce(op, conformance::transposed(d, {4, 33, 65}), {2}, false, out),
      reduce(op, conformance::padded(d, {6, 9, 31}, 4), {1}, false, out), reduce(op, dense(d, {7, 1}), {1}, true, out),
      reduce(op, dense(d, {0, 9}), {1}, false, out), reduce(op, dense(d, {200, 700}), {1}, false, out),
      reduce(op, dense(d, {}), {}, false, out),
      // Few outputs of many elements each: a GPU shares them between blocks.
      reduce(op, dense(d, {3, 50001}), {1}, false, out), reduce(op, dense(d, {2000, 40}), {0}, true, out),
      reduce(op, dense(d, {5, 4096}), {1}, true, out)};
  all.push_back(reduce(op, dense(d, {64, 12}), {1}, false, out));
  all.back().ranges = {{-3, 3, true}};
  if (op != "aten.any.dim" && op != "aten.all.dim" && op != "aten.argmax") {
    all.push_back(reduce(op, dense(d, {2, 5, 7, 7}), {2, 3}, false, out));
    all.push_back(reduce(op, dense(d, {3, 5, 7, 9}), {0, 2}, true, out));
    all.push_back(reduce(op, dense(d, {3, 5, 7, 9, 2}), {0, 2, 4}, false, out));
  }
  if (op != "aten.any.dim" && op != "aten.all.dim") {
    all.push_back(reduce(op, dense(d, {13, 17}), {}, false, out));
    all.push_back(reduce(op, dense(d, {200, 1000}), {}, false, out));
  }
  return all;
}

const bool kRegistered = [] {
  for (const std::string op : {"aten.sum.dim_IntList", "aten.mean.dim", "aten.amax", "aten.amin"})
    conformance::add(op, [op](DType d) { return cases(op, d, d); });
  for (const std::string op : {"aten.any.dim", "aten.all.dim"})
    conformance::add(op, [op](DType d) {
      std::vector<Case> all = cases(op, d, DType::boolean);
      all.push_back(reduce(op, dense(DType::boolean, {30, 3}), {1}, false, DType::boolean));
      all.push_back(reduce(op, dense(DType::boolean, {3, 0}), {1}, false, DType::boolean));
      return all;
    });
  conformance::add("aten.argmax", [](DType d) { return cases("aten.argmax", d, DType::i64); });
  for (double correction : {0.0, 1.0})
    conformance::add("aten.var.correction", [=](DType d) {
      std::vector<Case> all = cases("aten.var.correction", d, d);
      for (Case& c : all) c.problem.kwargs.emplace_back("correction", correction);
      return all;
    });
  conformance::add("aten.sum.dim_IntList", [](DType d) {
    if (d != DType::f32) return std::vector<Case>{};
    return std::vector<Case>{reduce("aten.sum.dim_IntList", dense(DType::boolean, {9, 40}), {1}, false, DType::i64),
                             reduce("aten.sum.dim_IntList", dense(DType::i64, {9, 40}), {0}, true, DType::i64),
                             reduce("aten.sum.dim_IntList", dense(DType::bf16, {9, 40}), {1}, true, DType::f32)};
  });
  conformance::add("aten.amax", [](DType d) {
    if (d != DType::f32) return std::vector<Case>{};
    return std::vector<Case>{reduce("aten.amax", dense(DType::i64, {9, 40}), {1}, false, DType::i64)};
  });
  return true;
}();

TEST(Reduce, NoElementsGiveTheNeutralOneOrAreRefused) {
  const auto result = [](const std::string& op, DType out) {
    const Case c = reduce(op, dense(DType::f32, {1, 0}), {1}, false, out);
    const auto k = kernel_registry().find(op, "cpu")[0];
    if (!k->supports(c.problem)) return -99.0;
    std::vector<Tensor> y;
    EXPECT_EQ(conformance::run_kernel(*k, c.problem, {Tensor::empty(DType::f32, {1, 0})}, y), "");
    return y[0].at(0);
  };
  EXPECT_EQ(result("aten.sum.dim_IntList", DType::f32), 0);
  EXPECT_EQ(result("aten.all.dim", DType::boolean), 1);
  EXPECT_EQ(result("aten.any.dim", DType::boolean), 0);
  EXPECT_TRUE(std::isnan(result("aten.mean.dim", DType::f32)));
  EXPECT_EQ(result("aten.amax", DType::f32), -99);
  EXPECT_EQ(result("aten.argmax", DType::i64), -99);
}

TEST(Reduce, ArgmaxTakesTheFirstAndNanWins) {
  const Case c = reduce("aten.argmax", dense(DType::f32, {2, 4}), {1}, false, DType::i64);
  std::vector<Tensor> y;
  const Tensor x = Tensor::from<float>(DType::f32, {2, 4}, {1, 3, 3, 2, 9, NAN, NAN, 1});
  ASSERT_EQ(conformance::run_kernel(*kernel_registry().find("aten.argmax", "cpu")[0], c.problem, {x}, y), "");
  EXPECT_EQ(y[0].at(0), 1);
  EXPECT_EQ(y[0].at(1), 1);
}

TEST(Reduce, UsesVectorsWhereItPromisesTo) {
  const auto config = [](const TensorDesc& x, int dim) {
    return kernel_registry()
        .find("aten.mean.dim", "cpu")[0]
        ->make(reduce("aten.mean.dim", x, {dim}, false, x.dtype).problem)
        ->config();
  };
  EXPECT_EQ(config(dense(DType::f32, {8, 8}), 1), "rows threads 1");
  EXPECT_EQ(config(dense(DType::bf16, {8, 8}), 0), "columns threads 1");
  EXPECT_EQ(config(dense(DType::f64, {8, 8}), 0), "plain");
}

}  // namespace
}  // namespace kpt
