// SPDX-License-Identifier: Apache-2.0
#include "kpt/kernels/join/join_problem.h"

#include <algorithm>

#include "kpt/kernels/lib/launch.h"

namespace kpt {

void keep_range(TensorDesc& desc, int64_t& offset, int d, int64_t start, int64_t size, int64_t step) {
  offset += start * desc.strides[d];
  desc.sizes[d] = size;
  desc.strides[d] *= step;
}

namespace {

Verdict cat_parts(const Problem& p, Join& j) {
  const TensorDesc& y = p.outputs[0];
  const int dim = normal_dim(get_int(p.kwargs, "dim", 0), y.sizes.rank());
  if (dim < 0 || y.sizes.rank() == 0) return no("dim ", get_int(p.kwargs, "dim", 0), " of ", y);
  int64_t at = 0;
  for (int i : p.operand_list(0)) {
    if (i < 0) return no("an input is no tensor");
    JoinPart part{i, p.inputs[static_cast<size_t>(i)], y, 0, 0};
    if (part.from.sizes == Dims{0}) continue;
    if (part.from.sizes.rank() != y.sizes.rank()) return no("input ", part.from, " of another rank than ", y);
    keep_range(part.to, part.to_offset, dim, at, part.from.sizes[dim], 1);
    at += part.from.sizes[dim];
    j.parts.push_back(part);
  }
  return at == y.sizes[dim] ? yes() : no("inputs add up to ", at, " along dim ", dim, " of ", y);
}

// pad: (before, after) of the last dimension first.
Verdict pad_parts(const Problem& p, Join& j) {
  const std::vector<int64_t> pad = get_ints(p.kwargs, "pad");
  JoinPart part{p.operand_index(0), *p.operand(0), p.outputs[0], 0, 0};
  const int rank = part.from.sizes.rank();
  if (pad.size() % 2 || static_cast<int>(pad.size() / 2) > rank || part.to.sizes.rank() != rank)
    return no("pads ", pad.size(), " sides of ", part.from);
  j.start = Dims::filled(rank, 0);
  for (size_t i = 0; i < pad.size(); i += 2) {
    const int d = rank - 1 - static_cast<int>(i / 2);
    if (part.to.sizes[d] != part.from.sizes[d] + pad[i] + pad[i + 1])
      return no("output ", p.outputs[0], " does not fit the padding");
    const int64_t crop_before = std::max<int64_t>(0, -pad[i]), crop_after = std::max<int64_t>(0, -pad[i + 1]);
    const int64_t kept = std::max<int64_t>(0, part.from.sizes[d] - crop_before - crop_after);
    j.start[d] = std::max<int64_t>(0, pad[i]);
    keep_range(part.from, part.from_offset, d, crop_before, kept, 1);
    keep_range(part.to, part.to_offset, d, j.start[d], kept, 1);
  }
  j.parts = {part};
  j.fill = std::any_of(pad.begin(), pad.end(), [](int64_t n) { return n > 0; });
  j.value = get_float(p.kwargs, "value", 0);
  return yes();
}

// Dimension d of the output, [repeat, size], is read from [0, stride].
Verdict repeat_parts(const Problem& p, Join& j) {
  const std::vector<int64_t> repeats = get_ints(p.kwargs, "repeats");
  const TensorDesc& x = *p.operand(0);
  const TensorDesc& y = p.outputs[0];
  const int rank = static_cast<int>(repeats.size()), shift = rank - x.sizes.rank();
  if (shift < 0 || y.sizes.rank() != rank) return no("repeats ", x, " ", rank, " ways to ", y);
  JoinPart part{p.operand_index(0), {x.dtype, {}, {}}, {y.dtype, {}, {}}, 0, 0};
  int pieces = 0;
  for (int d = 0; d < rank; ++d) {
    const int64_t size = d < shift ? 1 : x.sizes[d - shift];
    if (y.sizes[d] != size * repeats[static_cast<size_t>(d)]) return no("output ", y, " does not fit the repeats");
    pieces += (repeats[static_cast<size_t>(d)] != 1) + (size != 1);
  }
  if (pieces > kMaxRank) return no("repeat of rank ", rank, " needs ", pieces, " dimensions, at most ", kMaxRank);
  for (int d = 0; d < rank; ++d) {
    const int64_t size = d < shift ? 1 : x.sizes[d - shift], times = repeats[static_cast<size_t>(d)];
    const auto add = [&](int64_t n, int64_t from, int64_t to) {
      if (n == 1) return;
      part.from.sizes.push_back(n);
      part.to.sizes.push_back(n);
      part.from.strides.push_back(from);
      part.to.strides.push_back(to);
    };
    add(times, 0, y.strides[d] * size);
    add(size, d < shift ? 0 : x.strides[d - shift], y.strides[d]);
  }
  j.parts = {part};
  return yes();
}

Verdict scatter_parts(const Problem& p, Join& j) {
  const TensorDesc& y = p.outputs[0];
  if (!p.operand(1)) return no("want x and src");
  const TensorDesc& x = *p.operand(0);
  JoinPart whole{p.operand_index(0), x, y, 0, 0}, part{p.operand_index(1), *p.operand(1), y, 0, 0};
  const int dim = normal_dim(get_int(p.kwargs, "dim", 0), y.sizes.rank());
  if (dim < 0 || x.sizes != y.sizes || y.sizes.rank() == 0) return no("from ", x, " to ", y);
  const int64_t size = y.sizes[dim];
  const bool select = p.op == "aten.select_scatter";
  int64_t start = get_int(p.kwargs, select ? "index" : "start", 0);
  const int64_t step = select ? 1 : get_int(p.kwargs, "step", 1);
  if (start < 0) start += size;
  int64_t end = select ? start + 1 : get_int(p.kwargs, "end", size);
  if (end < 0) end += size;
  if (!select) start = std::clamp<int64_t>(start, 0, size);
  end = std::clamp(end, std::max<int64_t>(start, 0), std::max(size, start));
  if (step < 1 || start < 0 || (select && start >= size)) return no("writes from ", start, " by ", step, " in ", size);
  keep_range(part.to, part.to_offset, dim, start, (end - start + step - 1) / step, step);
  if (select) {  // src lacks the dimension
    TensorDesc with{part.from.dtype, {}, {}};
    for (int d = 0, s = 0; d < y.sizes.rank(); ++d) {
      const bool here = d == dim;
      if (!here && s >= part.from.sizes.rank()) return no("src ", part.from, " in ", y);
      with.sizes.push_back(here ? 1 : part.from.sizes[s]);
      with.strides.push_back(here ? 0 : part.from.strides[s]);
      s += !here;
    }
    part.from = with;
  }
  j.parts = {whole, part};
  if (step > 1) return yes();
  j.start = Dims::filled(y.sizes.rank(), 0);
  j.start[dim] = start;
  return yes();
}

}  // namespace

Verdict read_join(const Problem& p, Join& j) {
  if (p.outputs.size() != 1 || (p.op != "aten.cat" && !p.operand(0))) return no("want tensors in and one out");
  const Verdict v = p.op == "aten.cat"               ? cat_parts(p, j)
                    : p.op == "aten.constant_pad_nd" ? pad_parts(p, j)
                    : p.op == "aten.repeat"          ? repeat_parts(p, j)
                                                     : scatter_parts(p, j);
  if (!v) return v;
  for (const JoinPart& part : j.parts) {
    if (part.from.sizes != part.to.sizes) return no("part ", part.from.sizes, " does not fit ", part.to.sizes);
    if (part.from.dtype != part.to.dtype) return no("from ", part.from.dtype, " to ", part.to.dtype);
  }
  return yes();
}

}  // namespace kpt
