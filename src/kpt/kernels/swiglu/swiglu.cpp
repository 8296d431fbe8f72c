// SPDX-License-Identifier: Apache-2.0
#include "kpt/kernels/swiglu/swiglu.h"

#include "kpt/kernels/lib/launch.h"
#include "kpt/kernels/lib/program/launch.h"
#include "kpt/kernels/swiglu/swiglu_problem.h"

namespace kpt {
Verdict swiglu_program(const Problem& p, Problem& q) {
  if (p.args.size() != 2 || !p.operand(0) || !p.operand(1)) return no("want gate and up");
  if (p.operand(0)->sizes != p.operand(1)->sizes) return no("gate ", *p.operand(0), " and up ", *p.operand(1));
  q = p;
  q.op = "kpt.pointwise";
  q.args = {AttrList{p.args.begin(), p.args.end()}};
  q.kwargs = {{"program", "y=swiglu(i0,i1);out y"}};
  return yes();
}

namespace {

Problem program(const Problem& p) {
  Problem q;
  const Verdict v = swiglu_program(p, q);
  KPT_CHECK(v.ok, "kernels.swiglu", "got ", p.str(), ": ", v.reason);
  return q;
}

}  // namespace

void register_swiglu(KernelRegistry& registry) {
  const auto with = [](Verdict (*supports)(const Problem&)) {
    return [supports](const Problem& p) {
      Problem q;
      const Verdict v = swiglu_program(p, q);
      return v ? supports(q) : v;
    };
  };
  add_cpu(registry, "kpt.swiglu", "swiglu", with(program_supports),
          [](const Problem& p) { return program_make(program(p)); });
  add_reference(registry, "kpt.swiglu", "swiglu", with(program_reference_supports),
                [](const Problem& p) { return program_reference_make(program(p)); });
}

}  // namespace kpt
