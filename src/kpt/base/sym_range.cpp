// SPDX-License-Identifier: Apache-2.0
#include <algorithm>

#include "kpt/base/sym_node.h"

namespace kpt {

namespace {

constexpr int64_t kLow = INT64_MIN, kHigh = INT64_MAX;
constexpr SymRange kAll = {kLow, kHigh};

// A bound at either end of int64 means "unbounded" and stays so: a sum or product that reaches it saturates.
int64_t saturate(__int128 v) {
  if (v >= kHigh) return kHigh;
  if (v <= kLow) return kLow;
  return static_cast<int64_t>(v);
}

bool unbounded(int64_t v) { return v == kLow || v == kHigh; }

int64_t mul(int64_t a, int64_t b) {
  if (a == 0 || b == 0) return 0;
  if (unbounded(a) || unbounded(b)) return (a < 0) == (b < 0) ? kHigh : kLow;
  return saturate(static_cast<__int128>(a) * b);
}

SymRange mul(const SymRange& a, const SymRange& b) {
  const auto [lo, hi] = std::minmax({mul(a.lo, b.lo), mul(a.lo, b.hi), mul(a.hi, b.lo), mul(a.hi, b.hi)});
  return {lo, hi};
}

SymRange add(const SymRange& a, const SymRange& b) {
  SymRange out = kAll;
  if (a.lo != kLow && b.lo != kLow) out.lo = saturate(static_cast<__int128>(a.lo) + b.lo);
  if (a.hi != kHigh && b.hi != kHigh) out.hi = saturate(static_cast<__int128>(a.hi) + b.hi);
  return out;
}

SymRange negate(const SymRange& a) { return {mul(a.hi, -1), mul(a.lo, -1)}; }

int64_t magnitude(const SymRange& a) {
  if (a.lo == kLow || a.hi == kHigh) return kHigh;
  return std::max(a.hi, a.lo < 0 ? -a.lo : a.lo);
}

SymRange div_range(const SymRange& a, const SymRange& b) {
  if (b.hi < 0) return div_range(negate(a), negate(b));
  if (b.lo <= 0) {  // the divisor is not 0, so it is 1 or more in magnitude
    const int64_t m = magnitude(a);
    return {mul(m, -1), m};
  }
  SymRange out = kAll;
  if (a.lo >= 0)
    out.lo = b.hi == kHigh ? 0 : floor_div(a.lo, b.hi);
  else if (a.lo != kLow)
    out.lo = floor_div(a.lo, b.lo);
  if (a.hi < 0)
    out.hi = b.hi == kHigh ? -1 : floor_div(a.hi, b.hi);
  else if (a.hi != kHigh)
    out.hi = floor_div(a.hi, b.lo);
  return out;
}

SymRange mod_range(const SymRange& a, const SymRange& b) {
  if (b.lo > 0) {
    if (a.lo >= 0 && a.hi < b.lo) return a;
    const int64_t top = b.hi == kHigh ? kHigh : b.hi - 1;
    return {0, a.lo >= 0 ? std::min(a.hi, top) : top};
  }
  if (b.hi < 0) return {b.lo == kLow ? kLow : b.lo + 1, 0};
  // The result lies between 0 and the divisor.
  return {b.lo == kLow ? kLow : std::min<int64_t>(b.lo + 1, 0), b.hi == kHigh ? kHigh : std::max<int64_t>(b.hi - 1, 0)};
}

SymRange atom_range(const SymAtom& atom, const std::vector<SymbolDecl>& decls) {
  if (atom.kind == SymAtom::Kind::symbol) {
    for (const SymbolDecl& d : decls)
      if (d.name == atom.key) return {d.lo, d.hi};
    return kAll;
  }
  const SymRange a = atom.a.range(decls), b = atom.b.range(decls);
  switch (atom.kind) {
    case SymAtom::Kind::floordiv: return div_range(a, b);
    case SymAtom::Kind::mod: return mod_range(a, b);
    case SymAtom::Kind::max: return {std::max(a.lo, b.lo), std::max(a.hi, b.hi)};
    default: return {std::min(a.lo, b.lo), std::min(a.hi, b.hi)};
  }
}

}  // namespace

SymRange Sym::range(const std::vector<SymbolDecl>& decls) const {
  if (!node_) return {value_, value_};
  SymRange sum = {0, 0};
  for (const SymTerm& t : node_->terms) {
    SymRange product = {t.coef, t.coef};
    for (const AtomPtr& atom : t.atoms) product = mul(product, atom_range(*atom, decls));
    sum = add(sum, product);
  }
  return sum;
}

}  // namespace kpt
