// SPDX-License-Identifier: Apache-2.0
#include "kpt/ir/rules.h"

#include <algorithm>

#include "kpt/ir/ops.h"

namespace kpt {

namespace {

std::string text(const std::vector<Sym>& sizes) {
  std::string out = "[";
  for (size_t i = 0; i < sizes.size(); ++i) out += cat(i ? ", " : "", sizes[i]);
  return out + "]";
}

bool gives_bool(std::string_view op) {
  constexpr std::string_view kOps[] = {"aten.eq.Tensor", "aten.ne.Tensor",   "aten.lt.Tensor",   "aten.le.Tensor",
                                       "aten.gt.Tensor", "aten.ge.Tensor",   "aten.logical_and", "aten.logical_or",
                                       "aten.isnan",     "aten.logical_xor", "aten.logical_not", "aten.isinf"};
  return std::find(std::begin(kOps), std::end(kOps), op) != std::end(kOps);
}

void pointwise(RuleChecker& c) {
  std::vector<std::vector<Sym>> from;
  for (const Value* v : c.node.inputs) from.push_back(v->type.sizes);
  const OpInfo* info = op_info(c.node.op);
  if (info->arity > 0 && static_cast<int>(c.node.args.size()) != info->arity)
    c.fail("got ", c.node.args.size(), " operands, want ", info->arity);
  if (from.empty()) return;
  for (const Value* out : c.node.outputs) c.broadcast(from, out->type.sizes);
  if (gives_bool(c.node.op)) c.dtype(c.out().dtype, DType::boolean, "output");
  if (c.node.op == "aten._to_copy") {
    const Attr* dtype = find(c.node.kwargs, "dtype");
    if (!dtype || !dtype->is<DType>()) return c.fail("got no dtype, want dtype=");
    c.dtype(c.out().dtype, dtype->as<DType>(), "output");
  }
}

RuleTable make_table() {
  RuleTable table;
  add_view_rules(table);
  add_reduction_rules(table);
  add_matmul_rules(table);
  return table;
}

}  // namespace

const std::vector<Sym>& RuleChecker::sizes(int operand) {
  static const std::vector<Sym> none;
  const Value* v = node.operand(operand);
  if (v) return v->type.sizes;
  fail("got no tensor as argument ", operand, ", want one");
  return none;
}

Sym RuleChecker::dim(int operand, int axis) {
  const auto& s = sizes(operand);
  const int rank = static_cast<int>(s.size());
  const int at = axis < 0 ? axis + rank : axis;
  if (at >= 0 && at < rank) return s[static_cast<size_t>(at)];
  fail("got rank ", rank, " for argument ", operand, ", which has no axis ", axis);
  return 0;
}

int RuleChecker::axis(int64_t value, int rank) {
  const int64_t at = value < 0 ? value + rank : value;
  if (at >= 0 && at < rank) return static_cast<int>(at);
  fail("got axis ", value, " for rank ", rank);
  return 0;
}

bool RuleChecker::rank_is(int operand, int want) {
  const int rank = static_cast<int>(sizes(operand).size());
  if (rank != want) fail("got rank ", rank, " for argument ", operand, ", want ", want);
  return ok();
}

void RuleChecker::equal(const Sym& got, const Sym& want, std::string_view what) {
  if (differ(got, want)) fail("got ", got, " for ", what, ", want ", want);
}

void RuleChecker::shape(const std::vector<Sym>& got, const std::vector<Sym>& want, std::string_view what) {
  bool same = got.size() == want.size();
  for (size_t i = 0; same && i < got.size(); ++i) same = !differ(got[i], want[i]);
  if (!same) fail("got ", what, " ", text(got), ", want ", text(want));
}

void RuleChecker::dtype(DType got, DType want, std::string_view what) {
  if (got != want) fail("got ", what, " of dtype ", got, ", want ", want);
}

bool RuleChecker::surely_less(const Sym& a, const Sym& b) const {
  return b.range(decls_).lo > a.range(decls_).hi || (a - b).range(decls_).hi < 0;
}

void RuleChecker::broadcast(const std::vector<std::vector<Sym>>& from, const std::vector<Sym>& out) {
  size_t rank = 0;
  for (const auto& s : from) rank = std::max(rank, s.size());
  if (rank != out.size()) return fail("got output ", text(out), ", want rank ", rank);
  for (size_t back = 1; back <= rank; ++back) {
    const Sym& want = out[rank - back];
    bool reached = false;
    for (const auto& s : from) {
      if (s.size() < back) continue;
      const Sym& got = s[s.size() - back];
      reached = reached || !differ(got, want);
      if (differ(got, want) && differ(got, Sym(1)))
        fail("got ", text(s), ", which does not broadcast to ", text(out), ": ", got, " against ", want);
    }
    if (!reached) fail("got output ", text(out), ", but no operand has size ", want, " there");
  }
}

Verdict check_rule(const Node& node, const std::vector<SymbolDecl>& decls) {
  static const RuleTable table = make_table();
  RuleChecker checker(node, decls);
  try {
    const auto it = table.find(node.op);
    if (it != table.end())
      it->second(checker);
    else if (is_pointwise(node.op))
      pointwise(checker);
  } catch (const Error& e) {
    // An attribute of the wrong type, or sizes that overflow: a fault of the node, and a verdict is the answer.
    checker.fail(e.what());
  }
  return checker.verdict();
}

}  // namespace kpt
