// SPDX-License-Identifier: Apache-2.0
#include "kpt/kernels/join/join.h"

#include <algorithm>
#include <cstring>

#include "kpt/kernels/lib/copy/strided_copy.h"
#include "kpt/kernels/lib/launch.h"

namespace kpt {
namespace {

// One copy: a part of input `in` to a part of the output. Offsets in elements.
struct Part {
  int in = 0;
  TensorDesc from, to;
  int64_t from_offset = 0, to_offset = 0;
};

// fill: the whole output is set to `value` first.
struct Join {
  std::vector<Part> parts;
  bool fill = false;
  double value = 0;
};

// The elements [start, start + size * step) of dimension d.
void cut(TensorDesc& desc, int64_t& offset, int d, int64_t start, int64_t size, int64_t step) {
  offset += start * desc.strides[d];
  desc.sizes[d] = size;
  desc.strides[d] *= step;
}

Verdict cat_parts(const Problem& p, Join& j) {
  const TensorDesc& y = p.outputs[0];
  const int dim = normal_dim(get_int(p.kwargs, "dim", 0), y.sizes.rank());
  if (dim < 0 || y.sizes.rank() == 0) return no("dim ", get_int(p.kwargs, "dim", 0), " of ", y);
  int64_t at = 0;
  for (int i : p.operand_list(0)) {
    if (i < 0) return no("an input is no tensor");
    Part part{i, p.inputs[static_cast<size_t>(i)], y, 0, 0};
    if (part.from.sizes == Dims{0}) continue;
    if (part.from.sizes.rank() != y.sizes.rank()) return no("input ", part.from, " of another rank than ", y);
    cut(part.to, part.to_offset, dim, at, part.from.sizes[dim], 1);
    at += part.from.sizes[dim];
    j.parts.push_back(part);
  }
  return at == y.sizes[dim] ? yes() : no("inputs add up to ", at, " along dim ", dim, " of ", y);
}

// pad: (before, after) of the last dimension first.
Verdict pad_parts(const Problem& p, Join& j) {
  const std::vector<int64_t> pad = get_ints(p.kwargs, "pad");
  Part part{p.operand_index(0), *p.operand(0), p.outputs[0], 0, 0};
  const int rank = part.from.sizes.rank();
  if (pad.size() % 2 || static_cast<int>(pad.size() / 2) > rank || part.to.sizes.rank() != rank)
    return no("pads ", pad.size(), " sides of ", part.from);
  for (size_t i = 0; i < pad.size(); i += 2) {
    const int d = rank - 1 - static_cast<int>(i / 2);
    if (part.to.sizes[d] != part.from.sizes[d] + pad[i] + pad[i + 1])
      return no("output ", p.outputs[0], " does not fit the padding");
    const int64_t crop_before = std::max<int64_t>(0, -pad[i]), crop_after = std::max<int64_t>(0, -pad[i + 1]);
    const int64_t kept = std::max<int64_t>(0, part.from.sizes[d] - crop_before - crop_after);
    cut(part.from, part.from_offset, d, crop_before, kept, 1);
    cut(part.to, part.to_offset, d, std::max<int64_t>(0, pad[i]), kept, 1);
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
  Part part{p.operand_index(0), {x.dtype, {}, {}}, {y.dtype, {}, {}}, 0, 0};
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
  Part whole{p.operand_index(0), x, y, 0, 0}, part{p.operand_index(1), *p.operand(1), y, 0, 0};
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
  cut(part.to, part.to_offset, dim, start, (end - start + step - 1) / step, step);
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
  return yes();
}

Verdict read(const Problem& p, Join& j) {
  if (p.outputs.size() != 1 || (p.op != "aten.cat" && !p.operand(0))) return no("want tensors in and one out");
  const Verdict v = p.op == "aten.cat"               ? cat_parts(p, j)
                    : p.op == "aten.constant_pad_nd" ? pad_parts(p, j)
                    : p.op == "aten.repeat"          ? repeat_parts(p, j)
                                                     : scatter_parts(p, j);
  if (!v) return v;
  for (const Part& part : j.parts) {
    if (part.from.sizes != part.to.sizes) return no("part ", part.from.sizes, " does not fit ", part.to.sizes);
    if (part.from.dtype != part.to.dtype) return no("from ", part.from.dtype, " to ", part.to.dtype);
  }
  return yes();
}

Join parts_of(const Problem& p) {
  Join j;
  const Verdict v = read(p, j);
  KPT_CHECK(v.ok, "kernels.join", "got ", p.str(), ": ", v.reason);
  return j;
}

Verdict supports(const Problem& p) {
  Join j;
  return read(p, j);
}

std::unique_ptr<Launch> make(const Problem& p) {
  const Join j = parts_of(p);
  std::vector<std::shared_ptr<const Launch>> copies;
  for (const Part& part : j.parts) copies.push_back(make_copy(part.from, part.to, p.threads));
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
      const Part& part = j.parts[i];
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
    for (const Part& part : j.parts) {
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
