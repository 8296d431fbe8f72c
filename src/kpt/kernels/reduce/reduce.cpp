// SPDX-License-Identifier: Apache-2.0
#include "kpt/kernels/reduce/reduce.h"

#include <algorithm>
#include <cmath>
#include <cstring>
#include <limits>

#include "kpt/base/threads.h"
#include "kpt/kernels/lib/cpu/isa.h"
#include "kpt/kernels/lib/launch.h"
#include "kpt/kernels/reduce/reduction.h"

namespace kpt {
namespace {

// 512 results with their means are 4 KiB of scratch, beside which the rows stream through the L1 cache.
constexpr int64_t kColumns = 512;

Reduction kind_of(const std::string& op) {
  if (op == "aten.mean.dim") return Reduction::mean;
  if (op == "aten.amax") return Reduction::max;
  if (op == "aten.amin") return Reduction::min;
  if (op == "aten.var.correction") return Reduction::var;
  if (op == "aten.any.dim") return Reduction::any;
  if (op == "aten.all.dim") return Reduction::all;
  return op == "aten.argmax" ? Reduction::argmax : Reduction::sum;
}

// Which dimensions `dim` names; all where it is absent, none or an empty list.
Verdict reduced_dims(const Problem& p, int rank, std::vector<bool>& reduced) {
  const Attr* dim = find(p.kwargs, "dim");
  std::vector<int64_t> dims;
  if (dim && dim->is<AttrList>()) dims = get_ints(p.kwargs, "dim");
  if (dim && dim->is<Sym>()) dims = {get_int(p.kwargs, "dim", 0)};
  reduced.assign(static_cast<size_t>(std::max(rank, 1)), dims.empty());
  for (int64_t d : dims) {
    const int n = normal_dim(d, rank);
    if (n < 0) return no("dim ", d, " of rank ", rank);
    reduced[static_cast<size_t>(n)] = true;
  }
  return yes();
}

void append(TensorDesc& d, int64_t size, int64_t stride) {
  if (size == 1) return;
  const int last = d.sizes.rank() - 1;
  if (last >= 0 && d.strides[last] == stride * size) {
    d.sizes[last] *= size;
    d.strides[last] = stride;
  } else {
    d.sizes.push_back(size);
    d.strides.push_back(stride);
  }
}

}  // namespace

Verdict read_reduction(const Problem& p, Reduce& r) {
  const TensorDesc* x = p.operand(0);
  if (!x || p.outputs.size() != 1) return no("want one tensor in and one out");
  r.kind = kind_of(p.op);
  r.in = p.operand_index(0);
  r.correction = static_cast<float>(get_float(p.kwargs, "correction", 1));
  std::vector<bool> reduced;
  if (Verdict v = reduced_dims(p, x->sizes.rank(), reduced); !v) return v;
  const bool keepdim = get_bool(p.kwargs, "keepdim", false);
  r.kept = {x->dtype, {}, {}};
  r.reduced = {x->dtype, {}, {}};
  Dims want;
  for (int d = 0; d < x->sizes.rank(); ++d) {
    const bool here = reduced[static_cast<size_t>(d)];
    append(here ? r.reduced : r.kept, x->sizes[d], x->strides[d]);
    if (!here || keepdim) want.push_back(here ? 1 : x->sizes[d]);
  }
  const TensorDesc& y = p.outputs[0];
  if (y.sizes != want || !y.is_contiguous()) return no("output ", y, ", want dense ", want);
  const bool picks = r.kind == Reduction::max || r.kind == Reduction::min || r.kind == Reduction::argmax;
  if (picks && r.reduced.numel() == 0 && r.kept.numel() != 0) return no(p.op, " over no elements");
  const bool logical = r.kind == Reduction::any || r.kind == Reduction::all;
  if (logical != (y.dtype == DType::boolean) && !(picks && x->dtype == DType::boolean))
    return no("output of ", y.dtype);
  if (r.kind == Reduction::argmax && y.dtype != DType::i64) return no("output of ", y.dtype);
  if ((r.kind == Reduction::mean || r.kind == Reduction::var) && !is_float(y.dtype)) return no("output of ", y.dtype);
  return yes();
}

namespace {

Reduce read_or_throw(const Problem& p) {
  Reduce r;
  const Verdict v = read_reduction(p, r);
  KPT_CHECK(v.ok, "kernels.reduce", "got ", p.str(), ": ", v.reason);
  return r;
}

// --- plain loops ---------------------------------------------------------------------------------------------------

int64_t load_whole(DType dtype, const void* p) {
  if (dtype != DType::i64) return static_cast<int64_t>(load_as_double(dtype, p));
  int64_t v;
  std::memcpy(&v, p, sizeof v);
  return v;
}

// The result of one output element. T: double, or int64_t for integers and bool.
template <class T>
T reduce_one(const Reduce& r, const RowMap& map, const char* x) {
  const int64_t n = r.reduced.numel();
  const auto at = [&](int64_t i) -> T {
    const char* p = shifted(x, map.offset(i), r.reduced.dtype);
    if constexpr (std::is_same_v<T, int64_t>)
      return load_whole(r.reduced.dtype, p);
    else
      return load_as_double(r.reduced.dtype, p);
  };
  const auto nan = [](T v) { return v != v; };
  switch (r.kind) {
    case Reduction::any:
    case Reduction::all: {
      const bool any = r.kind == Reduction::any;
      for (int64_t i = 0; i < n; ++i)
        if ((at(i) != 0) == any) return any;
      return !any;
    }
    case Reduction::max:
    case Reduction::min:
    case Reduction::argmax: {
      T best = at(0);
      int64_t where = 0;
      for (int64_t i = 1; i < n && !nan(best); ++i) {
        const T v = at(i);
        if (nan(v) || (r.kind == Reduction::min ? v < best : v > best)) {
          best = v;
          where = i;
        }
      }
      return r.kind == Reduction::argmax ? static_cast<T>(where) : best;
    }
    default: break;
  }
  T sum = 0;
  for (int64_t i = 0; i < n; ++i) sum += at(i);
  return sum;
}

double moment(const Reduce& r, const RowMap& map, const char* x) {
  const double n = static_cast<double>(r.reduced.numel());
  const double mean = reduce_one<double>(r, map, x) / n;
  if (r.kind == Reduction::mean) return mean;
  double squares = 0;
  for (int64_t i = 0; i < r.reduced.numel(); ++i)
    squares += std::pow(load_as_double(r.reduced.dtype, shifted(x, map.offset(i), r.reduced.dtype)) - mean, 2);
  return squares / std::max(0.0, n - static_cast<double>(r.correction));
}

void plain(const Reduce& r, const RowMap& kept, const RowMap& reduced, const void* x, const TensorDesc& y, void* to,
           int64_t i) {
  const char* from = shifted(x, kept.offset(i), r.kept.dtype);
  char* out = shifted(to, i, y.dtype);
  if (r.kind == Reduction::mean || r.kind == Reduction::var) {
    store_from_double(y.dtype, out, moment(r, reduced, from));
  } else if (is_float(r.kept.dtype)) {
    store_from_double(y.dtype, out, reduce_one<double>(r, reduced, from));
  } else {
    const int64_t whole = reduce_one<int64_t>(r, reduced, from);
    if (y.dtype == DType::i64) {
      std::memcpy(out, &whole, sizeof whole);
    } else {
      store_from_double(y.dtype, out, static_cast<double>(whole));
    }
  }
}

std::unique_ptr<Launch> make_plain(const Problem& p, int threads) {
  const Reduce r = read_or_throw(p);
  const RowMap kept(r.kept, r.kept.sizes.rank()), reduced(r.reduced, r.reduced.sizes.rank());
  const Split split(kept.rows(), r.reduced.numel() * 16, threads);
  return make_launch(
      [=, y = p.outputs[0]](const RunArgs& args) {
        parallel(kept.rows() ? split.tasks : 0, split.threads, [&](int64_t task, int) {
          for (int64_t i = split.begin(task, kept.rows()); i < split.begin(task + 1, kept.rows()); ++i)
            plain(r, kept, reduced, args.inputs[r.in], y, args.outputs[0], i);
        });
      },
      0, "plain");
}

// --- vectors -------------------------------------------------------------------------------------------------------

ReduceFns fns_of(const Reduce& r, DType y) {
  const bool vector_kind = r.kind != Reduction::any && r.kind != Reduction::all && r.kind != Reduction::argmax;
  if (!vector_kind || !elem_of(r.kept.dtype) || !elem_of(y) || r.reduced.numel() == 0 || r.kept.numel() == 0)
    return {nullptr, nullptr};
#define KPT_ENTRY(isa) isa::reduce_fns
  static constexpr ReduceFns (*kTable[])(Elem, Elem) = KPT_ISA_TABLE(KPT_ENTRY);
#undef KPT_ENTRY
  return kTable[static_cast<size_t>(cpu_isa())](*elem_of(r.kept.dtype), *elem_of(y));
}

bool is_run(const TensorDesc& d) { return d.sizes.rank() == 0 || (d.sizes.rank() == 1 && d.strides[0] == 1); }

std::unique_ptr<Launch> make_rows(const Reduce& r, void (*fn)(const ReduceRun&), DType y, int threads) {
  const RowMap kept(r.kept, r.kept.sizes.rank());
  const int64_t n = r.reduced.numel();
  const Split split(kept.rows(), n * 4, threads);
  return make_launch(
      [=](const RunArgs& args) {
        parallel(split.tasks, split.threads, [&](int64_t task, int) {
          for (int64_t i = split.begin(task, kept.rows()); i < split.begin(task + 1, kept.rows()); ++i)
            fn({r.kind, shifted(args.inputs[r.in], kept.offset(i), r.kept.dtype), shifted(args.outputs[0], i, y), n, 1,
                1, 0, 1, r.correction, nullptr});
        });
      },
      0, cat("rows threads ", split.threads));
}

// The last kept dimension is dense: blocks of it side by side.
std::unique_ptr<Launch> make_columns(const Reduce& r, void (*fn)(const ReduceRun&), DType y, int threads) {
  const int last = r.kept.sizes.rank() - 1;
  const RowMap outer(r.kept, last);
  const int64_t width = r.kept.sizes[last], blocks = (width + kColumns - 1) / kColumns;
  const bool two = r.reduced.sizes.rank() == 2;
  const auto size = [&](int d) { return r.reduced.sizes.rank() > d ? r.reduced.sizes[d] : 1; };
  const auto stride = [&](int d) { return r.reduced.sizes.rank() > d ? r.reduced.strides[d] : 0; };
  const int64_t n0 = size(0), s0 = stride(0), n1 = two ? size(1) : 1, s1 = two ? stride(1) : 0;
  const int64_t units = outer.rows() * blocks;
  const Split split(units, n0 * n1 * std::min(width, kColumns) * 4, threads);
  const int64_t scratch = 2 * kColumns * 4;
  return make_launch(
      [=](const RunArgs& args) {
        parallel(split.tasks, split.threads, [&](int64_t task, int worker) {
          float* acc = reinterpret_cast<float*>(static_cast<char*>(args.workspace) + worker * scratch);
          for (int64_t u = split.begin(task, units); u < split.begin(task + 1, units); ++u) {
            const int64_t row = u / blocks, begin = u % blocks * kColumns, count = std::min(kColumns, width - begin);
            fn({r.kind, shifted(args.inputs[r.in], outer.offset(row) + begin, r.kept.dtype),
                shifted(args.outputs[0], row * width + begin, y), n0, s0, n1, s1, count, r.correction, acc});
          }
        });
      },
      static_cast<size_t>(scratch * split.threads), cat("columns threads ", split.threads));
}

Verdict supports(const Problem& p) {
  Reduce r;
  return read_reduction(p, r);
}

std::unique_ptr<Launch> make(const Problem& p) {
  const Reduce r = read_or_throw(p);
  const DType y = p.outputs[0].dtype;
  const ReduceFns fns = fns_of(r, y);
  const int kept = r.kept.sizes.rank();
  if (fns.row && is_run(r.reduced)) return make_rows(r, fns.row, y, p.threads);
  if (fns.columns && kept > 0 && r.kept.strides[kept - 1] == 1 && r.reduced.sizes.rank() <= 2)
    return make_columns(r, fns.columns, y, p.threads);
  return make_plain(p, p.threads);
}

}  // namespace

void register_reduce(KernelRegistry& registry) {
  for (const char* op : {"aten.sum.dim_IntList", "aten.mean.dim", "aten.amax", "aten.amin", "aten.var.correction",
                         "aten.any.dim", "aten.all.dim", "aten.argmax"}) {
    add_cpu(registry, op, "reduce", supports, make);
    add_reference(registry, op, "reduce", supports, [](const Problem& p) { return make_plain(p, 1); });
  }
}

}  // namespace kpt
