// SPDX-License-Identifier: Apache-2.0
#pragma once
#include <functional>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "kpt/base/attr.h"
#include "kpt/fusion/fusion.h"

namespace kpt {

// The parsed form of the language described in fusion.h. Plain data, immutable after parse_pattern.

struct Term {
  enum class Kind { none, value, attr, fill, literal, list };
  Kind kind = Kind::none;
  std::string name;       // value, attr, fill: without the mark
  bool optional = false;  // value: `%b?`
  Attr literal;
  std::vector<Term> items;  // list
};

struct PatternOut {
  std::string name;
  std::optional<DType> dtype;  // written after ':'
};

struct PatternLine {
  std::vector<PatternOut> outs;
  std::string op;
  std::vector<Term> args;
  std::vector<std::pair<std::string, Term>> kwargs;
  bool skippable = false;  // `? ` in front
  int line = 0;            // in the file, from 1
};

struct Alternative {
  std::vector<PatternLine> before, after;
  const PatternLine& root() const { return before.back(); }
  bool defines_after(std::string_view name) const;
};

struct Pattern {
  std::vector<Alternative> alternatives;
};

// Throws Error{bad_input} "[fusion.NAME] line 2: got ..., want ...".
Pattern parse_pattern(std::string_view text, std::string_view fusion);

// The embedded patterns/<fusion>/pattern.kpt. Throws Error{internal} where there is none.
std::string_view pattern_text(std::string_view fusion);

// True where the first two operands of the operator may be exchanged.
bool commutes(std::string_view op);

// The number in an attribute: a double or a constant Sym.
std::optional<double> number(const Attr& attr);

// Calls accept(match) for each way the alternative fits with `root` as its last line, until accept says true.
bool match_at(const Alternative& alternative, Node* root, const std::function<bool(Match&)>& accept);

// Replaces the matched nodes by the right side. `no` where an inner value has users that the rewrite cannot serve; the
// graph is then unchanged. `made` gets the names of the values that the right side computes.
Verdict apply_rewrite(Graph& graph, const Alternative& alternative, Match& match, std::string_view fusion,
                      std::vector<std::string>& made);

}  // namespace kpt
