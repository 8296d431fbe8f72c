// SPDX-License-Identifier: Apache-2.0
#include <cstring>

#include "kpt/kernels/cumsum/cumsum_problem.h"
#include "kpt/kernels/lib/launch.h"

namespace kpt {
Verdict cumsum_supports(const Problem& p) {
  const TensorDesc* x = p.operand(0);
  if (!x || p.outputs.size() != 1) return no("want one tensor in and one out");
  if (x->sizes != p.outputs[0].sizes) return no("from ", *x, " to ", p.outputs[0]);
  if (is_float(x->dtype) && !is_float(p.outputs[0].dtype)) return no("from ", x->dtype, " to ", p.outputs[0].dtype);
  return normal_dim(get_int(p.kwargs, "dim", 0), x->sizes.rank()) < 0 ? no("dim of ", *x) : yes();
}

namespace {

int64_t load_i64(DType dtype, const void* p) {
  if (dtype != DType::i64) return static_cast<int64_t>(load_as_double(dtype, p));
  int64_t v;
  std::memcpy(&v, p, sizeof v);
  return v;
}

std::unique_ptr<Launch> make_sums(const Problem& p, bool reference) {
  return make_launch([p, reference](const RunArgs& args) {
    const TensorDesc& xd = *p.operand(0);
    const TensorDesc& yd = p.outputs[0];
    const Elements x(xd, args.inputs[p.operand_index(0)]), y(yd, args.outputs[0]);
    const int dim = normal_dim(get_int(p.kwargs, "dim", 0), xd.sizes.rank());
    const bool whole = yd.dtype == DType::i64 && !is_float(xd.dtype) && !reference;
    Dims outer = xd.sizes;
    const int64_t n = outer.rank() ? outer[dim] : 1;
    if (outer.rank()) outer[dim] = n ? 1 : 0;
    each_index(outer, [&](const Dims& start) {
      Dims i = start;
      double sum = 0;
      uint64_t integer = 0;
      for (int64_t k = 0; k < n; ++k) {
        if (i.rank()) i[dim] = k;
        if (whole) {
          integer += static_cast<uint64_t>(load_i64(xd.dtype, x.at(i)));
          std::memcpy(y.at(i), &integer, sizeof integer);
        } else {
          sum += x.get(i);
          y.set(i, sum);
        }
      }
    });
  });
}

}  // namespace

void register_cumsum(KernelRegistry& registry) {
  add_cpu(registry, "aten.cumsum", "cumsum", cumsum_supports, [](const Problem& p) { return make_sums(p, false); });
  add_reference(registry, "aten.cumsum", "cumsum", cumsum_supports,
                [](const Problem& p) { return make_sums(p, true); });
}

}  // namespace kpt
