// SPDX-License-Identifier: Apache-2.0
#include "kpt/kernels/rotary/rotary_problem.h"

#include <algorithm>
#include <array>

#include "kpt/base/threads.h"
#include "kpt/kernels/lib/cpu/isa.h"
#include "kpt/kernels/lib/launch.h"
#include "kpt/kernels/rotary/rotary_rows.h"

namespace kpt {
namespace {

// `table` with the sizes of x, stride 0 along broadcast dimensions.
Verdict broadcast(const TensorDesc& table, const TensorDesc& x, std::string_view what, TensorDesc& out) {
  const int rank = x.sizes.rank(), missing = rank - table.sizes.rank();
  if (table.sizes.rank() < 1 || missing < 0 || table.sizes.back() != x.sizes.back())
    return no(what, " ", table, " for x ", x);
  out = {table.dtype, x.sizes, Dims::filled(rank, 0)};
  for (int d = missing; d < rank; ++d) {
    const int64_t size = table.sizes[d - missing];
    if (size != x.sizes[d] && size != 1) return no(what, " ", table, " does not broadcast to x ", x);
    if (size == x.sizes[d]) out.strides[d] = table.strides[d - missing];
  }
  return yes();
}

}  // namespace

Verdict read_rotary(const Problem& p, Rotary& r) {
  if (p.args.size() != 3 || !p.operand(0) || !p.operand(1) || !p.operand(2)) return no("want x, cos and sin");
  if (p.outputs.size() != 1) return no("got ", p.outputs.size(), " outputs");
  r.x = *p.operand(0);
  r.y = p.outputs[0];
  const int rank = r.x.sizes.rank();
  if (rank < 1 || r.x.sizes.back() % 2 != 0) return no("rows of x ", r.x, " have no halves");
  if (r.y.sizes != r.x.sizes) return no("output ", r.y, " of other sizes than x ", r.x);
  if (Verdict v = broadcast(*p.operand(1), r.x, "cos", r.cos); !v) return v;
  if (Verdict v = broadcast(*p.operand(2), r.x, "sin", r.sin); !v) return v;
  r.half = r.x.sizes.back() / 2;
  for (int d = 0; d < rank - 1; ++d) r.rows *= r.x.sizes[d];
  return yes();
}

Verdict rotary_supports(const Problem& p) {
  Rotary r;
  if (Verdict v = read_rotary(p, r); !v) return v;
  if (!elem_of(r.x.dtype)) return no("dtype ", r.x.dtype);
  if (r.y.dtype != r.x.dtype) return no("x of ", r.x.dtype, ", output of ", r.y.dtype);
  if (r.cos.dtype != r.sin.dtype) return no("cos of ", r.cos.dtype, ", sin of ", r.sin.dtype);
  if (r.cos.dtype != r.x.dtype && r.cos.dtype != DType::f32) return no("cos of ", r.cos.dtype, ", x of ", r.x.dtype);
  return yes();
}

namespace {

// The leading dimensions, those of one index left out, neighbours merged where the strides of all four tensors allow.
struct Leading {
  Dims sizes;
  std::array<Dims, 4> strides;
};

Leading leading_of(const std::array<const TensorDesc*, 4>& tensors) {
  Leading all;
  const Dims& sizes = tensors[0]->sizes;
  for (int d = 0; d < sizes.rank() - 1; ++d) {
    if (sizes[d] == 1) continue;
    const int last = all.sizes.rank() - 1;
    bool merge = last >= 0;
    for (size_t t = 0; merge && t < 4; ++t) merge = all.strides[t][last] == tensors[t]->strides[d] * sizes[d];
    if (merge)
      all.sizes[last] *= sizes[d];
    else
      all.sizes.push_back(sizes[d]);
    for (size_t t = 0; t < 4; ++t) {
      if (merge)
        all.strides[t][last] = tensors[t]->strides[d];
      else
        all.strides[t].push_back(tensors[t]->strides[d]);
    }
  }
  if (all.sizes.rank() == 0) {
    all.sizes.push_back(1);
    for (Dims& s : all.strides) s.push_back(0);
  }
  return all;
}

Rotary read(const Problem& p) {
  Rotary r;
  const Verdict v = read_rotary(p, r);
  KPT_CHECK(v.ok, "kernels.rotary", "got ", p.str(), ": ", v.reason);
  return r;
}

std::unique_ptr<Launch> make(const Problem& p) {
  const Rotary r = read(p);
#define KPT_ENTRY(isa) isa::rotary_rows
  static constexpr RotaryFn (*kTable[])(Elem, Elem) = KPT_ISA_TABLE(KPT_ENTRY);
#undef KPT_ENTRY
  const RotaryFn fn = kTable[static_cast<size_t>(cpu_isa())](*elem_of(r.x.dtype), *elem_of(r.cos.dtype));
  const std::array<const TensorDesc*, 4> tensors = {&r.x, &r.cos, &r.sin, &r.y};
  const Leading leading = leading_of(tensors);
  const std::array<int, 3> inputs = {p.operand_index(0), p.operand_index(1), p.operand_index(2)};
  RotaryRows shape{};
  shape.half = r.half;
  std::array<int64_t, 4> size{};
  for (size_t t = 0; t < 4; ++t) {
    shape.row[t] = leading.strides[t].back();
    shape.step[t] = tensors[t]->strides.back();
    size[t] = static_cast<int64_t>(size_of(tensors[t]->dtype));
  }
  const int64_t rows = r.half ? r.rows : 0;
  const Split split(rows, r.half * 16, p.threads);
  const auto run = [=](const RunArgs& args) {
    parallel(rows ? split.tasks : 0, split.threads, [&](int64_t task, int) {
      const int64_t end = split.begin(task + 1, rows);
      for (int64_t row = split.begin(task, rows); row < end;) {
        RotaryRows some = shape;
        std::array<int64_t, 4> at{};
        int64_t index = row;
        for (int d = leading.sizes.rank() - 1; d >= 0; --d) {
          for (size_t t = 0; t < 4; ++t) at[t] += index % leading.sizes[d] * leading.strides[t][d] * size[t];
          index /= leading.sizes[d];
        }
        const int64_t inner = leading.sizes.back();
        some.count = std::min(end - row, inner - row % inner);
        some.x = static_cast<const char*>(args.inputs[inputs[0]]) + at[0];
        some.cos = static_cast<const char*>(args.inputs[inputs[1]]) + at[1];
        some.sin = static_cast<const char*>(args.inputs[inputs[2]]) + at[2];
        some.y = static_cast<char*>(args.outputs[0]) + at[3];
        fn(some);
        row += some.count;
      }
    });
  };
  return make_launch(run, 0, cat(name(cpu_isa()), " threads ", split.threads));
}

Verdict reference_supports(const Problem& p) {
  Rotary r;
  return read_rotary(p, r);
}

std::unique_ptr<Launch> make_reference(const Problem& p) {
  const Rotary r = read(p);
  const std::array<int, 3> inputs = {p.operand_index(0), p.operand_index(1), p.operand_index(2)};
  return make_launch([r, inputs](const RunArgs& args) {
    const Elements x(r.x, args.inputs[inputs[0]]), cos(r.cos, args.inputs[inputs[1]]),
        sin(r.sin, args.inputs[inputs[2]]);
    Elements y(r.y, args.outputs[0]);
    each_index(r.x.sizes, [&](const Dims& index) {
      Dims other = index;  // the element of the other half
      const bool first = index.back() < r.half;
      other[other.rank() - 1] += first ? r.half : -r.half;
      const double turned = first ? -x.get(other) : x.get(other);
      y.set(index, x.get(index) * cos.get(index) + turned * sin.get(index));
    });
  });
}

}  // namespace

void register_rotary(KernelRegistry& registry) {
  add_cpu(registry, "kpt.rotary", "rotary", rotary_supports, make);
  add_reference(registry, "kpt.rotary", "rotary", reference_supports, make_reference);
}

}  // namespace kpt
