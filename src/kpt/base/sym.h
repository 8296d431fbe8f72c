// SPDX-License-Identifier: Apache-2.0
#pragma once
#include <cstdint>
#include <iosfwd>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "kpt/base/error.h"

namespace kpt {

// A symbol's declaration: `sym s in [1, 512] hint 128`. The hint is the value in the sample, used for choices only.
struct SymbolDecl {
  std::string name;
  int64_t lo = 0;
  int64_t hi = INT64_MAX;
  int64_t hint = 1;
};

// Values of symbols by name.
using SymEnv = std::map<std::string, int64_t, std::less<>>;

// A closed integer interval; INT64_MIN / INT64_MAX stand for unbounded.
struct SymRange {
  int64_t lo, hi;
};

struct SymNode;

// An integer expression over symbols, kept canonical: a sum of integer multiples of products of atoms, an atom being a
// symbol, floordiv(e, e), mod(e, e), max(e, e) or min(e, e). Equal canonical forms compare equal; unequal forms may
// still be equal in value ("unknown"). Simplifying assumes no division by zero. Immutable value type, cheap to copy; a
// constant allocates nothing. floordiv and mod round towards minus infinity, as Python does. Arithmetic that overflows
// int64 throws Error{bad_input}.
class KPT_API Sym {
 public:
  Sym(int64_t value = 0) : value_(value) {}  // NOLINT: numbers are expressions
  Sym(int value) : value_(value) {}          // NOLINT
  // [A-Za-z_][A-Za-z0-9_]*, and none of the words of the text form: none true false inf nan, dtypes, max min floordiv
  // mod. Throws Error{bad_input} otherwise.
  static Sym symbol(std::string_view name);
  // Grammar: integers, identifiers, + - *, unary -, parentheses, `//`, `%`, floordiv(a,b), mod(a,b), max(a,b),
  // min(a,b). Throws Error{bad_input} with the column. Depth of nesting is bounded (64).
  static Sym parse(std::string_view text);

  bool is_const() const { return !node_; }
  int64_t value() const;  // throws Error{internal} if not constant
  // Throws Error{bad_input} naming the missing symbol; division by zero throws too.
  int64_t eval(const SymEnv& env) const;
  // Replaces symbols by expressions.
  Sym substitute(const std::map<std::string, Sym, std::less<>>& by) const;
  // Bounds from the declared ranges (interval arithmetic: sound, not tight).
  SymRange range(const std::vector<SymbolDecl>& decls) const;
  std::vector<std::string> symbols() const;  // sorted, unique
  // a / b where the division is exact for every value of the symbols; nullopt where that cannot be shown.
  std::optional<Sym> exact_div(const Sym& divisor) const;
  std::string str() const;  // canonical, parses back to an equal expression: "2*s + 1", "384*b*s", "floordiv(s, 2)"

  friend KPT_API bool operator==(const Sym& a, const Sym& b);
  friend KPT_API Sym operator+(const Sym& a, const Sym& b);
  friend KPT_API Sym operator-(const Sym& a, const Sym& b);
  friend KPT_API Sym operator*(const Sym& a, const Sym& b);
  friend KPT_API Sym floordiv(const Sym& a, const Sym& b);
  friend KPT_API Sym mod(const Sym& a, const Sym& b);
  friend KPT_API Sym max(const Sym& a, const Sym& b);
  friend KPT_API Sym min(const Sym& a, const Sym& b);

 private:
  friend struct SymNode;
  int64_t value_ = 0;
  std::shared_ptr<const SymNode> node_;  // null for a constant
};

inline bool operator!=(const Sym& a, const Sym& b) { return !(a == b); }
KPT_API std::ostream& operator<<(std::ostream& os, const Sym& s);

// True only where a != b for all values of the symbols within their declared ranges.
KPT_API bool provably_different(const Sym& a, const Sym& b, const std::vector<SymbolDecl>& decls);

// Product of the sizes; 1 for none.
KPT_API Sym numel(const std::vector<Sym>& sizes);

}  // namespace kpt
