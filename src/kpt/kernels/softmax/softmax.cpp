// SPDX-License-Identifier: Apache-2.0
#include "kpt/kernels/softmax/softmax_problem.h"

#include <cmath>

#include "kpt/base/threads.h"
#include "kpt/kernels/lib/cpu/isa.h"
#include "kpt/kernels/lib/launch.h"
#include "kpt/kernels/softmax/softmax_row.h"

namespace kpt {

Verdict read_softmax(const Problem& p, Softmax& s) {
  const TensorDesc* x = p.operand(0);
  if (!x || p.outputs.size() != 1) return no("want one tensor in and one out");
  if (p.outputs[0].sizes != x->sizes) return no("output ", p.outputs[0], " of other sizes than x");
  s.dim = normal_dim(get_int(p.kwargs, "dim", 0), x->sizes.rank());
  if (s.dim < 0) return no("dim ", get_int(p.kwargs, "dim", 0), " of ", *x);
  s.log = p.op.find("log_softmax") != std::string::npos;
  s.x = {x->dtype, {}, {}};
  s.y = {p.outputs[0].dtype, {}, {}};
  for (int d = 0; d < x->sizes.rank(); ++d) {
    if (d == s.dim) {
      s.width = x->sizes[d];
      s.x_stride = s.width > 1 ? x->strides[d] : 1;
      s.y_stride = s.width > 1 ? p.outputs[0].strides[d] : 1;
      continue;
    }
    s.x.sizes.push_back(x->sizes[d]);
    s.x.strides.push_back(x->strides[d]);
    s.y.sizes.push_back(x->sizes[d]);
    s.y.strides.push_back(p.outputs[0].strides[d]);
  }
  return yes();
}

namespace {

SoftmaxFn row_of(DType x, DType y) {
  if (!elem_of(x) || !elem_of(y)) return nullptr;
#define KPT_ENTRY(isa) isa::softmax_row
  static constexpr SoftmaxFn (*kTable[])(Elem, Elem) = KPT_ISA_TABLE(KPT_ENTRY);
#undef KPT_ENTRY
  return kTable[static_cast<size_t>(cpu_isa())](*elem_of(x), *elem_of(y));
}

Verdict supports(const Problem& p) {
  Softmax s;
  if (Verdict v = read_softmax(p, s); !v) return v;
  return row_of(s.x.dtype, s.y.dtype) ? yes() : no("from ", s.x.dtype, " to ", s.y.dtype);
}

std::unique_ptr<Launch> make(const Problem& p) {
  Softmax s;
  const Verdict v = read_softmax(p, s);
  KPT_CHECK(v.ok, "kernels.softmax", "got ", p.str(), ": ", v.reason);
  const SoftmaxFn fn = row_of(s.x.dtype, s.y.dtype);
  const RowMap x(s.x, s.x.sizes.rank()), y(s.y, s.y.sizes.rank());
  const int64_t rows = s.width ? x.rows() : 0;
  const Split split(rows, s.width * 16, p.threads);
  const int64_t scratch = (s.width * 4 + 63) / 64 * 64;
  const int in = p.operand_index(0);
  const auto run = [=](const RunArgs& args) {
    parallel(rows ? split.tasks : 0, split.threads, [&](int64_t task, int worker) {
      SoftmaxRow r{};
      r.width = s.width;
      r.x_stride = s.x_stride;
      r.y_stride = s.y_stride;
      r.scratch = reinterpret_cast<float*>(static_cast<char*>(args.workspace) + worker * scratch);
      r.log = s.log;
      for (int64_t i = split.begin(task, rows); i < split.begin(task + 1, rows); ++i) {
        r.x = shifted(args.inputs[in], x.offset(i), s.x.dtype);
        r.y = shifted(args.outputs[0], y.offset(i), s.y.dtype);
        fn(r);
      }
    });
  };
  return make_launch(run, static_cast<size_t>(scratch * split.threads),
                     cat(name(cpu_isa()), " threads ", split.threads));
}

Verdict reference_supports(const Problem& p) {
  Softmax s;
  return read_softmax(p, s);
}

std::unique_ptr<Launch> make_reference(const Problem& p) {
  Softmax s;
  const Verdict v = read_softmax(p, s);
  KPT_CHECK(v.ok, "kernels.softmax", "got ", p.str(), ": ", v.reason);
  return make_launch([p, s](const RunArgs& args) {
    const int in = p.operand_index(0);
    const RowMap xm(s.x, s.x.sizes.rank()), ym(s.y, s.y.sizes.rank());
    for (int64_t r = 0; s.width && r < xm.rows(); ++r) {
      const auto x = [&](int64_t c) {
        return load_as_double(s.x.dtype, shifted(args.inputs[in], xm.offset(r) + c * s.x_stride, s.x.dtype));
      };
      double largest = -INFINITY, total = 0;
      for (int64_t c = 0; c < s.width; ++c) largest = x(c) > largest ? x(c) : largest;
      for (int64_t c = 0; c < s.width; ++c) total += std::exp(x(c) - largest);
      std::vector<double> row;
      for (int64_t c = 0; c < s.width; ++c)
        row.push_back(s.log ? x(c) - largest - std::log(total) : std::exp(x(c) - largest) / total);
      for (int64_t c = 0; c < s.width; ++c)
        store_from_double(s.y.dtype, shifted(args.outputs[0], ym.offset(r) + c * s.y_stride, s.y.dtype),
                          row[static_cast<size_t>(c)]);
    }
  });
}

}  // namespace

void register_softmax(KernelRegistry& registry) {
  for (const char* op : {"aten.softmax.int", "aten.log_softmax.int", "aten._softmax", "aten._log_softmax"}) {
    add_cpu(registry, op, "softmax", supports, make);
    add_reference(registry, op, "softmax", reference_supports, make_reference);
  }
}

}  // namespace kpt
