// SPDX-License-Identifier: Apache-2.0
// Views, identities and casts.
#include <algorithm>

#include "kpt/base/dims.h"
#include "kpt/passes/canonicalise/canonicalise.h"

namespace kpt::canonical {
namespace {

bool to_reshape(Site& s) {
  Value* x = s.x();
  if (!x || s.node.outputs.size() != 1 || x->type.dtype != s.out().dtype) return false;  // view.dtype reads bits anew
  const bool in_form = s.node.op == "aten.reshape" && get_syms(s.node.kwargs, "shape") == s.out().sizes &&
                       s.node.kwargs.size() == 1 && s.node.args.size() == 1;
  if (in_form && x->type.sizes != s.out().sizes && !(x->producer && x->producer->op == "aten.reshape")) return false;
  return s.become(s.rw.reshape(x, s.out().sizes));
}

// The order of dimensions `dims`, which the node's name says how to read; empty where it cannot be read.
std::vector<int64_t> order_of(const Site& s, int rank) {
  std::vector<int64_t> order;
  for (int d = 0; d < rank; ++d) order.push_back(d);
  const std::string& op = s.node.op;
  const auto swap_dims = [&](int64_t a, int64_t b) {
    if (rank >= 2)
      std::swap(order[static_cast<size_t>(wrap_dim(a, rank))], order[static_cast<size_t>(wrap_dim(b, rank))]);
  };
  const auto ints = [&](std::string_view name) {
    std::vector<int64_t> dims = get_ints(s.node.kwargs, name);
    for (int64_t& d : dims) d = wrap_dim(d, rank);
    return dims;
  };
  if (op == "aten.permute") return ints("dims");
  if (op == "aten.transpose.int") swap_dims(get_int(s.node.kwargs, "dim0", 0), get_int(s.node.kwargs, "dim1", 0));
  if (op == "aten.swapaxes") swap_dims(get_int(s.node.kwargs, "axis0", 0), get_int(s.node.kwargs, "axis1", 0));
  if (op == "aten.t" || op == "aten.mT") swap_dims(-2, -1);
  if (op == "aten.numpy_T") std::reverse(order.begin(), order.end());
  if (op == "aten.movedim.int" || op == "aten.movedim.intlist") {
    const bool one = op == "aten.movedim.int";
    const std::vector<int64_t> from = one ? std::vector<int64_t>{s.dim("source", 0, rank)} : ints("source");
    const std::vector<int64_t> to = one ? std::vector<int64_t>{s.dim("destination", 0, rank)} : ints("destination");
    if (from.size() != to.size()) return {};
    std::vector<int64_t> moved(order.size(), -1), rest;
    for (size_t i = 0; i < from.size(); ++i) moved[static_cast<size_t>(to[i])] = from[i];
    for (int64_t d : order)
      if (std::find(from.begin(), from.end(), d) == from.end()) rest.push_back(d);
    size_t next = 0;
    for (int64_t& d : moved)
      if (d < 0) d = rest[next++];
    return moved;
  }
  return order;
}

bool to_permute(Site& s) {
  Value* x = s.x();
  const std::vector<int64_t> order = order_of(s, x->type.rank());
  if (static_cast<int>(order.size()) != x->type.rank()) return false;
  const bool in_form = s.node.op == "aten.permute" && get_ints(s.node.kwargs, "dims") == order;
  const bool folds = x->producer && x->producer->op == "aten.permute";
  if (in_form && !folds && !std::is_sorted(order.begin(), order.end())) return false;
  return s.become(s.rw.permute(x, order));
}

bool to_expand(Site& s) {
  Value* x = s.x();
  const Kwargs form{{"size", AttrList(s.out().sizes.begin(), s.out().sizes.end())}, {"implicit", false}};
  const bool folds = x->type.sizes == s.out().sizes || (x->producer && x->producer->op == "aten.expand");
  if (s.node.op == "aten.expand" && !folds && same_kwargs(s.node.kwargs, form)) return false;
  return s.become(s.rw.expand(x, s.out().sizes));
}

// Each element of a dimension several times, one behind the other.
bool repeat_interleave(Site& s) {
  Value* x = s.x();
  const Attr times = s.kw("repeats");
  if (!x || s.kw("dim").is_none() || !times.is<Sym>() || !times.as<Sym>().is_const() || x->type.rank() >= kMaxRank)
    return false;
  std::vector<Sym> sizes = x->type.sizes;
  const int64_t behind = s.dim("dim", 0, x->type.rank()) + 1;
  sizes.insert(sizes.begin() + behind, Sym(1));
  Value* apart = s.rw.reshape(x, sizes);
  sizes[static_cast<size_t>(behind)] = times.as<Sym>();
  return s.become(s.rw.reshape(s.rw.expand(apart, sizes), s.out().sizes));
}

// The first element a slice takes, as 0 <= start <= size; none where the symbols leave it open.
std::optional<Sym> first_of(const Site& s, const Sym& size, const Sym& length, int64_t step) {
  if (length == Sym(0)) return Sym(0);
  const Attr start = s.kw("start");
  if (start.is_none()) return Sym(0);
  if (!start.is<Sym>()) return std::nullopt;
  const Sym at = start.as<Sym>();
  const auto provably_positive = [&](const Sym& v) { return v.range(s.graph.symbols).lo >= 0; };
  if (provably_positive(at)) return at;
  if (at.range(s.graph.symbols).hi >= 0) return std::nullopt;  // either sign
  const Sym from_end = size + at;
  if (from_end.is_const()) return Sym(std::max<int64_t>(from_end.value(), 0));
  if (provably_positive(from_end)) return from_end;
  // x[-k:] of a dimension that may be shorter than k: the length says where it starts.
  const Attr end = s.kw("end");
  const bool to_end = end.is_none() || (end.is<Sym>() && end.as<Sym>() == Sym(INT64_MAX));
  return step == 1 && to_end ? std::optional<Sym>(size - length) : std::nullopt;
}

bool to_slice(Site& s) {
  Value* x = s.x();
  if (x->type.rank() == 0) return false;
  const int64_t dim = s.dim("dim", 0, x->type.rank());
  const int64_t step = get_int(s.node.kwargs, "step", 1);
  const Sym size = x->type.sizes[static_cast<size_t>(dim)], length = s.out().sizes[static_cast<size_t>(dim)];
  const std::optional<Sym> start = first_of(s, size, length, step);
  if (!start) return false;
  if (s.node.op == "aten.slice.Tensor" && !(step == 1 && length == size)) {
    const Sym end = step == 1 || length == Sym(0) ? *start + length : *start + (length - Sym(1)) * Sym(step) + Sym(1);
    const Kwargs form{{"dim", dim}, {"start", *start}, {"end", end}, {"step", step}};
    const Node* p = x->producer;
    const bool folds = p && p->op == "aten.slice.Tensor" && get_int(p->kwargs, "dim", 0) == dim &&
                       get_int(p->kwargs, "step", 1) == 1 &&
                       get_sym(p->kwargs, "start", 0).range(s.graph.symbols).lo >= 0;
    if (!folds && same_kwargs(s.node.kwargs, form)) return false;
  }
  return s.become(s.rw.slice(x, dim, *start, length, step));
}

bool select_int(Site& s) {
  Value* x = s.x();
  const int64_t dim = s.dim("dim", 0, x->type.rank());
  Sym index = get_sym(s.node.kwargs, "index", 0);
  if (index.range(s.graph.symbols).hi < 0) index = index + x->type.sizes[static_cast<size_t>(dim)];
  const Kwargs form{{"dim", dim}, {"index", index}};
  if (same_kwargs(s.node.kwargs, form)) return false;
  return s.become(s.rw.select(x, dim, index));
}

// split, split_with_sizes, chunk, tensor_split: the pieces follow each other, their sizes are in the output types.
bool pieces(Site& s) {
  Value* x = s.x();
  if (x->type.rank() == 0) return false;
  const int64_t dim = s.dim("dim", 0, x->type.rank());
  Sym start = 0;
  for (Value* piece : s.node.outputs) {
    const Sym length = piece->type.sizes[static_cast<size_t>(dim)];
    if (s.graph.use_count(piece)) s.rw.replace(piece, s.rw.slice(x, dim, start, length));
    start = start + length;
  }
  s.graph.erase(&s.node);
  return true;
}

bool unbind(Site& s) {
  Value* x = s.x();
  const int64_t dim = s.dim("dim", 0, x->type.rank());
  for (size_t i = 0; i < s.node.outputs.size(); ++i)
    if (s.graph.use_count(s.node.outputs[i]))
      s.rw.replace(s.node.outputs[i], s.rw.select(x, dim, Sym(static_cast<int64_t>(i))));
  s.graph.erase(&s.node);
  return true;
}

bool cat_list(Site& s) {
  const std::vector<Value*> list = operand_list(s.node, 0);
  if (list.empty()) return false;
  if (list.size() == 1 && list[0]->type == s.out()) return s.become(list[0]);
  const int64_t dim = s.dim("dim", 0, s.out().rank());
  if (s.node.op == "aten.cat" && same_kwargs(s.node.kwargs, {{"dim", dim}})) return false;
  return s.become(s.rw.make_list("aten.cat", list, {{"dim", dim}}, s.out()));
}

bool stack(Site& s) {
  const int64_t dim = s.dim("dim", 0, s.out().rank());
  std::vector<Value*> list = operand_list(s.node, 0);
  if (list.empty()) return false;
  for (Value*& v : list) {
    std::vector<Sym> sizes = v->type.sizes;
    sizes.insert(sizes.begin() + dim, Sym(1));
    v = s.rw.reshape(v, sizes);
  }
  if (list.size() == 1) return s.become(list[0]);
  return s.become(s.rw.make_list("aten.cat", list, {{"dim", dim}}, s.out()));
}

bool identity(Site& s) {
  Value* x = s.x();
  return x && x->type == s.out() ? s.become(x) : false;
}

bool dropout(Site& s) { return get_bool(s.node.kwargs, "train", true) ? false : identity(s); }

bool cast(Site& s) {
  Value* x = s.x();
  if (!x || x->type.sizes != s.out().sizes) return false;
  if (x->type == s.out()) return s.become(x);
  return s.become("aten._to_copy", {{x, {}}}, {{"dtype", s.out().dtype}});
}

// Facts that capture has checked already: they say nothing to a kernel.
bool drop(Site& s) {
  for (Value* v : s.node.outputs)
    if (s.graph.use_count(v)) return false;
  s.graph.erase(&s.node);
  return true;
}

}  // namespace

void add_view_rules(Rules& rules) {
  for (std::string_view op : {"aten.view", "aten._unsafe_view", "aten._reshape_alias", "aten.reshape",
                              "aten.flatten.using_ints", "aten.unflatten.int", "aten.unsqueeze", "aten.squeeze",
                              "aten.squeeze.dim", "aten.squeeze.dims", "aten.view_as", "aten.reshape_as", "aten.ravel"})
    rules[op] = to_reshape;
  for (std::string_view op : {"aten.permute", "aten.transpose.int", "aten.t", "aten.numpy_T", "aten.mT",
                              "aten.movedim.int", "aten.movedim.intlist", "aten.swapaxes"})
    rules[op] = to_permute;
  for (std::string_view op : {"aten.expand", "aten.expand_as", "aten.broadcast_to"}) rules[op] = to_expand;
  rules["aten.repeat_interleave.self_int"] = repeat_interleave;
  for (std::string_view op : {"aten.slice.Tensor", "aten.narrow"}) rules[op] = to_slice;
  for (std::string_view op :
       {"aten.split.Tensor", "aten.split.sizes", "aten.split_with_sizes", "aten.chunk", "aten.tensor_split.sections",
        "aten.tensor_split.indices", "aten.unsafe_split.Tensor", "aten.unsafe_split_with_sizes", "aten.unsafe_chunk"})
    rules[op] = pieces;
  for (std::string_view op : {"aten.contiguous", "aten.clone", "aten.detach", "aten.alias", "aten.lift_fresh_copy",
                              "aten.lift_fresh", "aten.lift", "aten.positive", "aten.resolve_conj", "aten.resolve_neg"})
    rules[op] = identity;
  for (std::string_view op :
       {"aten.dropout", "aten.alpha_dropout", "aten.feature_dropout", "aten.feature_alpha_dropout"})
    rules[op] = dropout;
  for (std::string_view op :
       {"aten._to_copy", "aten.to.dtype", "aten.to.device", "aten.to.dtype_layout", "aten.to.other", "aten.type_as"})
    rules[op] = cast;
  for (std::string_view op :
       {"aten._assert_tensor_metadata", "aten.sym_constrain_range", "aten.sym_constrain_range_for_size"})
    rules[op] = drop;
  rules["aten.select.int"] = select_int;
  rules["aten.unbind.int"] = unbind;
  rules["aten.cat"] = rules["aten.concat"] = rules["aten.concatenate"] = cat_list;
  rules["aten.stack"] = stack;
}

}  // namespace kpt::canonical
