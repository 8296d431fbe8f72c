// SPDX-License-Identifier: Apache-2.0
#include "kpt/ir/rules.h"

namespace kpt {

namespace {

void same_shape(RuleChecker& c) { c.out_shape(c.sizes(0)); }

void along_axis(RuleChecker& c) {
  const auto& x = c.sizes(0);
  if (!x.empty()) c.axis(get_int(c.node.kwargs, "dim", -1), static_cast<int>(x.size()));
  c.out_shape(x);
}

// `dim` as PyTorch has it: a number, a list, or none for every axis.
std::vector<int64_t> axes(const Kwargs& kwargs) {
  const Attr* dim = find(kwargs, "dim");
  if (dim && dim->is<Sym>()) return {get_int(kwargs, "dim", 0)};
  return get_ints(kwargs, "dim");
}

void reduction(RuleChecker& c) {
  const auto& x = c.sizes(0);
  const auto dims = axes(c.node.kwargs);
  const bool keep = get_bool(c.node.kwargs, "keepdim", false);
  const int rank = static_cast<int>(x.size());
  std::vector<bool> reduced(x.size(), dims.empty());
  if (rank > 0)
    for (int64_t d : dims) reduced[static_cast<size_t>(c.axis(d, rank))] = true;
  std::vector<Sym> want;
  for (size_t i = 0; i < x.size(); ++i) {
    if (!reduced[i])
      want.push_back(x[i]);
    else if (keep)
      want.push_back(1);
  }
  for (const Value* out : c.node.outputs) c.shape(out->type.sizes, want, "output");
}

void norm(RuleChecker& c) {
  const auto& x = c.sizes(0);
  const auto tail = get_syms(c.node.kwargs, "normalized_shape");
  if (tail.empty() || tail.size() > x.size())
    return c.fail("got ", tail.size(), " normalised axes for rank ", x.size());
  c.shape({x.end() - static_cast<ptrdiff_t>(tail.size()), x.end()}, tail, "normalised axes");
  if (c.has(1)) c.shape(c.sizes(1), tail, "weight");
  if (c.has(2)) c.shape(c.sizes(2), tail, "bias");
  c.out_shape(x);
}

void add_norm(RuleChecker& c) {
  const auto& x = c.sizes(0);
  c.shape(c.sizes(1), x, "residual");
  const Sym width = c.dim(0, -1);
  if (c.has(2)) c.shape(c.sizes(2), {width}, "weight");
  if (c.has(3)) c.shape(c.sizes(3), {width}, "bias");
  for (const Value* out : c.node.outputs) c.shape(out->type.sizes, x, "output");
}

void rotary(RuleChecker& c) {
  const auto& x = c.sizes(0);
  const Sym width = c.dim(0, -1);
  if (width.is_const() && width.value() % 2 != 0) c.fail("got rows of ", width, ", want an even size");
  for (int table : {1, 2}) {
    c.equal(c.dim(table, -1), width, table == 1 ? "the last axis of cos" : "the last axis of sin");
    c.broadcast({x, c.sizes(table)}, x);
  }
  c.out_shape(x);
  if (c.has(0)) c.dtype(c.out().dtype, c.node.operand(0)->type.dtype, "output");
}

}  // namespace

void add_reduction_rules(RuleTable& table) {
  for (std::string_view op : {"aten.sum.dim_IntList", "aten.mean.dim", "aten.amax", "aten.amin", "aten.any.dim",
                              "aten.all.dim", "aten.argmax", "aten.var.correction"})
    table[op] = reduction;
  for (std::string_view op : {"aten.softmax.int", "aten.log_softmax.int", "aten.cumsum"}) table[op] = along_axis;
  for (std::string_view op : {"aten.tril", "aten.triu", "aten.group_norm", "aten.batch_norm"}) table[op] = same_shape;
  table["aten.layer_norm"] = norm;
  table["aten.rms_norm"] = norm;
  table["kpt.add_norm"] = add_norm;
  table["kpt.rotary"] = rotary;
}

}  // namespace kpt
