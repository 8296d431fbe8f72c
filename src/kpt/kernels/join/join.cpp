// SPDX-License-Identifier: Apache-2.0
#include <cstring>

#include "kpt/kernels/join/join_problem.h"
#include "kpt/kernels/lib/copy/strided_copy.h"
#include "kpt/kernels/lib/launch.h"

namespace kpt {
namespace {

Join parts_of(const Problem& p) {
  Join j;
  const Verdict v = read_join(p, j);
  KPT_CHECK(v.ok, "kernels.join", "got ", p.str(), ": ", v.reason);
  return j;
}

Verdict supports(const Problem& p) {
  Join j;
  return read_join(p, j);
}

std::unique_ptr<Launch> make(const Problem& p) {
  const Join j = parts_of(p);
  std::vector<std::shared_ptr<const Launch>> copies;
  for (const JoinPart& part : j.parts) copies.push_back(make_copy(part.from, part.to, p.threads));
  const TensorDesc& y = p.outputs[0];
  // One element to all of the output: a copy with strides of 0.
  const TensorDesc one{y.dtype, y.sizes, Dims::filled(y.sizes.rank(), 0)};
  std::shared_ptr<const Launch> fill = j.fill ? make_copy(one, y, p.threads) : nullptr;
  return make_launch([=, dtype = y.dtype](const RunArgs& args) {
    if (fill) {
      alignas(8) unsigned char element[8];
      store_from_double(dtype, element, j.value);
      const void* from = element;
      fill->run({&from, args.outputs, args.workspace});
    }
    for (size_t i = 0; i < copies.size(); ++i) {
      const JoinPart& part = j.parts[i];
      const void* from = shifted(args.inputs[part.in], part.from_offset, dtype);
      void* to = shifted(args.outputs[0], part.to_offset, dtype);
      copies[i]->run({&from, &to, args.workspace});
    }
  });
}

// Element by element. The parts are the same, so what they are is checked by hand in join_test.cpp.
std::unique_ptr<Launch> make_reference(const Problem& p) {
  const Join j = parts_of(p);
  return make_launch([p, j](const RunArgs& args) {
    const Elements y(p.outputs[0], args.outputs[0]);
    const size_t width = size_of(p.outputs[0].dtype);
    if (j.fill) each_index(p.outputs[0].sizes, [&](const Dims& i) { y.set(i, j.value); });
    for (const JoinPart& part : j.parts) {
      const Elements from(part.from, shifted(args.inputs[part.in], part.from_offset, part.from.dtype));
      const Elements to(part.to, shifted(args.outputs[0], part.to_offset, part.to.dtype));
      each_index(part.from.sizes, [&](const Dims& i) { std::memcpy(to.at(i), from.at(i), width); });
    }
  });
}

}  // namespace

void register_join(KernelRegistry& registry) {
  for (const char* op :
       {"aten.cat", "aten.constant_pad_nd", "aten.repeat", "aten.slice_scatter", "aten.select_scatter"}) {
    add_cpu(registry, op, "join", supports, make);
    add_reference(registry, op, "join", supports, make_reference);
  }
}

}  // namespace kpt
