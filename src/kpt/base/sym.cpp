// SPDX-License-Identifier: Apache-2.0
#include "kpt/base/sym.h"

#include <algorithm>
#include <array>
#include <numeric>
#include <ostream>
#include <set>

#include "kpt/base/dtype.h"
#include "kpt/base/sym_node.h"

namespace kpt {

namespace {

using Kind = SymAtom::Kind;

std::string_view function_name(Kind kind) {
  switch (kind) {
    case Kind::floordiv: return "floordiv";
    case Kind::mod: return "mod";
    case Kind::max: return "max";
    default: return "min";
  }
}

Sym unwrap(std::optional<SymPoly> poly, std::string_view what, const Sym& a, const Sym& b) {
  if (!poly) {
    throw_error(ErrorKind::bad_input, "base.sym",
                cat("got (", brief(a), ") ", what, " (", brief(b), "), which overflows int64 or grows too large"));
  }
  return SymNode::make(std::move(*poly));
}

Sym of_atom(Kind kind, const Sym& a, const Sym& b) {
  std::string key = cat(function_name(kind), "(", a, ", ", b, ")");
  KPT_CHECK(key.size() <= kMaxSymKey, "base.sym", "got an expression of ", key.size(), " characters, want at most ",
            kMaxSymKey);
  auto atom = std::make_shared<const SymAtom>(SymAtom{kind, std::move(key), a, b});
  return SymNode::make({SymTerm{{std::move(atom)}, 1}});
}

// The atom where s is one function of that kind, times 1; else null.
const SymAtom* lone_atom(const Sym& s, Kind kind) {
  const SymPoly* p = SymNode::terms_of(s);
  if (!p || p->size() != 1 || p->front().coef != 1 || p->front().atoms.size() != 1) return nullptr;
  const SymAtom* atom = p->front().atoms.front().get();
  return atom->kind == kind ? atom : nullptr;
}

int64_t constant_part(const SymPoly& p) { return !p.empty() && p.back().atoms.empty() ? p.back().coef : 0; }

SymPoly without_constant(SymPoly p) {
  if (!p.empty() && p.back().atoms.empty()) p.pop_back();
  return p;
}

SymPoly plus_constant(SymPoly p, int64_t c) {
  if (c != 0) p.push_back(SymTerm{{}, c});
  return p;
}

// Splits p = whole * d + rest, term by term, d of one term. Exact for floordiv and mod: floor((k d + r) / d) = k +
// floor(r / d).
struct Split {
  SymPoly whole, rest;
};
Split split_by(const SymPoly& p, const SymPoly& d) {
  Split out;
  for (const SymTerm& t : p) {
    auto q = poly_exact_div({t}, d);
    if (q)
      out.whole.insert(out.whole.end(), q->begin(), q->end());
    else
      out.rest.push_back(t);
  }
  return out;
}

int64_t gcd_of(const SymPoly& p, int64_t start) {
  int64_t g = start;
  for (const SymTerm& t : p) {
    if (t.coef == INT64_MIN) return 1;  // its magnitude is no int64
    g = std::gcd(g, t.coef);
  }
  return g;
}

SymPoly scaled_down(SymPoly p, int64_t g) {
  for (SymTerm& t : p) t.coef /= g;
  return p;
}

// floor((floor(x / m) + c) / d) = floor((x + c m) / (m d)) for m, d > 0.
std::optional<Sym> merge_nested(const SymPoly& symbolic, int64_t c, int64_t d) {
  const Sym inner = SymNode::make(symbolic);
  const SymAtom* atom = lone_atom(inner, Kind::floordiv);
  if (!atom || !atom->b.is_const() || atom->b.value() <= 0) return std::nullopt;
  int64_t shift = 0, divisor = 0;
  if (__builtin_mul_overflow(c, atom->b.value(), &shift) || __builtin_mul_overflow(d, atom->b.value(), &divisor))
    return std::nullopt;
  auto sum = poly_add(SymNode::poly(atom->a), SymNode::poly(Sym(shift)), false);
  if (!sum) return std::nullopt;
  return floordiv(SymNode::make(std::move(*sum)), Sym(divisor));
}

Sym floordiv_const(const SymPoly& p, int64_t d) {
  Split split = split_by(without_constant(p), {SymTerm{{}, d}});
  const int64_t c = constant_part(p);
  const Sym whole = SymNode::make(plus_constant(std::move(split.whole), floor_div(c, d)));
  const int64_t rest_c = floor_mod(c, d);
  if (split.rest.empty()) return whole;
  const int64_t g = gcd_of(split.rest, d);
  // floor((g x + c) / (g d')) = floor((x + floor(c / g)) / d'), and 0 <= c < d.
  const SymPoly rest = scaled_down(std::move(split.rest), g);
  if (auto merged = merge_nested(rest, rest_c / g, d / g)) return whole + *merged;
  return whole + of_atom(Kind::floordiv, SymNode::make(plus_constant(rest, rest_c / g)), Sym(d / g));
}

Sym mod_const(const SymPoly& p, int64_t d) {
  SymPoly rest;
  for (SymTerm t : without_constant(p)) {
    t.coef %= d;
    if (t.coef != 0) rest.push_back(std::move(t));
  }
  rest = plus_constant(std::move(rest), floor_mod(constant_part(p), d));
  if (rest.empty()) return Sym(0);
  if (rest.size() == 1 && rest.front().atoms.empty()) return Sym(rest.front().coef);
  const int64_t g = gcd_of(rest, d);
  return Sym(g) * of_atom(Kind::mod, SymNode::make(scaled_down(std::move(rest), g)), Sym(d / g));
}

// -p, or nullopt on overflow.
std::optional<SymPoly> negated(const SymPoly& p) { return poly_add({}, p, true); }

void check_divisor(const Sym& a, const Sym& b) {
  KPT_CHECK(b != Sym(0), "base.sym", "got a division of ", brief(a), " by zero");
}

bool same_terms(const SymPoly& a, const SymPoly& b) {
  if (a.size() != b.size()) return false;
  for (size_t i = 0; i < a.size(); ++i) {
    if (a[i].coef != b[i].coef || a[i].atoms.size() != b[i].atoms.size()) return false;
    for (size_t k = 0; k < a[i].atoms.size(); ++k)
      if (a[i].atoms[k] != b[i].atoms[k] && a[i].atoms[k]->key != b[i].atoms[k]->key) return false;
  }
  return true;
}

Sym extremum(Kind kind, const Sym& a, const Sym& b) {
  const SymPoly pa = SymNode::poly(a), pb = SymNode::poly(b);
  if (same_terms(without_constant(pa), without_constant(pb))) {
    const bool a_larger = constant_part(pa) >= constant_part(pb);
    return a_larger == (kind == Kind::max) ? a : b;
  }
  // max(max(x, c), d) = max(x, max(c, d)), and max(max(x, y), x) = max(x, y).
  for (const auto& [outer, other] : {std::pair{a, b}, std::pair{b, a}}) {
    const SymAtom* atom = lone_atom(outer, kind);
    if (!atom) continue;
    if (atom->a == other || atom->b == other) return outer;
    if (other.is_const() && atom->b.is_const()) return extremum(kind, atom->a, extremum(kind, atom->b, other));
  }
  // Constants last, else by text: max is commutative.
  const bool swap = a.is_const() || (!b.is_const() && b.str() < a.str());
  return swap ? of_atom(kind, b, a) : of_atom(kind, a, b);
}

constexpr std::array<std::string_view, 9> kReserved = {"none", "true", "false",    "inf", "nan",
                                                       "max",  "min",  "floordiv", "mod"};

bool identifier(std::string_view s) {
  const auto letter = [](char c) { return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || c == '_'; };
  if (s.empty() || s.size() > 256 || !letter(s.front())) return false;
  return std::all_of(s.begin(), s.end(), [&](char c) { return letter(c) || (c >= '0' && c <= '9'); });
}

Sym apply(Kind kind, const Sym& a, const Sym& b) {
  switch (kind) {
    case Kind::floordiv: return floordiv(a, b);
    case Kind::mod: return mod(a, b);
    case Kind::max: return max(a, b);
    default: return min(a, b);
  }
}

int64_t eval_atom(const SymAtom& atom, const SymEnv& env) {
  if (atom.kind == Kind::symbol) {
    auto it = env.find(atom.key);
    KPT_CHECK(it != env.end(), "base.sym", "got no value for symbol ", atom.key);
    return it->second;
  }
  const int64_t a = atom.a.eval(env), b = atom.b.eval(env);
  if (atom.kind == Kind::max) return std::max(a, b);
  if (atom.kind == Kind::min) return std::min(a, b);
  check_divisor(Sym(a), Sym(b));
  if (atom.kind == Kind::mod) return floor_mod(a, b);
  KPT_CHECK(a != INT64_MIN || b != -1, "base.sym", "got ", a, " // -1, which overflows int64");
  return floor_div(a, b);
}

void collect(const Sym& s, std::set<std::string>& out) {
  const SymPoly* p = SymNode::terms_of(s);
  if (!p) return;
  for (const SymTerm& t : *p) {
    for (const AtomPtr& atom : t.atoms) {
      if (atom->kind == Kind::symbol) {
        out.insert(atom->key);
      } else {
        collect(atom->a, out);
        collect(atom->b, out);
      }
    }
  }
}

}  // namespace

Sym Sym::symbol(std::string_view name) {
  KPT_CHECK(identifier(name), "base.sym", "got symbol name '", name.substr(0, 80), "', want [A-Za-z_][A-Za-z0-9_]*");
  const bool reserved = std::find(kReserved.begin(), kReserved.end(), name) != kReserved.end() || parse_dtype(name);
  KPT_CHECK(!reserved, "base.sym", "got symbol name '", name, "', which the text form reserves, try '", name, "_'");
  auto atom = std::make_shared<const SymAtom>(SymAtom{Kind::symbol, std::string(name), Sym(), Sym()});
  return SymNode::make({SymTerm{{std::move(atom)}, 1}});
}

int64_t Sym::value() const {
  KPT_ASSERT(is_const(), "base.sym", "got ", brief(*this), ", want a constant");
  return value_;
}

int64_t Sym::eval(const SymEnv& env) const {
  if (!node_) return value_;
  int64_t sum = 0;
  bool over = false;
  for (const SymTerm& t : node_->terms) {
    int64_t product = t.coef;
    for (const AtomPtr& atom : t.atoms) over |= __builtin_mul_overflow(product, eval_atom(*atom, env), &product);
    over |= __builtin_add_overflow(sum, product, &sum);
  }
  KPT_CHECK(!over, "base.sym", "got ", brief(*this), ", whose value overflows int64");
  return sum;
}

Sym Sym::substitute(const std::map<std::string, Sym, std::less<>>& by) const {
  if (!node_) return *this;
  Sym sum = 0;
  for (const SymTerm& t : node_->terms) {
    Sym product = t.coef;
    for (const AtomPtr& atom : t.atoms) {
      if (atom->kind == Kind::symbol) {
        auto it = by.find(atom->key);
        product = product * (it == by.end() ? SymNode::make({SymTerm{{atom}, 1}}) : it->second);
      } else {
        product = product * apply(atom->kind, atom->a.substitute(by), atom->b.substitute(by));
      }
    }
    sum = sum + product;
  }
  return sum;
}

std::vector<std::string> Sym::symbols() const {
  std::set<std::string> out;
  collect(*this, out);
  return {out.begin(), out.end()};
}

std::optional<Sym> Sym::exact_div(const Sym& divisor) const {
  auto q = poly_exact_div(SymNode::poly(*this), SymNode::poly(divisor));
  if (!q) return std::nullopt;
  return SymNode::make(std::move(*q));
}

std::string Sym::str() const {
  if (!node_) return std::to_string(value_);
  std::string out;
  for (const SymTerm& t : node_->terms) {
    // -2^63 has no positive twin: it is written "+ -9223372036854775808".
    const bool minus = t.coef < 0 && t.coef != INT64_MIN;
    if (out.empty())
      out += minus ? "-" : "";
    else
      out += minus ? " - " : " + ";
    const int64_t magnitude = minus ? -t.coef : t.coef;
    bool star = false;
    if (magnitude != 1 || t.atoms.empty()) {
      out += std::to_string(magnitude);
      star = true;
    }
    for (const AtomPtr& atom : t.atoms) {
      if (star) out += '*';
      out += atom->key;
      star = true;
    }
  }
  return out;
}

bool operator==(const Sym& a, const Sym& b) {
  if (a.node_ == b.node_) return a.value_ == b.value_;
  if (!a.node_ || !b.node_) return false;
  return same_terms(a.node_->terms, b.node_->terms);
}

Sym operator+(const Sym& a, const Sym& b) {
  int64_t value = 0;
  if (a.is_const() && b.is_const() && !__builtin_add_overflow(a.value(), b.value(), &value)) return Sym(value);
  return unwrap(poly_add(SymNode::poly(a), SymNode::poly(b), false), "+", a, b);
}

Sym operator-(const Sym& a, const Sym& b) {
  int64_t value = 0;
  if (a.is_const() && b.is_const() && !__builtin_sub_overflow(a.value(), b.value(), &value)) return Sym(value);
  return unwrap(poly_add(SymNode::poly(a), SymNode::poly(b), true), "-", a, b);
}

Sym operator*(const Sym& a, const Sym& b) {
  int64_t value = 0;
  if (a.is_const() && b.is_const() && !__builtin_mul_overflow(a.value(), b.value(), &value)) return Sym(value);
  return unwrap(poly_mul(SymNode::poly(a), SymNode::poly(b)), "*", a, b);
}

Sym floordiv(const Sym& a, const Sym& b) {
  check_divisor(a, b);
  if (auto q = a.exact_div(b)) return *q;
  SymPoly pa = SymNode::poly(a), pb = SymNode::poly(b);
  if (b.is_const() && b.value() != INT64_MIN) {
    if (b.value() > 0) return floordiv_const(pa, b.value());
    if (auto flipped = negated(pa)) return floordiv_const(*flipped, -b.value());
    KPT_CHECK(!a.is_const() || b.value() != -1, "base.sym", "got ", a, " // -1, which overflows int64");
  }
  if (a.is_const() && b.is_const()) return Sym(floor_div(a.value(), b.value()));
  if (pb.size() == 1 && !b.is_const()) {
    Split split = split_by(pa, pb);
    if (!split.whole.empty())
      return SymNode::make(std::move(split.whole)) + of_atom(Kind::floordiv, SymNode::make(std::move(split.rest)), b);
  }
  return of_atom(Kind::floordiv, a, b);
}

Sym mod(const Sym& a, const Sym& b) {
  check_divisor(a, b);
  if (a.exact_div(b)) return Sym(0);
  SymPoly pa = SymNode::poly(a), pb = SymNode::poly(b);
  if (a.is_const() && b.is_const()) return Sym(floor_mod(a.value(), b.value()));
  if (b.is_const() && b.value() != INT64_MIN) {
    if (b.value() > 0) return mod_const(pa, b.value());
    if (auto flipped = negated(pa)) return Sym(-1) * mod_const(*flipped, -b.value());
  }
  if (pb.size() == 1 && !b.is_const()) {
    Split split = split_by(pa, pb);
    if (!split.whole.empty()) return of_atom(Kind::mod, SymNode::make(std::move(split.rest)), b);
  }
  return of_atom(Kind::mod, a, b);
}

Sym max(const Sym& a, const Sym& b) { return extremum(Kind::max, a, b); }
Sym min(const Sym& a, const Sym& b) { return extremum(Kind::min, a, b); }

std::string brief(const Sym& s) {
  std::string text = s.str();
  if (text.size() > 120) text = text.substr(0, 117) + "...";
  return text;
}

bool provably_different(const Sym& a, const Sym& b, const std::vector<SymbolDecl>& decls) {
  if (a == b) return false;
  if (a.is_const() && b.is_const()) return true;
  auto difference = poly_add(SymNode::poly(a), SymNode::poly(b), true);
  if (!difference) return false;
  const SymRange r = SymNode::make(std::move(*difference)).range(decls);
  return r.lo > 0 || r.hi < 0;
}

std::ostream& operator<<(std::ostream& os, const Sym& s) { return os << s.str(); }

Sym numel(const std::vector<Sym>& sizes) {
  Sym n = 1;
  for (const Sym& s : sizes) n = n * s;
  return n;
}

}  // namespace kpt
