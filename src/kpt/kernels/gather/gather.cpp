// SPDX-License-Identifier: Apache-2.0
#include <cstring>

#include "kpt/kernels/gather/gather_problem.h"
#include "kpt/kernels/lib/launch.h"

namespace kpt {

Verdict read_gather(const Problem& p, int& dim) {
  const TensorDesc* x = p.operand(0);
  const TensorDesc* index = p.operand(1);
  if (!x || !index || p.outputs.size() != 1) return no("want x and index in, one tensor out");
  dim = normal_dim(get_int(p.kwargs, "dim", 0), x->sizes.rank());
  if (dim < 0 || x->sizes.rank() == 0 || x->sizes.rank() != index->sizes.rank())
    return no("gathers ", *x, " by ", *index);
  if (index->dtype != DType::i64) return no("index of ", index->dtype);
  if (p.outputs[0].sizes != index->sizes || p.outputs[0].dtype != x->dtype) return no("output ", p.outputs[0]);
  for (int d = 0; d < x->sizes.rank(); ++d)
    if (d != dim && index->sizes[d] > x->sizes[d]) return no("index ", *index, " is larger than ", *x);
  return yes();
}

namespace {

Verdict supports(const Problem& p) {
  int dim;
  return read_gather(p, dim);
}

// Both kernels are this loop; the kernel of ours walks the last dimension by strides, the reference by indices.
int64_t checked(int64_t i, int64_t limit) {
  KPT_CHECK(i >= 0 && i < limit, "kernels.gather", "got index ", i, ", want one in [0, ", limit, ")");
  return i;
}

std::unique_ptr<Launch> make(const Problem& p) {
  return make_launch([p](const RunArgs& args) {
    const TensorDesc &xd = *p.operand(0), &id = *p.operand(1), &yd = p.outputs[0];
    const int rank = id.sizes.rank(), last = rank - 1, dim = normal_dim(get_int(p.kwargs, "dim", 0), rank);
    const size_t width = size_of(xd.dtype);
    const Elements x(xd, args.inputs[p.operand_index(0)]), index(id, args.inputs[p.operand_index(1)]),
        y(yd, args.outputs[0]);
    Dims outer = id.sizes;
    const int64_t n = outer[last];
    outer[last] = n ? 1 : 0;
    const int64_t step = dim == last ? 0 : xd.strides[last] * static_cast<int64_t>(width);
    each_index(outer, [&](const Dims& start) {
      Dims base = start;
      base[dim] = 0;
      const char* from = x.at(base);
      const char* numbers = index.at(start);
      char* to = y.at(start);
      for (int64_t c = 0; c < n; ++c) {
        int64_t i;
        std::memcpy(&i, numbers + c * id.strides[last] * 8, sizeof i);
        const int64_t picked = checked(i, xd.sizes[dim]) * xd.strides[dim] * static_cast<int64_t>(width);
        std::memcpy(to + c * yd.strides[last] * static_cast<int64_t>(width), from + c * step + picked, width);
      }
    });
  });
}

std::unique_ptr<Launch> make_reference(const Problem& p) {
  return make_launch([p](const RunArgs& args) {
    const TensorDesc &xd = *p.operand(0), &id = *p.operand(1);
    const int dim = normal_dim(get_int(p.kwargs, "dim", 0), xd.sizes.rank());
    const Elements x(xd, args.inputs[p.operand_index(0)]), index(id, args.inputs[p.operand_index(1)]),
        y(p.outputs[0], args.outputs[0]);
    each_index(id.sizes, [&](const Dims& at) {
      Dims from = at;
      int64_t i;
      std::memcpy(&i, index.at(at), sizeof i);
      from[dim] = checked(i, xd.sizes[dim]);
      std::memcpy(y.at(at), x.at(from), size_of(xd.dtype));
    });
  });
}

}  // namespace

void register_gather(KernelRegistry& registry) {
  add_cpu(registry, "aten.gather", "gather", supports, make);
  add_reference(registry, "aten.gather", "gather", supports, make_reference);
}

}  // namespace kpt
