// SPDX-License-Identifier: Apache-2.0
#include "kpt/ir/rules.h"

namespace kpt {

namespace {

// The sizes an attribute says must be the output's; -1, as captured, stands for the one that fits.
void said_shape(RuleChecker& c, const char* attribute) {
  if (!find(c.node.kwargs, attribute)) return;
  std::vector<Sym> said = get_syms(c.node.kwargs, attribute);
  const auto& out = c.out().sizes;
  for (size_t i = 0; i < said.size() && said.size() == out.size(); ++i)
    if (said[i] == Sym(-1)) said[i] = out[i];
  c.shape(said, out, attribute);
}

void reshape(RuleChecker& c) {
  const Sym have = numel(c.sizes(0));
  const Sym want = numel(c.out().sizes);
  if (c.differ(have, want)) c.fail("got ", have, " elements for an output of ", want);
  said_shape(c, "shape");
}

void permute(RuleChecker& c) {
  const auto& x = c.sizes(0);
  const auto dims = get_ints(c.node.kwargs, "dims");
  if (dims.size() != x.size()) return c.fail("got ", dims.size(), " dims for rank ", x.size());
  std::vector<bool> seen(x.size());
  std::vector<Sym> want;
  for (int64_t d : dims) {
    const size_t at = static_cast<size_t>(c.axis(d, static_cast<int>(x.size())));
    if (!c.ok()) return;
    if (seen[at]) return c.fail("got axis ", d, " twice in dims");
    seen[at] = true;
    want.push_back(x[at]);
  }
  c.out_shape(want);
}

void expand(RuleChecker& c) {
  const auto& x = c.sizes(0);
  const auto& out = c.out().sizes;
  if (out.size() < x.size()) return c.fail("got rank ", x.size(), " for an output of rank ", out.size());
  for (size_t i = 0; i < x.size(); ++i) {
    const Sym& want = out[out.size() - x.size() + i];
    if (c.differ(x[i], want) && c.differ(x[i], Sym(1))) c.fail("got size ", x[i], " on axis ", i, ", want 1 or ", want);
  }
  said_shape(c, "size");
}

// A position as PyTorch reads it: negative counts from the end, beyond an end is that end. Captured graphs hold these.
Sym resolve(RuleChecker& c, const Sym& position, const Sym& size) {
  const Sym at = c.surely_less(position, 0) ? position + size : position;
  if (c.surely_less(at, 0)) return 0;
  return c.surely_less(size, at) ? size : at;
}

void slice(RuleChecker& c) {
  std::vector<Sym> want = c.sizes(0);
  const size_t d = static_cast<size_t>(c.axis(get_int(c.node.kwargs, "dim", 0), static_cast<int>(want.size())));
  if (!c.ok()) return;
  const Sym start = resolve(c, get_sym(c.node.kwargs, "start", 0), want[d]);
  const Sym given = get_sym(c.node.kwargs, "end", want[d]);
  const bool open = given.is_const() && given.value() == INT64_MAX;
  const Sym end = open ? want[d] : resolve(c, given, want[d]);
  const int64_t step = get_int(c.node.kwargs, "step", 1);
  if (step < 1) return c.fail("got step ", step, ", want 1 or more");
  if (c.surely_less(end, start)) return c.fail("got ", start, " to ", end, ", want 0 <= start <= end <= ", want[d]);
  if (!c.surely_less(end, want[d] + 1)) return;  // PyTorch clamps: which end it is depends on the sizes
  want[d] = floordiv(end - start + (Sym(step) - 1), step);
  c.out_shape(want);
}

void select(RuleChecker& c) {
  std::vector<Sym> want = c.sizes(0);
  const int d = c.axis(get_int(c.node.kwargs, "dim", 0), static_cast<int>(want.size()));
  if (!c.ok()) return;
  const Sym size = want[static_cast<size_t>(d)];
  const Sym given = get_sym(c.node.kwargs, "index", 0);
  const Sym index = c.surely_less(given, 0) ? given + size : given;
  if (c.surely_less(index, 0) || c.surely_less(size - 1, index))
    return c.fail("got index ", given, ", want one in [-", size, ", ", size, ")");
  want.erase(want.begin() + d);
  c.out_shape(want);
}

void cat_rule(RuleChecker& c) {
  if (c.node.inputs.empty()) return c.fail("got no tensors");
  std::vector<Sym> want = c.node.inputs.front()->type.sizes;
  const int d = c.axis(get_int(c.node.kwargs, "dim", 0), static_cast<int>(want.size()));
  if (!c.ok()) return;
  Sym total = 0;
  for (const Value* v : c.node.inputs) {
    const auto& s = v->type.sizes;
    if (s.size() != want.size()) {
      // PyTorch drops an empty f32[0] among others; where one stands, nothing is proven.
      if (s.size() == 1 || want.size() == 1) return;
      return c.fail("got ranks ", want.size(), " and ", s.size());
    }
    for (int i = 0; i < static_cast<int>(want.size()); ++i) {
      const size_t k = static_cast<size_t>(i);
      if (i == d)
        total = total + s[k];
      else
        c.equal(s[k], want[k], cat("axis ", i, " of %", v->name));
    }
  }
  want[static_cast<size_t>(d)] = total;
  c.out_shape(want);
}

void constant(RuleChecker& c) {
  const Attr* value = find(c.node.kwargs, "value");
  if (!value || !value->is<AttrList>()) return c.fail("got no value, want value=[..]");
  const Sym count = static_cast<int64_t>(value->as<AttrList>().size());
  if (numel(c.out().sizes) != count) c.fail("got ", count, " numbers for ", c.out());
  for (const Attr& item : value->as<AttrList>()) {
    const bool number = item.is<double>() || item.is<bool>() || (item.is<Sym>() && item.as<Sym>().is_const());
    if (!number) return c.fail("got something else than numbers in value");
  }
  const Attr* dtype = find(c.node.kwargs, "dtype");
  if (dtype && dtype->is<DType>()) c.dtype(c.out().dtype, dtype->as<DType>(), "output");
}

void full(RuleChecker& c) {
  if (find(c.node.kwargs, "size")) c.out_shape(get_syms(c.node.kwargs, "size"));
}

void repeat(RuleChecker& c) {
  const auto repeats = get_syms(c.node.kwargs, "repeats");
  const auto& x = c.sizes(0);
  if (repeats.size() < x.size()) return c.fail("got ", repeats.size(), " repeats for rank ", x.size());
  std::vector<Sym> want = repeats;
  const size_t lead = repeats.size() - x.size();
  for (size_t i = 0; i < x.size(); ++i) want[lead + i] = want[lead + i] * x[i];
  c.out_shape(want);
}

}  // namespace

void add_view_rules(RuleTable& table) {
  table["aten.reshape"] = reshape;
  table["aten.permute"] = permute;
  table["aten.expand"] = expand;
  table["aten.slice.Tensor"] = slice;
  table["aten.select.int"] = select;
  table["aten.cat"] = cat_rule;
  table["aten.repeat"] = repeat;
  table["aten.full"] = full;
  table["kpt.constant"] = constant;
}

}  // namespace kpt
