// SPDX-License-Identifier: Apache-2.0
#include <algorithm>
#include <charconv>
#include <cmath>
#include <limits>

#include "kpt/base/dims.h"
#include "kpt/ir/lexer.h"
#include "kpt/ir/text.h"

namespace kpt {

namespace {

constexpr size_t kMaxText = size_t{64} << 20;
constexpr size_t kMaxStatements = 1'000'000;
constexpr size_t kMaxAttrs = 4'000'000;  // 48 bytes each: 190 MB
constexpr int kMaxNesting = 64;

// The bits of a number such as 1e-12, -0.0, inf; nullopt where the text is no float (an expression, or malformed).
std::optional<double> float_of(std::string_view text) {
  const bool minus = text.substr(0, 1) == "-";
  const std::string_view digits = text.substr(minus ? 1 : 0);
  const double sign = minus ? -1.0 : 1.0;
  if (digits == "inf") return sign * std::numeric_limits<double>::infinity();
  if (digits == "nan") return std::copysign(std::numeric_limits<double>::quiet_NaN(), sign);
  if (digits.empty() || digits[0] < '0' || digits[0] > '9') return std::nullopt;
  if (digits.find_first_of(".e") == std::string_view::npos) return std::nullopt;
  double value = 0;
  const auto result = std::from_chars(text.data(), text.data() + text.size(), value);
  if (result.ec != std::errc() || result.ptr != text.data() + text.size()) return std::nullopt;
  return value;
}

class Parser {
 public:
  explicit Parser(std::string_view text) : lex_(text) {}

  Graph run() {
    if (!lex_.next_line() || !lex_.take_word("kpt.graph")) lex_.want("the first line 'kpt.graph 1'");
    const size_t at = lex_.position();
    if (integer("a version") != 1) lex_.fail_at(at, "got another version of the text form, want 1");
    lex_.expect_line_end();
    size_t statements = 0;
    while (lex_.next_line()) {
      if (++statements > kMaxStatements) lex_.fail(cat("got more than ", kMaxStatements, " statements"));
      if (returned_) lex_.want("the end after 'return'");
      statement();
      lex_.expect_line_end();
    }
    if (!returned_) lex_.want("a 'return' line");
    return std::move(graph_);
  }

 private:
  void statement() {
    if (lex_.peek() == '%') return node();
    if (lex_.take_word("sym")) return symbol();
    if (lex_.take_word("input")) return input();
    if (lex_.take_word("weight")) return weight();
    if (lex_.take_word("return")) return outputs();
    lex_.want("one of sym, input, weight, %value, return");
  }

  void symbol() {
    const size_t at = lex_.position();
    SymbolDecl decl;
    const Sym s = sized([&] { return Sym::symbol(lex_.word()); });
    decl.name = s.str();
    for (const SymbolDecl& other : graph_.symbols)
      if (other.name == decl.name) lex_.fail_at(at, cat("got symbol ", decl.name, " twice"));
    if (!lex_.take_word("in")) lex_.want("'in'");
    lex_.expect('[');
    decl.lo = bound();
    lex_.expect(',');
    decl.hi = bound();
    lex_.expect(']');
    if (!lex_.take_word("hint")) lex_.want("'hint'");
    decl.hint = integer("the hint");
    graph_.symbols.push_back(std::move(decl));
  }

  int64_t bound() {
    if (lex_.take_word("inf")) return INT64_MAX;
    const size_t at = lex_.position();
    const std::string_view text = lex_.expression();
    if (text == "-inf") return INT64_MIN;
    return integer_of(text, at, "a bound");
  }

  int64_t integer(std::string_view what) {
    lex_.peek();
    const size_t at = lex_.position();
    std::string_view text = lex_.expression();
    const size_t end = text.find("//");  // a comment: no division stands here
    if (end != std::string_view::npos) text = text.substr(0, end);
    return integer_of(text, at, what);
  }

  int64_t integer_of(std::string_view text, size_t at, std::string_view what) {
    while (!text.empty() && (text.back() == ' ' || text.back() == '\t')) text.remove_suffix(1);
    int64_t value = 0;
    const auto result = std::from_chars(text.data(), text.data() + text.size(), value);
    if (text.empty() || result.ec != std::errc() || result.ptr != text.data() + text.size())
      lex_.fail_at(at, cat("got '", text.substr(0, 16), "' for ", what, ", want an integer"));
    return value;
  }

  void input() {
    const std::string name = new_name();
    lex_.expect(':');
    graph_.add_input(name, type());
  }

  void weight() {
    const std::string name = new_name();
    const std::string fqn = lex_.string();
    lex_.expect(':');
    graph_.add_weight(name, fqn, type());
  }

  void outputs() {
    std::vector<Value*> values;
    if (lex_.peek() == '%') {
      do values.push_back(known());
      while (lex_.take(','));
    }
    graph_.set_outputs(std::move(values));
    returned_ = true;
  }

  void node() {
    const int line = lex_.line();
    NodeSpec spec;
    do {
      lex_.peek();
      const size_t at = lex_.position();
      spec.names.push_back(new_name());
      if (spec.names.size() > kMaxOutputs) lex_.fail(cat("got more than ", kMaxOutputs, " outputs of one node"));
      if (std::find(spec.names.begin(), spec.names.end() - 1, spec.names.back()) != spec.names.end() - 1)
        lex_.fail_at(at, cat("got %", spec.names.back(), " twice"));
    } while (lex_.take(','));
    lex_.expect('=');
    spec.op = op_name();
    arguments(spec);
    lex_.expect(':');
    for (size_t i = 0; i < spec.names.size(); ++i) {
      if (i) lex_.expect(',');
      spec.types.push_back(type());
    }
    if (lex_.take('@')) {
      spec.loc.scope = lex_.string();
      if (lex_.peek() == '"') spec.loc.stack = lex_.string();
    }
    graph_.add_node(std::move(spec))->line = line;
  }

  std::string op_name() {
    lex_.peek();
    const size_t at = lex_.position();
    const std::string_view op = lex_.word();
    const bool dotted = op.find('.') != std::string_view::npos && op.back() != '.';
    if (!dotted) lex_.fail_at(at, cat("got '", op.substr(0, 40), "', want an operator such as aten.add.Tensor"));
    return std::string(op);
  }

  void arguments(NodeSpec& spec) {
    lex_.expect('(');
    if (lex_.take(')')) return;
    do {
      lex_.peek();
      const size_t at = lex_.position();
      const std::string_view name = keyword();
      if (name.empty()) {
        if (!spec.kwargs.empty()) lex_.want("only named arguments after the first of them");
        spec.args.push_back(attr(&spec.inputs, 0));
        continue;
      }
      if (find(spec.kwargs, name)) lex_.fail_at(at, cat("got argument ", name, " twice"));
      spec.kwargs.emplace_back(std::string(name), attr(nullptr, 0));
    } while (lex_.take(','));
    lex_.expect(')');
  }

  // The name before '=', or empty where a positional argument stands here.
  std::string_view keyword() {
    const char c = lex_.peek();
    if (!((c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || c == '_')) return {};
    Lexer ahead = lex_;
    const std::string_view name = ahead.word();
    if (!ahead.take('=')) return {};
    if (name.find('.') != std::string_view::npos) lex_.want("an argument's name without '.'");
    lex_ = ahead;
    return name;
  }

  // inputs: where tensors go; null where none may stand (named arguments).
  Attr attr(std::vector<Value*>* inputs, int depth) {
    if (++attrs_ > kMaxAttrs) lex_.fail(cat("got more than ", kMaxAttrs, " arguments in all"));
    if (depth > kMaxNesting) lex_.fail(cat("got nesting above ", kMaxNesting));
    const char c = lex_.peek();
    if (c == '%') {
      if (!inputs) lex_.want("no tensor in a named argument");
      inputs->push_back(known());
      return In{static_cast<int>(inputs->size()) - 1};
    }
    if (c == '"') return lex_.string();
    if (c == '[') return list(inputs, depth);
    const size_t at = lex_.position();
    const std::string_view text = lex_.expression();
    if (text == "none") return None{};
    if (text == "true") return true;
    if (text == "false") return false;
    if (auto dtype = parse_dtype(text)) return *dtype;
    if (auto number = float_of(text)) return *number;
    return expression(text, at);
  }

  Attr list(std::vector<Value*>* inputs, int depth) {
    AttrList items;
    lex_.expect('[');
    if (lex_.take(']')) return items;
    do items.push_back(attr(inputs, depth + 1));
    while (lex_.take(','));
    lex_.expect(']');
    return items;
  }

  TensorType type() {
    TensorType out;
    lex_.peek();
    const size_t at = lex_.position();
    const std::string_view word = lex_.word();
    const auto dtype = parse_dtype(word);
    if (!dtype) lex_.fail_at(at, cat("got '", word.substr(0, 16), "', want a type such as f32[2, s]"));
    out.dtype = *dtype;
    lex_.expect('[');
    if (lex_.take(']')) return out;
    do {
      if (out.sizes.size() == static_cast<size_t>(kMaxRank)) lex_.fail(cat("got rank above ", kMaxRank));
      lex_.peek();
      const size_t start = lex_.position();
      out.sizes.push_back(expression(lex_.expression(), start));
    } while (lex_.take(','));
    lex_.expect(']');
    return out;
  }

  Sym expression(std::string_view text, size_t at) {
    return sized([&] { return Sym::parse(text); }, at);
  }

  // Runs f; an Error of the expression gets the line and column of the text around it.
  template <class F>
  Sym sized(F f, size_t at = std::string_view::npos) {
    lex_.peek();
    if (at == std::string_view::npos) at = lex_.position();
    std::string message;
    try {
      return f();
    } catch (const Error& e) {
      message = e.what();
    }
    lex_.fail_at(at, message);
  }

  std::string new_name() {
    lex_.peek();
    const size_t at = lex_.position();
    const std::string_view name = lex_.value();
    if (graph_.find(name)) lex_.fail_at(at, cat("got %", name, ", which is defined already"));
    return std::string(name);
  }

  Value* known() {
    lex_.peek();
    const size_t at = lex_.position();
    const std::string_view name = lex_.value();
    Value* v = graph_.find(name);
    if (!v) lex_.fail_at(at, cat("got %", name, ", which is not defined above"));
    return v;
  }

  static constexpr size_t kMaxOutputs = 1024;
  Lexer lex_;
  Graph graph_;
  size_t attrs_ = 0;
  bool returned_ = false;
};

}  // namespace

Graph parse(std::string_view text) {
  KPT_CHECK(text.size() <= kMaxText, "ir.parse", "got ", text.size(), " bytes, want at most ", kMaxText);
  return Parser(text).run();
}

}  // namespace kpt
