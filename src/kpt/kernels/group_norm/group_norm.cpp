// SPDX-License-Identifier: Apache-2.0
#include <cmath>

#include "kpt/base/threads.h"
#include "kpt/kernels/group_norm/group_norm_problem.h"
#include "kpt/kernels/group_norm/group_row.h"
#include "kpt/kernels/lib/cpu/isa.h"
#include "kpt/kernels/lib/launch.h"

namespace kpt {
namespace {

Verdict reference_supports(const Problem& p) {
  const TensorDesc* x = p.operand(0);
  if (!x || p.outputs.size() != 1) return no("want x in and one tensor out");
  const int64_t groups = get_int(p.kwargs, "num_groups", 0);
  if (x->sizes.rank() < 2 || groups < 1 || x->sizes[1] % groups) return no(groups, " groups of ", *x);
  if (p.outputs[0].sizes != x->sizes) return no("output ", p.outputs[0], " of other sizes than x");
  for (int i : {1, 2})
    if (const TensorDesc* d = p.operand(i); d && d->sizes != Dims{x->sizes[1]})
      return no("got ", *d, " for ", x->sizes[1], " channels");
  return yes();
}

}  // namespace

Verdict group_norm_supports(const Problem& p) {
  if (Verdict v = reference_supports(p); !v) return v;
  const DType dtype = p.operand(0)->dtype;
  if (!elem_of(dtype)) return no("dtype ", dtype);
  for (const TensorDesc* d : {p.operand(0), p.operand(1), p.operand(2), &p.outputs[0]})
    if (d && (d->dtype != dtype || !d->is_contiguous())) return no("got ", *d, ", want dense ", dtype);
  return yes();
}

namespace {

std::unique_ptr<Launch> make(const Problem& p) {
  const TensorDesc x = *p.operand(0);
#define KPT_ENTRY(isa) isa::group_row
  static constexpr GroupFn (*kTable[])(Elem) = KPT_ISA_TABLE(KPT_ENTRY);
#undef KPT_ENTRY
  const GroupFn fn = kTable[static_cast<size_t>(cpu_isa())](*elem_of(x.dtype));
  const int64_t groups = get_int(p.kwargs, "num_groups", 1), channels = x.sizes[1] / groups;
  int64_t inner = 1;
  for (int d = 2; d < x.sizes.rank(); ++d) inner *= x.sizes[d];
  const int64_t rows = x.numel() ? x.sizes[0] * groups : 0;
  const Split split(rows, channels * inner * 8, p.threads);
  const int in = p.operand_index(0), w = p.operand_index(1), b = p.operand_index(2);
  const float eps = static_cast<float>(get_float(p.kwargs, "eps", 1e-5));
  return make_launch(
      [=, dtype = x.dtype](const RunArgs& args) {
        parallel(rows ? split.tasks : 0, split.threads, [&](int64_t task, int) {
          for (int64_t r = split.begin(task, rows); r < split.begin(task + 1, rows); ++r) {
            const int64_t at = r * channels * inner, channel = r % groups * channels;
            fn({shifted(args.inputs[in], at, dtype), w < 0 ? nullptr : shifted(args.inputs[w], channel, dtype),
                b < 0 ? nullptr : shifted(args.inputs[b], channel, dtype), shifted(args.outputs[0], at, dtype),
                channels, inner, eps});
          }
        });
      },
      0, cat(name(cpu_isa()), " threads ", split.threads));
}

std::unique_ptr<Launch> make_reference(const Problem& p) {
  return make_launch([p](const RunArgs& args) {
    const TensorDesc& d = *p.operand(0);
    const auto at = [&](int operand, int64_t i) {
      return Tensor{*p.operand(operand), const_cast<void*>(args.inputs[p.operand_index(operand)]), nullptr}.at(i);
    };
    Tensor y{p.outputs[0], args.outputs[0], nullptr};
    if (d.numel() == 0) return;
    const int64_t groups = get_int(p.kwargs, "num_groups", 1), inner = d.numel() / (d.sizes[0] * d.sizes[1]);
    const int64_t n = d.sizes[1] / groups * inner;
    for (int64_t r = 0; r < d.sizes[0] * groups; ++r) {
      double mean = 0, variance = 0;
      for (int64_t i = r * n; i < (r + 1) * n; ++i) mean += at(0, i) / static_cast<double>(n);
      for (int64_t i = r * n; i < (r + 1) * n; ++i) variance += std::pow(at(0, i) - mean, 2) / static_cast<double>(n);
      for (int64_t i = r * n; i < (r + 1) * n; ++i) {
        const int64_t channel = i / inner % d.sizes[1];
        const double scaled = (at(0, i) - mean) / std::sqrt(variance + get_float(p.kwargs, "eps", 1e-5));
        y.set(i, scaled * (p.operand(1) ? at(1, channel) : 1) + (p.operand(2) ? at(2, channel) : 0));
      }
    }
  });
}

}  // namespace

void register_group_norm(KernelRegistry& registry) {
  add_cpu(registry, "aten.group_norm", "group_norm", group_norm_supports, make);
  add_reference(registry, "aten.group_norm", "group_norm", reference_supports, make_reference);
}

}  // namespace kpt
