// SPDX-License-Identifier: Apache-2.0
#include "kpt/kernels/swiglu/swiglu.h"

#include "kpt/kernels/lib/launch.h"
#include "kpt/kernels/lib/program/launch.h"

namespace kpt {
namespace {

Problem as_program(const Problem& p) {
  Problem q = p;
  q.op = "kpt.pointwise";
  q.args = {AttrList{p.args.begin(), p.args.end()}};
  q.kwargs = {{"program", "y=swiglu(i0,i1);out y"}};
  return q;
}

Verdict two_tensors(const Problem& p) {
  if (p.args.size() != 2 || !p.operand(0) || !p.operand(1)) return no("want gate and up");
  return p.operand(0)->sizes == p.operand(1)->sizes ? yes() : no("gate ", *p.operand(0), " and up ", *p.operand(1));
}

}  // namespace

void register_swiglu(KernelRegistry& registry) {
  add_cpu(
      registry, "kpt.swiglu", "swiglu",
      [](const Problem& p) {
        const Verdict v = two_tensors(p);
        return v ? program_supports(as_program(p)) : v;
      },
      [](const Problem& p) { return program_make(as_program(p)); });
  add_reference(
      registry, "kpt.swiglu", "swiglu",
      [](const Problem& p) {
        const Verdict v = two_tensors(p);
        return v ? program_reference_supports(as_program(p)) : v;
      },
      [](const Problem& p) { return program_reference_make(as_program(p)); });
}

}  // namespace kpt
