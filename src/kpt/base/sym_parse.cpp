// SPDX-License-Identifier: Apache-2.0
#include <charconv>

#include "kpt/base/sym_node.h"

namespace kpt {

namespace {

// sum := product (('+' | '-') product)*;  product := unary (('*' | '//' | '%') unary)*;  unary := '-'* primary
class SymParser {
 public:
  explicit SymParser(std::string_view text) : text_(text) {}

  Sym whole() {
    const Sym s = sum();
    if (at_ != text_.size()) fail("want an operator or the end");
    return s;
  }

 private:
  [[noreturn]] void fail(std::string_view want) {
    skip();
    const std::string got = at_ < text_.size() ? cat("'", text_.substr(at_, 24), "'") : "the end";
    throw_error(ErrorKind::bad_input, "base.sym.parse", cat("column ", at_ + 1, ": got ", got, ", ", want));
  }

  void skip() {
    while (at_ < text_.size() && (text_[at_] == ' ' || text_[at_] == '\t')) ++at_;
  }

  bool take(std::string_view token) {
    skip();
    if (text_.substr(at_, token.size()) != token) return false;
    at_ += token.size();
    return true;
  }

  void expect(std::string_view token) {
    if (!take(token)) fail(cat("want '", token, "'"));
  }

  Sym sum() {
    Sym left = product();
    for (;;) {
      if (take("+"))
        left = left + product();
      else if (take("-"))
        left = left - product();
      else
        break;
    }
    skip();
    return left;
  }

  Sym product() {
    Sym left = unary();
    for (;;) {
      if (take("*"))
        left = left * unary();
      else if (take("//"))
        left = floordiv(left, unary());
      else if (take("%"))
        left = mod(left, unary());
      else
        return left;
    }
  }

  Sym unary() {
    int minuses = 0;
    while (take("-")) ++minuses;
    skip();
    if (at_ < text_.size() && digit(text_[at_])) {
      const Sym n = number(minuses > 0);  // with its sign: -2^63 has no positive twin
      return minuses > 0 && minuses % 2 == 0 ? Sym(0) - n : n;
    }
    const Sym s = primary();
    return minuses % 2 == 1 ? Sym(0) - s : s;
  }

  static bool digit(char c) { return c >= '0' && c <= '9'; }
  static bool letter(char c) { return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || c == '_'; }

  Sym number(bool minus) {
    size_t end = at_;
    while (end < text_.size() && digit(text_[end])) ++end;
    if (end < text_.size() && (letter(text_[end]) || text_[end] == '.')) fail("want an integer");
    const std::string digits = cat(minus ? "-" : "", text_.substr(at_, end - at_));
    int64_t value = 0;
    const auto result = std::from_chars(digits.data(), digits.data() + digits.size(), value);
    if (result.ec != std::errc()) fail("want an integer within int64");
    at_ = end;
    return Sym(value);
  }

  Sym primary() {
    if (++depth_ > kMaxSymDepth) fail(cat("want nesting of at most ", kMaxSymDepth));
    Sym result;
    if (take("(")) {
      result = sum();
      expect(")");
    } else {
      result = name_or_call();
    }
    --depth_;
    return result;
  }

  Sym name_or_call() {
    const size_t start = at_;
    size_t end = at_;
    while (end < text_.size() && (letter(text_[end]) || (end > start && digit(text_[end])))) ++end;
    if (end == start) fail("want a number, a symbol or '('");
    const std::string_view word = text_.substr(start, end - start);
    at_ = end;
    if (!take("(")) return Sym::symbol(word);
    const Sym a = sum();
    expect(",");
    const Sym b = sum();
    expect(")");
    if (word == "floordiv") return floordiv(a, b);
    if (word == "mod") return mod(a, b);
    if (word == "max") return max(a, b);
    if (word == "min") return min(a, b);
    at_ = start;
    fail("want floordiv, mod, max or min");
  }

  std::string_view text_;
  size_t at_ = 0;
  int depth_ = 0;
};

}  // namespace

Sym Sym::parse(std::string_view text) {
  KPT_CHECK(text.size() <= kMaxSymText, "base.sym.parse", "got ", text.size(), " characters, want at most ",
            kMaxSymText);
  return SymParser(text).whole();
}

}  // namespace kpt
