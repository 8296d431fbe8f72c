// SPDX-License-Identifier: Apache-2.0
#include "kpt/kernels/norm/norm_problem.h"

#include <cmath>

#include "kpt/base/threads.h"
#include "kpt/kernels/lib/cpu/isa.h"
#include "kpt/kernels/lib/launch.h"
#include "kpt/kernels/norm/norm_row.h"

namespace kpt {
namespace {

const TensorDesc* input(const Problem& p, int i) { return i < 0 ? nullptr : &p.inputs[static_cast<size_t>(i)]; }

}  // namespace

Verdict read_norm(const Problem& p, Norm& n) {
  const bool add = p.op == "kpt.add_norm";
  n.x = p.operand_index(0);
  n.residual = add ? p.operand_index(1) : -1;
  n.w = p.operand_index(add ? 2 : 1);
  n.rms = add ? get_string(p.kwargs, "kind", "") == "rms" : p.op == "aten.rms_norm";
  n.b = p.op == "aten.rms_norm" ? -1 : p.operand_index(add ? 3 : 2);
  if (add && !n.rms && get_string(p.kwargs, "kind", "") != "layer") return no("kind is neither layer nor rms");
  if (n.x < 0 || (add && n.residual < 0)) return no("no tensor to normalise");
  const TensorDesc& x = *input(p, n.x);
  const size_t trailing = add ? 1 : get_ints(p.kwargs, "normalized_shape").size();
  if (trailing < 1 || static_cast<int>(trailing) > x.sizes.rank())
    return no("normalises ", trailing, " dimensions of ", x);
  n.leading = x.sizes.rank() - static_cast<int>(trailing);
  for (int d = 0; d < x.sizes.rank(); ++d) (d < n.leading ? n.rows : n.width) *= x.sizes[d];
  const double epsilon = x.dtype == DType::f64 ? 0x1p-52 : 0x1p-23;
  n.eps = get_float(p.kwargs, "eps", p.op == "aten.rms_norm" ? epsilon : 1e-5);
  for (int i : {n.w, n.b})
    if (const TensorDesc* d = input(p, i); d && d->numel() != n.width)
      return no("weight ", *d, " for rows of ", n.width);
  if (n.residual >= 0 && input(p, n.residual)->sizes != x.sizes) return no("residual of other sizes than x");
  if (p.outputs.size() > (add ? 2u : 1u)) return no("got ", p.outputs.size(), " outputs");
  for (const TensorDesc& d : p.outputs)
    if (d.sizes != x.sizes) return no("output ", d, " of other sizes than x");
  return yes();
}

Verdict norm_supports(const Problem& p) {
  Norm n;
  if (Verdict v = read_norm(p, n); !v) return v;
  const TensorDesc& x = *input(p, n.x);
  if (!elem_of(x.dtype)) return no("dtype ", x.dtype);
  std::vector<const TensorDesc*> rows = {&x, input(p, n.residual)};
  for (const TensorDesc& d : p.outputs) rows.push_back(&d);
  for (const TensorDesc* d : rows) {
    if (!d) continue;
    if (d->dtype != x.dtype) return no("mixes ", x.dtype, " and ", d->dtype);
    if (!dense_from(*d, n.leading)) return no("the normalised dimensions of ", *d, " are not dense");
  }
  const TensorDesc* w = input(p, n.w);
  const TensorDesc* b = input(p, n.b);
  for (const TensorDesc* d : {w, b})
    if (d && ((d->dtype != x.dtype && d->dtype != DType::f32) || !d->is_contiguous()))
      return no("weight ", *d, " with x ", x);
  if (w && b && w->dtype != b->dtype) return no("weight and bias of different dtypes");
  return yes();
}

namespace {

std::unique_ptr<Launch> make(const Problem& p) {
  Norm n;
  const Verdict v = read_norm(p, n);
  KPT_CHECK(v.ok, "kernels.norm", "got ", p.str(), ": ", v.reason);
  const DType dtype = input(p, n.x)->dtype;
  const TensorDesc* weight = input(p, n.w) ? input(p, n.w) : input(p, n.b);
#define KPT_ENTRY(isa) isa::norm_row
  static constexpr NormFn (*kTable[])(Elem, Elem) = KPT_ISA_TABLE(KPT_ENTRY);
#undef KPT_ENTRY
  const NormFn fn = kTable[static_cast<size_t>(cpu_isa())](*elem_of(dtype), *elem_of(weight ? weight->dtype : dtype));
  const RowMap x(*input(p, n.x), n.leading), y(p.outputs[0], n.leading);
  const RowMap residual = n.residual < 0 ? RowMap() : RowMap(*input(p, n.residual), n.leading);
  const bool has_sum = p.outputs.size() > 1;
  const RowMap sum = has_sum ? RowMap(p.outputs[1], n.leading) : RowMap();
  const Split split(n.rows, n.width * 8, p.threads);
  const int64_t scratch = (n.width * 4 + 63) / 64 * 64;
  const auto run = [=](const RunArgs& args) {
    parallel(n.rows ? split.tasks : 0, split.threads, [&](int64_t task, int worker) {
      NormRow r{};
      r.w = n.w < 0 ? nullptr : args.inputs[n.w];
      r.b = n.b < 0 ? nullptr : args.inputs[n.b];
      r.scratch = reinterpret_cast<float*>(static_cast<char*>(args.workspace) + worker * scratch);
      r.width = n.width;
      r.eps = static_cast<float>(n.eps);
      r.rms = n.rms;
      for (int64_t i = split.begin(task, n.rows); i < split.begin(task + 1, n.rows); ++i) {
        r.x = shifted(args.inputs[n.x], x.offset(i), dtype);
        r.residual = n.residual < 0 ? nullptr : shifted(args.inputs[n.residual], residual.offset(i), dtype);
        r.y = shifted(args.outputs[0], y.offset(i), dtype);
        r.sum = has_sum ? shifted(args.outputs[1], sum.offset(i), dtype) : nullptr;
        fn(r);
      }
    });
  };
  return make_launch(run, static_cast<size_t>(scratch * split.threads),
                     cat(name(cpu_isa()), " threads ", split.threads));
}

Verdict reference_supports(const Problem& p) {
  Norm n;
  return read_norm(p, n);
}

std::unique_ptr<Launch> make_reference(const Problem& p) {
  Norm n;
  const Verdict v = read_norm(p, n);
  KPT_CHECK(v.ok, "kernels.norm", "got ", p.str(), ": ", v.reason);
  return make_launch([p, n](const RunArgs& args) {
    const TensorDesc& xd = p.inputs[static_cast<size_t>(n.x)];
    const auto flat = [&](int input_index, int64_t i) {  // element i of a weight, row-major
      const TensorDesc& d = p.inputs[static_cast<size_t>(input_index)];
      return Tensor{d, const_cast<void*>(args.inputs[input_index]), nullptr}.at(i);
    };
    const Tensor x{xd, const_cast<void*>(args.inputs[n.x]), nullptr};
    Tensor y{p.outputs[0], args.outputs[0], nullptr};
    std::vector<double> row(static_cast<size_t>(n.width));
    for (int64_t r = 0; r < n.rows; ++r) {
      double mean = 0, variance = 0;
      for (int64_t c = 0; c < n.width; ++c) {
        double& e = row[static_cast<size_t>(c)];
        e = x.at(r * n.width + c) + (n.residual < 0 ? 0 : flat(n.residual, r * n.width + c));
        mean += e / static_cast<double>(n.width);
      }
      if (n.rms) mean = 0;
      for (double e : row) variance += (e - mean) * (e - mean) / static_cast<double>(n.width);
      for (int64_t c = 0; c < n.width; ++c) {
        const double e = row[static_cast<size_t>(c)];
        const double w = n.w < 0 ? 1 : flat(n.w, c), b = n.b < 0 ? 0 : flat(n.b, c);
        y.set(r * n.width + c, (e - mean) / std::sqrt(variance + n.eps) * w + b);
        if (p.outputs.size() > 1) Tensor{p.outputs[1], args.outputs[1], nullptr}.set(r * n.width + c, e);
      }
    }
  });
}

}  // namespace

void register_norm(KernelRegistry& registry) {
  for (const char* op : {"aten.layer_norm", "aten.rms_norm", "kpt.add_norm"}) {
    add_cpu(registry, op, "norm", norm_supports, make);
    add_reference(registry, op, "norm", reference_supports, make_reference);
  }
}

}  // namespace kpt
