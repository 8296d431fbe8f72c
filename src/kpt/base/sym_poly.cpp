// SPDX-License-Identifier: Apache-2.0
#include <algorithm>

#include "kpt/base/sym_node.h"

namespace kpt {

namespace {

// < 0 where a comes before b.
int compare_atoms(const std::vector<AtomPtr>& a, const std::vector<AtomPtr>& b) {
  if (a.size() != b.size()) return a.size() > b.size() ? -1 : 1;
  for (size_t i = 0; i < a.size(); ++i) {
    if (a[i] == b[i]) continue;
    const int c = a[i]->key.compare(b[i]->key);
    if (c != 0) return c;
  }
  return 0;
}

bool by_key(const AtomPtr& a, const AtomPtr& b) { return a->key < b->key; }

// b with one atom taken out for each of d; nullopt where d has an atom that b lacks.
std::optional<std::vector<AtomPtr>> divide_atoms(const std::vector<AtomPtr>& b, const std::vector<AtomPtr>& d) {
  std::vector<AtomPtr> left;
  size_t j = 0;
  for (const AtomPtr& atom : b) {
    if (j < d.size() && d[j]->key == atom->key)
      ++j;
    else
      left.push_back(atom);
  }
  if (j != d.size()) return std::nullopt;
  return left;
}

bool divides(int64_t a, int64_t d) {
  if (d == 0 || (a == INT64_MIN && d == -1)) return false;
  return d == -1 || a % d == 0;
}

std::optional<SymTerm> divide_term(const SymTerm& a, const SymTerm& d) {
  if (!divides(a.coef, d.coef)) return std::nullopt;
  auto atoms = divide_atoms(a.atoms, d.atoms);
  if (!atoms) return std::nullopt;
  return SymTerm{std::move(*atoms), a.coef / d.coef};
}

bool too_large(const SymPoly& p) {
  if (p.size() > kMaxSymTerms) return true;
  size_t text = 0;
  for (const SymTerm& t : p) {
    text += 23;  // sign, coefficient
    for (const AtomPtr& atom : t.atoms) text += atom->key.size() + 1;
  }
  return text > kMaxSymText;
}

}  // namespace

std::optional<SymPoly> poly_add(const SymPoly& a, const SymPoly& b, bool subtract) {
  SymPoly out;
  out.reserve(a.size() + b.size());
  size_t i = 0, j = 0;
  while (i < a.size() || j < b.size()) {
    const int c = i == a.size() ? 1 : j == b.size() ? -1 : compare_atoms(a[i].atoms, b[j].atoms);
    if (c < 0) {
      out.push_back(a[i++]);
      continue;
    }
    SymTerm term{b[j].atoms, 0};
    const int64_t left = c == 0 ? a[i++].coef : 0;
    const bool over = subtract ? __builtin_sub_overflow(left, b[j].coef, &term.coef)
                               : __builtin_add_overflow(left, b[j].coef, &term.coef);
    if (over) return std::nullopt;
    ++j;
    if (term.coef != 0) out.push_back(std::move(term));
  }
  if (too_large(out)) return std::nullopt;
  return out;
}

std::optional<SymPoly> poly_mul(const SymPoly& a, const SymPoly& b) {
  if (a.size() * b.size() > 4 * kMaxSymTerms) return std::nullopt;
  SymPoly all;
  for (const SymTerm& x : a) {
    for (const SymTerm& y : b) {
      SymTerm t;
      if (__builtin_mul_overflow(x.coef, y.coef, &t.coef)) return std::nullopt;
      if (x.atoms.size() + y.atoms.size() > static_cast<size_t>(kMaxSymDepth)) return std::nullopt;
      t.atoms.reserve(x.atoms.size() + y.atoms.size());
      std::merge(x.atoms.begin(), x.atoms.end(), y.atoms.begin(), y.atoms.end(), std::back_inserter(t.atoms), by_key);
      all.push_back(std::move(t));
    }
  }
  std::stable_sort(all.begin(), all.end(),
                   [](const SymTerm& x, const SymTerm& y) { return compare_atoms(x.atoms, y.atoms) < 0; });
  SymPoly out;
  for (SymTerm& t : all) {
    if (!out.empty() && compare_atoms(out.back().atoms, t.atoms) == 0) {
      if (__builtin_add_overflow(out.back().coef, t.coef, &out.back().coef)) return std::nullopt;
    } else {
      out.push_back(std::move(t));
    }
  }
  std::erase_if(out, [](const SymTerm& t) { return t.coef == 0; });
  if (too_large(out)) return std::nullopt;
  return out;
}

// Long division by the leading term.
std::optional<SymPoly> poly_exact_div(const SymPoly& a, const SymPoly& d) {
  if (d.empty()) return std::nullopt;
  SymPoly quotient;
  SymPoly rest = a;
  while (!rest.empty()) {
    if (rest.front().atoms.size() < d.front().atoms.size() || quotient.size() >= kMaxSymTerms) return std::nullopt;
    auto term = divide_term(rest.front(), d.front());
    if (!term) return std::nullopt;
    auto product = poly_mul(d, {*term});
    if (!product) return std::nullopt;
    auto next = poly_add(rest, *product, true);
    if (!next) return std::nullopt;
    rest = std::move(*next);
    quotient.push_back(std::move(*term));  // leading terms fall, so the quotient comes out sorted
  }
  return quotient;
}

SymPoly SymNode::poly(const Sym& s) {
  if (s.node_) return s.node_->terms;
  if (s.value_ == 0) return {};
  return {SymTerm{{}, s.value_}};
}

Sym SymNode::make(SymPoly poly) {
  if (poly.empty()) return Sym(0);
  if (poly.size() == 1 && poly.front().atoms.empty()) return Sym(poly.front().coef);
  Sym s;
  auto node = std::make_shared<SymNode>();
  node->terms = std::move(poly);
  s.node_ = std::move(node);
  return s;
}

}  // namespace kpt
