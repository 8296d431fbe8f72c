// SPDX-License-Identifier: Apache-2.0
#pragma once
#include <map>
#include <string_view>
#include <vector>

#include "kpt/ir/graph.h"

namespace kpt {

// Shape rules, one function an operator. verify.cpp alone uses this header.

// Collects the first proven mismatch of one node. Every accessor is safe on malformed nodes: it notes the fault and
// returns a neutral value, so that rules read as plain formulas.
class RuleChecker {
 public:
  RuleChecker(const Node& node, const std::vector<SymbolDecl>& decls) : node(node), decls_(decls) {}

  const Node& node;

  const TensorType& out(int i = 0) const { return node.outputs[static_cast<size_t>(i)]->type; }
  bool has(int operand) const { return node.operand(operand) != nullptr; }
  const std::vector<Sym>& sizes(int operand);
  // Size of one axis; a negative axis counts from the end.
  Sym dim(int operand, int axis);
  // An axis of an operand, made non-negative.
  int axis(int64_t value, int rank);
  bool rank_is(int operand, int want);

  // Each notes a fault unless the values may be equal.
  void equal(const Sym& got, const Sym& want, std::string_view what);
  void shape(const std::vector<Sym>& got, const std::vector<Sym>& want, std::string_view what);
  void out_shape(const std::vector<Sym>& want) { shape(out().sizes, want, "output"); }
  void dtype(DType got, DType want, std::string_view what);
  // out = the broadcast of all shapes.
  void broadcast(const std::vector<std::vector<Sym>>& from, const std::vector<Sym>& out);
  bool differ(const Sym& a, const Sym& b) const { return provably_different(a, b, decls_); }
  bool surely_less(const Sym& a, const Sym& b) const;

  template <class... Args>
  void fail(const Args&... args) {
    if (verdict_.ok) verdict_ = no(args...);
  }
  bool ok() const { return verdict_.ok; }
  const Verdict& verdict() const { return verdict_; }

 private:
  const std::vector<SymbolDecl>& decls_;
  Verdict verdict_;
};

using Rule = void (*)(RuleChecker&);
using RuleTable = std::map<std::string_view, Rule>;

void add_view_rules(RuleTable& table);
void add_reduction_rules(RuleTable& table);
void add_matmul_rules(RuleTable& table);

// The rule of the node's operator; yes where there is none. An Error of an attribute or of size arithmetic becomes a
// no.
Verdict check_rule(const Node& node, const std::vector<SymbolDecl>& decls);

}  // namespace kpt
