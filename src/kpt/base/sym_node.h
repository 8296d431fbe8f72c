// SPDX-License-Identifier: Apache-2.0
#pragma once
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "kpt/base/sym.h"

namespace kpt {

// The inside of Sym, shared by sym.cpp, sym_parse.cpp and sym_range.cpp only.

// One factor: a symbol, or a function of two expressions. `key` is its text: two atoms are the same where their keys
// are.
struct SymAtom {
  enum class Kind { symbol, floordiv, mod, max, min };
  Kind kind;
  std::string key;
  Sym a, b;  // arguments; unused for a symbol
};
using AtomPtr = std::shared_ptr<const SymAtom>;

// coef * product of atoms; the atoms sorted by key, a power repeats its atom. No atoms: a constant.
struct SymTerm {
  std::vector<AtomPtr> atoms;
  int64_t coef = 0;
};

// Sorted by degree (high first), then by keys: a graded lexicographic order, so that long division terminates.
// No zero coefficients, no two terms with the same atoms. Empty: 0.
using SymPoly = std::vector<SymTerm>;

// Bounds that keep hostile expressions small: (a+b+c)^60 or a chain of squares would otherwise eat all memory.
constexpr size_t kMaxSymTerms = 2048;
constexpr size_t kMaxSymText = size_t{1} << 16;  // characters, of an expression read or held
constexpr size_t kMaxSymKey = kMaxSymText / 4;   // of one atom
constexpr int kMaxSymDepth = 64;                 // of nesting, and atoms of one product

struct SymNode {
  SymPoly terms;

  static SymPoly poly(const Sym& s);
  static Sym make(SymPoly poly);  // of terms already sorted and merged
  static const SymPoly* terms_of(const Sym& s) { return s.node_ ? &s.node_->terms : nullptr; }
};

// nullopt: a coefficient overflows int64, or the result would be larger than the bounds above.
std::optional<SymPoly> poly_add(const SymPoly& a, const SymPoly& b, bool subtract);
std::optional<SymPoly> poly_mul(const SymPoly& a, const SymPoly& b);
std::optional<SymPoly> poly_exact_div(const SymPoly& a, const SymPoly& d);

// An expression for a message, cut to a readable length.
std::string brief(const Sym& s);

// Python's rounding. b must not be 0, and not -1 where a is INT64_MIN.
constexpr int64_t floor_div(int64_t a, int64_t b) {
  const int64_t q = a / b;
  return q * b != a && ((a < 0) != (b < 0)) ? q - 1 : q;
}
constexpr int64_t floor_mod(int64_t a, int64_t b) {
  if (b == -1) return 0;
  const int64_t r = a % b;
  return r != 0 && ((r < 0) != (b < 0)) ? r + b : r;
}

}  // namespace kpt
