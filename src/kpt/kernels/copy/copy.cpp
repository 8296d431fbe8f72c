// SPDX-License-Identifier: Apache-2.0
#include "kpt/kernels/copy/copy.h"

#include <cstring>

#include "kpt/kernels/lib/copy/strided_copy.h"
#include "kpt/kernels/lib/launch.h"

namespace kpt {
namespace {

Verdict supports(const Problem& p) {
  const TensorDesc* x = p.operand(0);
  if (!x || p.outputs.size() != 1) return no("want one tensor in and one out");
  if (x->sizes != p.outputs[0].sizes) return no("from ", *x, " to ", p.outputs[0]);
  if (x->dtype != p.outputs[0].dtype) return no("from ", x->dtype, " to ", p.outputs[0].dtype);
  return yes();
}

std::unique_ptr<Launch> make(const Problem& p) {
  auto copy = std::shared_ptr<const Launch>(make_copy(*p.operand(0), p.outputs[0], p.threads));
  const int in = p.operand_index(0);
  return make_launch(
      [copy, in](const RunArgs& args) {
        copy->run({args.inputs + in, args.outputs, args.workspace});
      },
      0, copy->config());
}

std::unique_ptr<Launch> make_reference(const Problem& p) {
  return make_launch([p](const RunArgs& args) {
    const Elements x(*p.operand(0), args.inputs[p.operand_index(0)]), y(p.outputs[0], args.outputs[0]);
    const size_t width = size_of(p.outputs[0].dtype);
    each_index(p.outputs[0].sizes, [&](const Dims& i) { std::memcpy(y.at(i), x.at(i), width); });
  });
}

}  // namespace

void register_copy(KernelRegistry& registry) {
  add_cpu(registry, "kpt.copy", "copy", supports, make);
  add_reference(registry, "kpt.copy", "copy", supports, make_reference);
}

}  // namespace kpt
