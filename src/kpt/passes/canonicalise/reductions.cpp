// SPDX-License-Identifier: Apache-2.0
// Reductions and softmax: dimensions written out and counted from the front, a dtype argument becomes a cast before.
#include <algorithm>

#include "kpt/passes/canonicalise/canonicalise.h"

namespace kpt::canonical {
namespace {

// The dimensions reduced, sorted; absent and empty mean all.
AttrList dims_of(const Site& s, int rank) {
  std::vector<int64_t> dims;
  const Attr written = s.kw("dim");
  if (written.is<Sym>()) dims.push_back(written.as<Sym>().value());
  if (written.is<AttrList>()) dims = get_ints(s.node.kwargs, "dim");
  if (dims.empty())
    for (int d = 0; d < rank; ++d) dims.push_back(d);
  for (int64_t& d : dims) d = wrap_dim(d, rank);
  std::sort(dims.begin(), dims.end());
  AttrList list;
  for (int64_t d : dims) list.push_back(Sym(d));
  return list;
}

// sum, mean: PyTorch casts the input to `dtype` first, so a cast says the same.
bool sum_like(Site& s) {
  Value* x = s.x();
  if (x->type.rank() == 0) return false;
  const Attr dtype = s.kw("dtype");
  if (dtype.is<DType>()) x = s.rw.cast(x, dtype.as<DType>());
  const std::string op = s.node.op.substr(0, 8) == "aten.sum" ? "aten.sum.dim_IntList" : "aten.mean.dim";
  return s.become(
      op, {{x, {}}},
      {{"dim", dims_of(s, x->type.rank())}, {"keepdim", get_bool(s.node.kwargs, "keepdim", false)}, {"dtype", None{}}});
}

bool max_like(Site& s) {
  Value* x = s.x();
  if (x->type.rank() == 0) return false;
  const std::string op = s.node.op == "aten.max" || s.node.op == "aten.amax" ? "aten.amax" : "aten.amin";
  return s.become(op, {s.at(0)},
                  {{"dim", dims_of(s, x->type.rank())}, {"keepdim", get_bool(s.node.kwargs, "keepdim", false)}});
}

bool any_all(Site& s) {
  Value* x = s.x();
  if (x->type.rank() == 0) return false;
  const std::string op = s.node.op.substr(0, 8) + ".dim";
  const AttrList dims = dims_of(s, x->type.rank());
  const bool keepdim = get_bool(s.node.kwargs, "keepdim", false);
  if (dims.size() == 1) return s.become(op, {{x, {}}}, {{"dim", dims[0]}, {"keepdim", keepdim}});
  if (static_cast<int>(dims.size()) != x->type.rank() || keepdim) return false;
  return s.become(op, {{s.rw.reshape(x, {numel(x->type.sizes)}), {}}}, {{"dim", 0}, {"keepdim", false}});
}

bool one_dim(Site& s) {
  Kwargs kwargs = s.node.kwargs;
  for (auto& [name, value] : kwargs)
    if (name == "dim" && value.is<Sym>()) value = wrap_dim(value.as<Sym>().value(), s.x()->type.rank());
  return s.become(s.node.op, {s.at(0)}, kwargs);
}

bool softmax(Site& s) {
  Value* x = s.x();
  const Attr dtype = s.kw("dtype");
  DType in = dtype.is<DType>() ? dtype.as<DType>() : x->type.dtype;
  if (get_bool(s.node.kwargs, "half_to_float", false)) in = DType::f32;
  if (in != s.out().dtype) return false;
  x = s.rw.cast(x, in);
  const std::string op = s.node.op.find("log") == std::string::npos ? "aten.softmax.int" : "aten.log_softmax.int";
  return s.become(op, {{x, {}}}, {{"dim", s.dim("dim", -1, x->type.rank())}, {"dtype", None{}}});
}

bool variance(Site& s) {
  Value* x = s.x();
  if (x->type.rank() == 0) return false;
  const Attr correction = s.kw("correction"), unbiased = s.kw("unbiased");
  Attr value = correction.is_none() ? Attr(1) : correction;
  if (unbiased.is<bool>()) value = unbiased.as<bool>() ? 1 : 0;
  return s.become("aten.var.correction", {s.at(0)},
                  {{"dim", dims_of(s, x->type.rank())},
                   {"correction", value},
                   {"keepdim", get_bool(s.node.kwargs, "keepdim", false)}});
}

// The statistics that the native form also returns are for the backward pass.
bool native_layer_norm(Site& s) {
  if (s.graph.use_count(s.node.out(1)) || s.graph.use_count(s.node.out(2))) return false;
  Value* y = s.rw.make("aten.layer_norm", {s.at(0), s.at(1), s.at(2)},
                       {{"normalized_shape", s.kw("normalized_shape")}, {"eps", s.kw("eps")}, {"cudnn_enable", false}},
                       s.out());
  s.rw.replace(s.node.out(), y);
  s.graph.erase(&s.node);
  return true;
}

}  // namespace

void add_reduction_rules(Rules& rules) {
  for (std::string_view op : {"aten.sum", "aten.sum.dim_IntList", "aten.mean", "aten.mean.dim"}) rules[op] = sum_like;
  for (std::string_view op : {"aten.max", "aten.min", "aten.amax", "aten.amin"}) rules[op] = max_like;
  for (std::string_view op : {"aten.any", "aten.all", "aten.any.dim", "aten.all.dim", "aten.any.dims", "aten.all.dims"})
    rules[op] = any_all;
  for (std::string_view op : {"aten.cumsum", "aten.argmax", "aten.argmin"}) rules[op] = one_dim;
  for (std::string_view op : {"aten.softmax.int", "aten._softmax", "aten.special_softmax", "aten.log_softmax.int",
                              "aten._log_softmax", "aten.special_log_softmax"})
    rules[op] = softmax;
  for (std::string_view op : {"aten.var", "aten.var.dim", "aten.var.correction"}) rules[op] = variance;
  rules["aten.native_layer_norm"] = native_layer_norm;
}

}  // namespace kpt::canonical
