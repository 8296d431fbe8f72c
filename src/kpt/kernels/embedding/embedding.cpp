// SPDX-License-Identifier: Apache-2.0
#include "kpt/kernels/embedding/pick_problem.h"

#include <cstring>

#include "kpt/base/threads.h"
#include "kpt/kernels/lib/launch.h"

namespace kpt {

Verdict read_pick(const Problem& p, Pick& k) {
  const bool embedding = p.op == "aten.embedding";
  k.x = p.operand_index(0);
  k.index = p.operand_index(1);
  if (k.x < 0 || k.index < 0 || p.outputs.size() != 1) return no("want a table and indices in, one tensor out");
  const TensorDesc& x = *p.operand(0);
  const TensorDesc& index = *p.operand(1);
  const TensorDesc& y = p.outputs[0];
  k.dim = embedding ? 0 : normal_dim(get_int(p.kwargs, "dim", 0), x.sizes.rank());
  if (x.sizes.rank() == 0 || k.dim < 0) return no("picks along dim of ", x);
  if (embedding && x.sizes.rank() != 2) return no("weight ", x, " is not [rows, width]");
  if (!embedding && index.sizes.rank() > 1) return no("index ", index, " is not 1-D");
  if (index.dtype != DType::i64 && index.dtype != DType::i32) return no("indices of ", index.dtype);
  if (x.dtype != y.dtype) return no("from ", x.dtype, " to ", y.dtype);
  Dims want;
  for (int d = 0; d < x.sizes.rank(); ++d) {
    if (d != k.dim) want.push_back(x.sizes[d]);
    if (d < k.dim) k.outer *= x.sizes[d];
    if (d > k.dim) k.inner *= x.sizes[d];
    if (d != k.dim) continue;
    if (index.sizes.rank() == 0 && !embedding) want.push_back(1);
    for (int64_t n : index.sizes) want.push_back(n);
  }
  if (y.sizes != want) return no("output ", y, ", want ", want);
  k.picks = index.numel();
  k.limit = x.sizes[k.dim];
  return yes();
}

namespace {

Verdict supports(const Problem& p) {
  Pick k;
  if (Verdict v = read_pick(p, k); !v) return v;
  if (!p.outputs[0].is_contiguous()) return no("output ", p.outputs[0], " is not dense");
  if (!dense_from(*p.operand(0), k.dim + 1)) return no("the slices of ", *p.operand(0), " are not dense");
  return yes();
}

int64_t number(DType dtype, const void* p) {
  if (dtype == DType::i32) {
    int32_t v;
    std::memcpy(&v, p, sizeof v);
    return v;
  }
  int64_t v;
  std::memcpy(&v, p, sizeof v);
  return v;
}

// Checked here and nowhere else.
int64_t checked(const Problem& p, int64_t i, int64_t limit) {
  KPT_CHECK(i >= 0 && i < limit, "kernels.embedding", "got index ", i, " in ", p.op, ", want one in [0, ", limit, ")");
  return i;
}

std::unique_ptr<Launch> make(const Problem& p) {
  Pick k;
  const Verdict v = read_pick(p, k);
  KPT_CHECK(v.ok, "kernels.embedding", "got ", p.str(), ": ", v.reason);
  const TensorDesc& x = *p.operand(0);
  const TensorDesc& index = *p.operand(1);
  const int64_t width = k.inner * static_cast<int64_t>(size_of(x.dtype));
  const int64_t step = x.strides[k.dim] * static_cast<int64_t>(size_of(x.dtype));
  const RowMap outer(x, k.dim), indices(index, index.sizes.rank());
  const Split split(k.outer * k.picks, width, p.threads);
  return make_launch(
      [=](const RunArgs& args) {
        const int64_t units = k.outer * k.picks;
        parallel(units && width ? split.tasks : 0, split.threads, [&](int64_t task, int) {
          for (int64_t u = split.begin(task, units); u < split.begin(task + 1, units); ++u) {
            const int64_t i =
                number(index.dtype, shifted(args.inputs[k.index], indices.offset(u % k.picks), index.dtype));
            const char* from = shifted(args.inputs[k.x], outer.offset(u / k.picks), x.dtype);
            std::memcpy(static_cast<char*>(args.outputs[0]) + u * width, from + checked(p, i, k.limit) * step,
                        static_cast<size_t>(width));
          }
        });
      },
      0, cat("threads ", split.threads));
}

Verdict reference_supports(const Problem& p) {
  Pick k;
  return read_pick(p, k);
}

std::unique_ptr<Launch> make_reference(const Problem& p) {
  Pick k;
  const Verdict v = read_pick(p, k);
  KPT_CHECK(v.ok, "kernels.embedding", "got ", p.str(), ": ", v.reason);
  return make_launch([p, k](const RunArgs& args) {
    const Elements x(*p.operand(0), args.inputs[k.x]), index(*p.operand(1), args.inputs[k.index]);
    const Elements y(p.outputs[0], args.outputs[0]);
    const int index_rank = p.operand(1)->sizes.rank();
    each_index(p.outputs[0].sizes, [&](const Dims& at) {
      Dims which, from;
      const int inserted = p.op == "aten.embedding" ? index_rank : 1;
      for (int d = 0; d < index_rank; ++d) which.push_back(at[k.dim + d]);
      const int64_t i = checked(p, number(p.operand(1)->dtype, index.at(which)), k.limit);
      for (int d = 0; d < k.dim; ++d) from.push_back(at[d]);
      from.push_back(i);
      for (int d = k.dim + inserted; d < at.rank(); ++d) from.push_back(at[d]);
      std::memcpy(y.at(at), x.at(from), size_of(p.outputs[0].dtype));
    });
  });
}

}  // namespace

void register_embedding(KernelRegistry& registry) {
  for (const char* op : {"aten.embedding", "aten.index_select"}) {
    add_cpu(registry, op, "embedding", supports, make);
    add_reference(registry, op, "embedding", reference_supports, make_reference);
  }
}

}  // namespace kpt
