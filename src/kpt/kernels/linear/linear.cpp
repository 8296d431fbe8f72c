// SPDX-License-Identifier: Apache-2.0
#include "kpt/kernels/linear/linear.h"

namespace kpt {

namespace {

Verdict same_type(const Problem& problem, DType dtype) {
  for (const TensorDesc& d : problem.inputs)
    if (d.dtype != dtype) return no("got ", d.dtype, " beside ", dtype, ", want one type for all tensors");
  if (problem.outputs[0].dtype != dtype)
    return no("got an output of ", problem.outputs[0].dtype, " from inputs of ", dtype);
  return is_float(dtype) ? yes() : no("got ", dtype, ", want a float type");
}

// m and the batch dimensions from the leading axes of x, y and residual.
void set_leading(const TensorDesc& x, const TensorDesc& y, const TensorDesc* residual, GemmProblem& p) {
  const int lead = x.sizes.rank() - 1;
  const auto stride = [](const TensorDesc& d, int i) { return d.strides[i]; };
  p.m = lead > 0 ? x.sizes[lead - 1] : 1;
  p.x_m = lead > 0 ? stride(x, lead - 1) : 0;
  p.y_m = lead > 0 ? stride(y, lead - 1) : 0;
  p.residual_m = lead > 0 && residual ? stride(*residual, lead - 1) : 0;
  for (int d = 0; d + 1 < lead; ++d) {
    p.batch[d] = x.sizes[d];
    p.x_batch[d] = stride(x, d);
    p.y_batch[d] = stride(y, d);
    p.residual_batch[d] = residual ? stride(*residual, d) : 0;
    p.batch_dims = d + 1;
  }
}

Verdict check_shapes(const TensorDesc& x, const TensorDesc& w, const TensorDesc* b, const TensorDesc* residual,
                     const TensorDesc& y) {
  if (w.sizes.rank() != 2) return no("got w of rank ", w.sizes.rank(), ", want [N, K]");
  if (x.sizes.rank() < 1) return no("got x of rank 0, want [.., K]");
  if (x.sizes.back() != w.sizes[1]) return no("got K ", x.sizes.back(), " in x and ", w.sizes[1], " in w");
  if (b && (b->sizes.rank() != 1 || b->sizes[0] != w.sizes[0]))
    return no("got bias ", b->sizes, ", want [", w.sizes[0], "]");
  if (b && b->sizes[0] > 1 && b->strides[0] != 1) return no("bias has stride ", b->strides[0], ", want 1");
  Dims sizes = x.sizes;
  sizes[sizes.rank() - 1] = w.sizes[0];
  if (y.sizes != sizes) return no("got output ", y.sizes, ", want ", sizes);
  if (!y.is_contiguous()) return no("output is not row-major");
  if (residual && residual->sizes != sizes) return no("got residual ", residual->sizes, ", want ", sizes);
  return yes();
}

}  // namespace

Verdict linear_call(const Problem& problem, GemmCall& call) {
  const TensorDesc* x = problem.operand(0);
  const TensorDesc* w = problem.operand(1);
  const TensorDesc* b = problem.operand(2);
  const TensorDesc* residual = problem.op == "kpt.linear" ? problem.operand(3) : nullptr;
  if (!x || !w || problem.outputs.size() != 1) return no("got ", problem.str(), ", want x, w and one output");
  const TensorDesc& y = problem.outputs[0];
  if (Verdict v = same_type(problem, x->dtype); !v) return v;
  if (Verdict v = check_shapes(*x, *w, b, residual, y); !v) return v;

  GemmProblem& p = call.product;
  call.dtype = x->dtype;
  call.at = {problem.operand_index(0), problem.operand_index(1), problem.operand_index(2),
             residual ? problem.operand_index(3) : -1};
  const std::string act = problem.op == "kpt.linear" ? get_string(problem.kwargs, "act", "none") : "none";
  if (!parse_act(act, &p.act))
    return no("got act \"", act, "\", want none, gelu, gelu_tanh, silu, relu, tanh or sigmoid");
  p.k = x->sizes.back();
  p.n = w->sizes[0];
  p.x_k = p.k > 1 ? x->strides.back() : 1;
  p.w_k = p.k > 1 ? w->strides[1] : 1;
  p.w_n = w->strides[0];
  p.has_bias = b != nullptr;
  p.has_residual = residual != nullptr;
  if (residual) p.residual_n = residual->strides.back();
  p.threads = problem.threads;
  TensorDesc row_major = y;
  row_major.strides = contiguous_strides(y.sizes);  // where sizes are 1 the planner's strides may be anything
  set_leading(*x, row_major, residual, p);
  return yes();
}

namespace {

Verdict supports(const Problem& problem) {
  GemmCall call;
  if (Verdict v = linear_call(problem, call); !v) return v;
  return gemm_supports(call);
}

Verdict reference_supports(const Problem& problem) {
  GemmCall call;
  return linear_call(problem, call);
}

GemmCall checked(const Problem& problem) {
  GemmCall call;
  const Verdict v = linear_call(problem, call);
  KPT_CHECK(v.ok, "kernels.linear", v.reason);
  return call;
}

}  // namespace

void register_linear(KernelRegistry& registry) {
  for (const char* op : {"aten.linear", "kpt.linear"}) {
    registry.add({op, "kpt", "cpu", "linear_cpu", 0, supports, [](const Problem& p) { return make_gemm(checked(p)); }});
    registry.add({op, "reference", "cpu", "linear_reference", 0, reference_supports,
                  [](const Problem& p) { return make_gemm_reference(checked(p)); }});
  }
}

}  // namespace kpt
