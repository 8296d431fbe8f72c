// SPDX-License-Identifier: Apache-2.0
#include "kpt/kernels/batch_norm/batch_norm.h"

#include "kpt/kernels/batch_norm/batch_norm_problem.h"
#include "kpt/kernels/lib/launch.h"
#include "kpt/kernels/lib/program/launch.h"

namespace kpt {
Verdict batch_norm_program(const Problem& p, Problem& q) {
  const TensorDesc* x = p.operand(0);
  if (!x || !p.operand(3) || !p.operand(4)) return no("want x, running mean and running variance");
  if (get_bool(p.kwargs, "training", false)) return no("training");
  if (x->sizes.rank() < 2) return no("x ", *x, " has no channels");
  q = p;
  q.op = "kpt.pointwise";
  AttrList list = {p.args[0]};
  std::string program;
  const auto channel = [&](int operand) {  // [C] as [C, 1, ..]
    TensorDesc& d = q.inputs[static_cast<size_t>(p.operand_index(operand))];
    for (int i = 2; i < x->sizes.rank(); ++i) {
      d.sizes.push_back(1);
      d.strides.push_back(0);
    }
    list.push_back(p.args[static_cast<size_t>(operand)]);
    return cat("i", list.size() - 1);
  };
  for (int i = 1; i <= 4; ++i)
    if (const TensorDesc* d = p.operand(i); d && d->sizes != Dims{x->sizes[1]})
      return no("got ", *d, " for ", x->sizes[1], " channels");
  std::ostringstream eps;
  eps.precision(17);
  eps << std::scientific << get_float(p.kwargs, "eps", 1e-5);
  const std::string mean = channel(3), variance = channel(4);
  program = cat("e=add(", variance, ",", eps.str(), ");r=rsqrt(e);");
  std::string scale = "r";
  if (p.operand(1)) {
    program += cat("s=mul(r,", channel(1), ");");
    scale = "s";
  }
  program += cat("d=sub(i0,", mean, ");y=mul(d,", scale, ");");
  program += p.operand(2) ? cat("z=add(y,", channel(2), ");out z") : "out y";
  q.args = {list};
  q.kwargs = {{"program", program}};
  return yes();
}

namespace {

Problem program(const Problem& p) {
  Problem q;
  const Verdict v = batch_norm_program(p, q);
  KPT_CHECK(v.ok, "kernels.batch_norm", "got ", p.str(), ": ", v.reason);
  return q;
}

}  // namespace

void register_batch_norm(KernelRegistry& registry) {
  const auto with = [](Verdict (*supports)(const Problem&)) {
    return [supports](const Problem& p) {
      Problem q;
      const Verdict v = batch_norm_program(p, q);
      return v ? supports(q) : v;
    };
  };
  add_cpu(registry, "aten.batch_norm", "batch_norm", with(program_supports),
          [](const Problem& p) { return program_make(program(p)); });
  add_reference(registry, "aten.batch_norm", "batch_norm", with(program_reference_supports),
                [](const Problem& p) { return program_reference_make(program(p)); });
}

}  // namespace kpt
