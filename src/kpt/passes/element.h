// SPDX-License-Identifier: Apache-2.0
#pragma once
#include <map>
#include <string>
#include <variant>
#include <vector>

#include "kpt/ir/graph.h"
#include "kpt/passes/rewriter.h"

namespace kpt {

// What one element of a tensor is, as a function of where it stands. Positions are symbols of the evaluator; an element
// is an integer over them, a condition, one of two numbers, or unknown. Small models build their masks from just this.

// One condition on a position: `difference >= 0`, or the truth of value[at] for a boolean tensor nothing is known of.
struct Atom {
  Value* value = nullptr;  // null: the order atom
  std::vector<Sym> at;
  Sym difference;
  bool negated = false;  // value atoms only; an order atom is turned round instead
  friend bool operator==(const Atom& a, const Atom& b) {
    return a.value == b.value && a.at == b.at && a.difference == b.difference && a.negated == b.negated;
  }
};

// All atoms hold (none: always true); `inverted`: not all of them hold (none: always false).
struct Condition {
  std::vector<Atom> all;
  bool inverted = false;
  bool always() const { return all.empty() && !inverted; }
  bool never() const { return all.empty() && inverted; }
  friend bool operator==(const Condition& a, const Condition& b) { return a.all == b.all && a.inverted == b.inverted; }
};

// `yes` where the condition holds, `no` elsewhere.
struct Choice {
  Condition when;
  double yes = 0, no = 0;
};

using Element = std::variant<std::monostate, Sym, Condition, Choice>;

// Evaluates canonical graphs. Not thread-safe; bounded in visits and depth, beyond which all is unknown. Integers that
// overflow are unknown too.
class ElementEvaluator {
 public:
  explicit ElementEvaluator(const Graph& graph);
  // A position along a dimension of this size; sizes of 1 give the constant 0.
  Sym position(const std::string& hint, const Sym& size);
  std::vector<Sym> positions(const std::vector<Sym>& sizes);
  Element at(Value* value, const std::vector<Sym>& where);
  // True where `e >= 0` holds for all positions and all values of the graph's symbols. Sound, not complete.
  bool never_negative(const Sym& e) const;

 private:
  static constexpr int kMaxSteps = 20000;
  static constexpr int kMaxDepth = 256;  // of operators between a mask and its inputs; real masks need about 20
  Element node_at(Value* value, const std::vector<Sym>& where);
  Element view_at(const Node& node, const std::vector<Sym>& where);
  Element binary_at(const Node& node, const std::vector<Sym>& where);
  Element logic_at(const Node& node, const std::vector<Sym>& where);
  Element compare_at(const Node& node, const std::vector<Sym>& where);
  Element where_at(const Node& node, const std::vector<Sym>& where);
  Element index_at(const Node& node, const std::vector<Sym>& where);
  Element cumsum_at(const Node& node, const std::vector<Sym>& where);
  Element diff_at(const Node& node, const std::vector<Sym>& where);
  Element triangle_at(const Node& node, const std::vector<Sym>& where);
  Element operand(const Operand& o, const std::vector<Sym>& where);
  Condition order(const Sym& difference) const;

  const Graph& graph_;
  std::vector<SymbolDecl> decls_;
  std::map<std::string, Sym, std::less<>> last_;  // position symbol -> its greatest value
  int steps_ = 0, depth_ = 0;
};

// The logic of conditions; none where the result is no Condition (an or of ands).
std::optional<Condition> both(const Condition& a, const Condition& b);
Condition negation(const Condition& c);

}  // namespace kpt
