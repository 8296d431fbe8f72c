// SPDX-License-Identifier: Apache-2.0
#include "kpt/base/sym.h"

#include <gtest/gtest.h>

#include <cmath>
#include <random>

namespace kpt {
namespace {

Sym s() { return Sym::symbol("s"); }
Sym b() { return Sym::symbol("b"); }

std::string text(std::string_view expression) { return Sym::parse(expression).str(); }

std::string error_of(std::string_view expression) {
  try {
    return "no error: " + text(expression);
  } catch (const Error& e) {
    EXPECT_EQ(e.kind(), ErrorKind::bad_input);
    return e.what();
  }
}

TEST(Sym, PrintsOneCanonicalForm) {
  EXPECT_EQ(text("1 + s*2"), "2*s + 1");
  EXPECT_EQ(text("s*b*384"), "384*b*s");
  EXPECT_EQ(text("(s + 1)*(s - 1)"), "s*s - 1");
  EXPECT_EQ(text("s - s"), "0");
  EXPECT_EQ(text("-s + 3 - b*s"), "-b*s - s + 3");
  EXPECT_EQ(text("--2 - -s"), "s + 2");
  EXPECT_EQ(text("-9223372036854775808"), "-9223372036854775808");
  EXPECT_EQ(text("s - 9223372036854775807 - 1"), "s + -9223372036854775808");
  EXPECT_EQ(text("-7 // 2"), "-4");
  EXPECT_EQ(text("-7 % 2"), "1");
  EXPECT_EQ(text("7 % -2"), "-1");
}

TEST(Sym, DivisionsAndRemaindersSimplify) {
  EXPECT_EQ(text("(b*s*384) // (s*384)"), "b");
  EXPECT_EQ(text("(4*s + 6) // 2"), "2*s + 3");
  EXPECT_EQ(text("s // 1"), "s");
  EXPECT_EQ(text("s // -1"), "-s");
  EXPECT_EQ(text("(s*s + 2*s + 1) // (s + 1)"), "s + 1");
  EXPECT_EQ(text("(4*s + b + 9) // 4"), "floordiv(b + 1, 4) + s + 2");
  EXPECT_EQ(text("(2*s) // 4"), "floordiv(s, 2)");
  EXPECT_EQ(text("(s // 2) // 3"), "floordiv(s, 6)");
  EXPECT_EQ(text("((s - 1) // 2 + 1 - 1) // 2 + 1"), "floordiv(s + 3, 4)");
  EXPECT_EQ(text("(b*s + 3) // s"), "b + floordiv(3, s)");
  EXPECT_EQ(text("(b*s) % s"), "0");
  EXPECT_EQ(text("(8*s + 3) % 4"), "3");
  EXPECT_EQ(text("(5*s - 1) % 4"), "mod(s + 3, 4)");
  EXPECT_EQ(text("(2*s) % 4"), "2*mod(s, 2)");
  EXPECT_EQ(text("s % -2"), "-mod(-s, 2)");
}

TEST(Sym, ExtremaSimplify) {
  EXPECT_EQ(text("max(s, s)"), "s");
  EXPECT_EQ(text("max(s + 1, s)"), "s + 1");
  EXPECT_EQ(text("min(s + 1, s)"), "s");
  EXPECT_EQ(text("max(3, 5)"), "5");
  EXPECT_EQ(text("max(3, s)"), "max(s, 3)");
  EXPECT_EQ(text("max(max(s, 3), 5)"), "max(s, 5)");
  EXPECT_EQ(text("min(s, min(b, s))"), "min(b, s)");
  EXPECT_EQ(max(s(), b()), max(b(), s()));
}

TEST(Sym, ExactDivSaysNoWhereItCannotShow) {
  EXPECT_EQ(Sym::parse("6*s + 4").exact_div(2), Sym::parse("3*s + 2"));
  EXPECT_FALSE(Sym::parse("6*s + 3").exact_div(2));
  EXPECT_FALSE(s().exact_div(b()));
  EXPECT_FALSE(s().exact_div(0));
  EXPECT_FALSE(Sym(INT64_MIN).exact_div(-1));
  EXPECT_EQ(Sym::parse("b*b - s*s").exact_div(b() - s()), b() + s());
  EXPECT_EQ(Sym(0).exact_div(s()), Sym(0));
}

TEST(Sym, ErrorsSayWhere) {
  EXPECT_EQ(error_of("s +"), "[base.sym.parse] column 4: got the end, want a number, a symbol or '('");
  EXPECT_EQ(error_of("s t"), "[base.sym.parse] column 3: got 't', want an operator or the end");
  EXPECT_EQ(error_of("1.5"), "[base.sym.parse] column 1: got '1.5', want an integer");
  EXPECT_EQ(error_of("9223372036854775808"),
            "[base.sym.parse] column 1: got '9223372036854775808', want an integer within int64");
  EXPECT_EQ(error_of("foo(s, 1)"), "[base.sym.parse] column 1: got 'foo(s, 1)', want floordiv, mod, max or min");
  EXPECT_EQ(error_of("s // 0"), "[base.sym] got a division of s by zero");
  EXPECT_EQ(error_of("9223372036854775807 + 1"),
            "[base.sym] got (9223372036854775807) + (1), which overflows int64 or grows too large");
  EXPECT_EQ(error_of("-9223372036854775808 // -1"), "[base.sym] got -9223372036854775808 // -1, which overflows int64");
  EXPECT_EQ(error_of("none"), "[base.sym] got symbol name 'none', which the text form reserves, try 'none_'");
  EXPECT_EQ(error_of("u8"), "[base.sym] got symbol name 'u8', which the text form reserves, try 'u8_'");
  EXPECT_THROW(s().eval({}), Error);
  EXPECT_THROW((void)s().value(), Error);
  EXPECT_THROW((s() * s()).eval({{"s", int64_t{1} << 40}}), Error);
  EXPECT_THROW(floordiv(b(), s()).eval({{"s", 0}, {"b", 1}}), Error);
  EXPECT_THROW(floordiv(b(), s()).eval({{"s", -1}, {"b", INT64_MIN}}), Error);
}

TEST(Sym, GrowthIsBounded) {
  EXPECT_THROW(Sym::parse(std::string(100, '(') + "s" + std::string(100, ')')), Error);
  EXPECT_THROW(Sym::parse(std::string(1 << 17, '1')), Error);
  Sym x = s();
  EXPECT_THROW(
      {
        for (int i = 0; i < 100; ++i) x = floordiv(x * x + b(), Sym(3)) * Sym(5);
      },
      Error);
  EXPECT_LT(x.str().size(), size_t{1} << 17);
}

TEST(Sym, ProvablyDifferentNeedsAProof) {
  const std::vector<SymbolDecl> decls = {{"s", 2, 512, 4}, {"b", 1, 8, 4}};
  EXPECT_TRUE(provably_different(s(), 1, decls));
  EXPECT_TRUE(provably_different(s() + 1, s(), decls));
  EXPECT_TRUE(provably_different(3, 4, decls));
  EXPECT_FALSE(provably_different(b(), 1, decls));
  EXPECT_FALSE(provably_different(s(), b(), decls));
  EXPECT_FALSE(provably_different(Sym::symbol("unknown"), 1, decls));
}

TEST(Sym, SubstituteAndSymbols) {
  const Sym e = Sym::parse("floordiv(s + 3, 4)*b + max(s, t)");
  EXPECT_EQ(e.symbols(), (std::vector<std::string>{"b", "s", "t"}));
  EXPECT_EQ(e.substitute({{"s", Sym::parse("4*u")}, {"t", 0}}).str(), "b*u + max(4*u, 0)");
  EXPECT_EQ(numel({b(), 2, s()}).str(), "2*b*s");
  EXPECT_EQ(numel({}), Sym(1));
}

// Random expressions, built as a Sym and evaluated directly side by side.
class Random {
 public:
  explicit Random(uint64_t seed) : engine_(seed) {}
  int below(int n) { return static_cast<int>(engine_() % static_cast<uint64_t>(n)); }

  struct Both {
    Sym sym;
    std::vector<std::optional<int64_t>> values;  // for each environment; null after a division by zero
  };

  Both make(int depth, const std::vector<SymEnv>& envs) {
    if (depth == 0 || below(6) == 0) return leaf(envs);
    const Both x = make(depth - 1, envs), y = make(depth - 1, envs);
    const int op = below(7);
    if (op >= 3 && op <= 4 && y.sym == Sym(0)) return x;
    Both out{combine(op, x.sym, y.sym), {}};
    for (size_t i = 0; i < envs.size(); ++i) out.values.push_back(direct(op, x.values[i], y.values[i]));
    return out;
  }

 private:
  Both leaf(const std::vector<SymEnv>& envs) {
    if (below(2)) {
      const int64_t n = below(13) - 6;
      return {Sym(n), std::vector<std::optional<int64_t>>(envs.size(), n)};
    }
    const std::string name(1, static_cast<char>('a' + below(3)));
    Both out{Sym::symbol(name), {}};
    for (const SymEnv& env : envs) out.values.emplace_back(env.at(name));
    return out;
  }

  static Sym combine(int op, const Sym& x, const Sym& y) {
    switch (op) {
      case 0: return x + y;
      case 1: return x - y;
      case 2: return x * y;
      case 3: return floordiv(x, y);
      case 4: return mod(x, y);
      case 5: return max(x, y);
      default: return min(x, y);
    }
  }

  static std::optional<int64_t> direct(int op, std::optional<int64_t> x, std::optional<int64_t> y) {
    if (!x || !y || ((op == 3 || op == 4) && *y == 0)) return std::nullopt;
    const double quotient = static_cast<double>(*x) / static_cast<double>(*y);  // small numbers: exact enough
    switch (op) {
      case 0: return *x + *y;
      case 1: return *x - *y;
      case 2: return *x * *y;
      case 3: return static_cast<int64_t>(std::floor(quotient));
      case 4: return *x - *y * static_cast<int64_t>(std::floor(quotient));
      case 5: return std::max(*x, *y);
      default: return std::min(*x, *y);
    }
  }

  std::mt19937_64 engine_;
};

std::vector<SymEnv> environments(Random& random) {
  std::vector<SymEnv> envs;
  for (int i = 0; i < 6; ++i)
    envs.push_back({{"a", random.below(9) - 4}, {"b", 1 + random.below(7)}, {"c", random.below(20)}});
  return envs;
}

TEST(SymProperty, CanonicalFormKeepsTheValueTextAndBounds) {
  const std::vector<SymbolDecl> decls = {{"a", -4, 4, 0}, {"b", 1, 7, 1}, {"c", 0, 19, 1}};
  size_t compared = 0;
  for (uint64_t seed = 0; seed < 20000; ++seed) {
    Random random(seed);
    const auto envs = environments(random);
    const auto [sym, values] = random.make(3, envs);
    const std::string text = sym.str();
    ASSERT_EQ(Sym::parse(text), sym) << text;
    ASSERT_EQ(Sym::parse(text).str(), text);
    const SymRange range = sym.range(decls);
    for (size_t i = 0; i < envs.size(); ++i) {
      if (!values[i]) continue;
      // The simplified form may divide by less than the original, never by more.
      const int64_t got = sym.eval(envs[i]);
      ASSERT_EQ(got, *values[i]) << text << " seed " << seed;
      ASSERT_LE(range.lo, got) << text;
      ASSERT_GE(range.hi, got) << text;
      ++compared;
    }
  }
  EXPECT_GT(compared, 90000u);
}

TEST(SymProperty, ExactDivInvertsMultiplication) {
  size_t shown = 0;
  for (uint64_t seed = 0; seed < 5000; ++seed) {
    Random random(seed);
    const Sym x = random.make(2, {}).sym, y = random.make(2, {}).sym;
    if (y == Sym(0)) continue;
    const auto q = (x * y).exact_div(y);
    ASSERT_TRUE(q) << x << " times " << y;
    ASSERT_EQ(*q, x) << x << " times " << y;
    const auto other = x.exact_div(y);
    if (other) {
      ASSERT_EQ(*other * y, x);
    }
    shown += other.has_value();
  }
  EXPECT_GT(shown, 500u);
}

TEST(SymProperty, SubstitutingConstantsIsEvaluating) {
  for (uint64_t seed = 0; seed < 3000; ++seed) {
    Random random(seed);
    const auto envs = environments(random);
    const auto [sym, values] = random.make(3, envs);
    if (!values[0]) continue;
    std::map<std::string, Sym, std::less<>> by;
    for (const auto& [name, value] : envs[0]) by[name] = value;
    ASSERT_EQ(sym.substitute(by), Sym(*values[0])) << sym;
  }
}

TEST(SymRange, Unbounded) {
  const std::vector<SymbolDecl> decls = {{"s", 1, INT64_MAX, 4}};
  const SymRange r = (Sym(2) * s() - 1).range(decls);
  EXPECT_EQ(r.lo, 1);
  EXPECT_EQ(r.hi, INT64_MAX);
  EXPECT_EQ((Sym(0) - s()).range(decls).lo, INT64_MIN);
  EXPECT_EQ((Sym(0) - s()).range(decls).hi, -1);
  EXPECT_EQ(floordiv(Sym(10), s()).range(decls).hi, 10);
  EXPECT_EQ(mod(s(), 8).range(decls).hi, 7);
}

}  // namespace
}  // namespace kpt
