// SPDX-License-Identifier: Apache-2.0
#include "kpt/kernels/matmul/matmul.h"

#include <algorithm>

namespace kpt {

namespace {

// `rank` axes, missing ones in front of size 1 (stride 0).
TensorDesc widened(const TensorDesc& d, int rank) {
  TensorDesc w{d.dtype, Dims::filled(rank - d.sizes.rank(), 1), Dims::filled(rank - d.sizes.rank(), 0)};
  for (int i = 0; i < d.sizes.rank(); ++i) {
    w.sizes.push_back(d.sizes[i]);
    w.strides.push_back(d.strides[i]);
  }
  return w;
}

// Step along axis i of a tensor broadcast to `size` there.
int64_t step(const TensorDesc& d, int i, int64_t size) { return d.sizes[i] == size && size != 1 ? d.strides[i] : 0; }

Verdict check_types(const Problem& problem, DType dtype) {
  for (const TensorDesc& d : problem.inputs)
    if (d.dtype != dtype) return no("got ", d.dtype, " beside ", dtype, ", want one type for all tensors");
  if (problem.outputs.size() != 1) return no("got ", problem.outputs.size(), " outputs, want 1");
  if (problem.outputs[0].dtype != dtype)
    return no("got an output of ", problem.outputs[0].dtype, " from inputs of ", dtype);
  if (!problem.outputs[0].is_contiguous()) return no("output is not row-major");
  return is_float(dtype) ? yes() : no("got ", dtype, ", want a float type");
}

// Ranks each operator takes; matmul takes any from 1 on.
Verdict check_ranks(const Problem& problem, const TensorDesc& a, const TensorDesc& b) {
  const int want = problem.op == "aten.mm" || problem.op == "aten.addmm" ? 2 : problem.op == "aten.matmul" ? 0 : 3;
  const int ra = a.sizes.rank(), rb = b.sizes.rank();
  if (want && (ra != want || rb != want)) return no("got ranks ", ra, " and ", rb, ", want ", want);
  if (ra < 1 || rb < 1) return no("got ranks ", ra, " and ", rb, ", want at least 1");
  return yes();
}

// a, b: widened to the same rank, the last two axes the matrix. Fills sizes and strides and the shape of the result.
Verdict set_product(const TensorDesc& a, const TensorDesc& b, GemmProblem& p, Dims& full) {
  const int rank = a.sizes.rank(), dims = rank - 2;
  if (dims > kGemmBatchDims) return no("got ", dims, " batch axes, want at most ", kGemmBatchDims);
  if (a.sizes[rank - 1] != b.sizes[rank - 2])
    return no("got K ", a.sizes[rank - 1], " on the left and ", b.sizes[rank - 2], " on the right");
  p.m = a.sizes[rank - 2];
  p.k = a.sizes[rank - 1];
  p.n = b.sizes[rank - 1];
  p.x_m = a.strides[rank - 2];
  p.x_k = p.k > 1 ? a.strides[rank - 1] : 1;
  p.w_k = p.k > 1 ? b.strides[rank - 2] : 1;
  p.w_n = b.strides[rank - 1];
  p.y_m = p.n;
  p.batch_dims = dims;
  int64_t y_step = p.m * p.n;
  full = Dims::filled(rank, 1);
  full[rank - 2] = p.m;
  full[rank - 1] = p.n;
  for (int d = dims - 1; d >= 0; --d) {
    const int64_t sa = a.sizes[d], sb = b.sizes[d];
    if (sa != sb && sa != 1 && sb != 1) return no("batch axes ", a.sizes, " and ", b.sizes, " do not broadcast");
    p.batch[d] = full[d] = sa == 1 ? sb : sa;
    p.x_batch[d] = step(a, d, p.batch[d]);
    p.w_batch[d] = step(b, d, p.batch[d]);
    p.y_batch[d] = y_step;
    y_step *= p.batch[d];
  }
  return yes();
}

Verdict set_input(const Problem& problem, const Dims& full, GemmCall& call) {
  GemmProblem& p = call.product;
  const TensorDesc* input = problem.operand(0);
  if (!input || input->sizes.rank() > full.rank()) return no("got no input of rank up to ", full.rank());
  const TensorDesc in = widened(*input, full.rank());
  const int rank = full.rank();
  for (int i = 0; i < rank; ++i)
    if (in.sizes[i] != 1 && in.sizes[i] != full[i]) return no("input ", input->sizes, " does not broadcast to ", full);
  p.alpha = get_float(problem.kwargs, "alpha", 1);
  p.beta = get_float(problem.kwargs, "beta", 1);
  p.has_residual = p.beta != 0;
  if (!p.has_residual) return yes();
  p.residual_m = step(in, rank - 2, p.m);
  p.residual_n = step(in, rank - 1, p.n);
  bool vector = p.beta == 1 && p.residual_m == 0 && (p.residual_n == 1 || p.n == 1);
  for (int d = 0; d < p.batch_dims; ++d) {
    p.residual_batch[d] = step(in, d, full[d]);
    vector = vector && p.residual_batch[d] == 0;
  }
  call.at.residual = problem.operand_index(0);
  if (vector) {  // a bias: added before the turn, once a row
    p.has_residual = false;
    p.has_bias = true;
    std::swap(call.at.bias, call.at.residual);
  }
  return yes();
}

Verdict check_output(const Problem& problem, const Dims& full, bool drop_row, bool drop_column) {
  Dims want;
  for (int i = 0; i < full.rank(); ++i)
    if (!(drop_row && i == full.rank() - 2) && !(drop_column && i == full.rank() - 1)) want.push_back(full[i]);
  if (problem.outputs[0].sizes != want) return no("got output ", problem.outputs[0].sizes, ", want ", want);
  return yes();
}

}  // namespace

Verdict matmul_call(const Problem& problem, GemmCall& call) {
  const bool with_input = problem.op == "aten.addmm" || problem.op == "aten.baddbmm";
  const int first = with_input ? 1 : 0;
  const TensorDesc* a = problem.operand(first);
  const TensorDesc* b = problem.operand(first + 1);
  if (!a || !b) return no("got ", problem.str(), ", want two matrices");
  if (Verdict v = check_types(problem, a->dtype); !v) return v;
  if (Verdict v = check_ranks(problem, *a, *b); !v) return v;

  call.dtype = a->dtype;
  call.at = {problem.operand_index(first), problem.operand_index(first + 1), -1, -1};
  call.product.threads = problem.threads;
  const bool row = a->sizes.rank() == 1, column = b->sizes.rank() == 1;
  TensorDesc right = *b;
  if (column) {
    right.sizes.push_back(1);
    right.strides.push_back(0);
  }
  const int rank = std::max({a->sizes.rank(), right.sizes.rank(), 2});
  const bool batches_match = problem.op == "aten.matmul" || rank < 3 || a->sizes[0] == b->sizes[0];
  if (!batches_match) return no("got batches of ", a->sizes[0], " and ", b->sizes[0]);
  Dims full;
  if (Verdict v = set_product(widened(*a, rank), widened(right, rank), call.product, full); !v) return v;
  if (Verdict v = check_output(problem, full, row, column); !v) return v;
  return with_input ? set_input(problem, full, call) : yes();
}

namespace {

Verdict supports(const Problem& problem) {
  GemmCall call;
  if (Verdict v = matmul_call(problem, call); !v) return v;
  return gemm_supports(call);
}

Verdict reference_supports(const Problem& problem) {
  GemmCall call;
  return matmul_call(problem, call);
}

GemmCall checked(const Problem& problem) {
  GemmCall call;
  const Verdict v = matmul_call(problem, call);
  KPT_CHECK(v.ok, "kernels.matmul", v.reason);
  return call;
}

}  // namespace

void register_matmul(KernelRegistry& registry) {
  for (const char* op : {"aten.matmul", "aten.bmm", "aten.mm", "aten.addmm", "aten.baddbmm"}) {
    registry.add({op, "kpt", "cpu", "matmul_cpu", 0, supports, [](const Problem& p) { return make_gemm(checked(p)); }});
    registry.add({op, "reference", "cpu", "matmul_reference", 0, reference_supports,
                  [](const Problem& p) { return make_gemm_reference(checked(p)); }});
  }
}

}  // namespace kpt
