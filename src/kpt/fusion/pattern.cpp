// SPDX-License-Identifier: Apache-2.0
#include "kpt/fusion/pattern.h"

#include <algorithm>
#include <cctype>
#include <charconv>
#include <cmath>
#include <set>

namespace kpt {
namespace {

// One line of text, read from left to right.
class Scanner {
 public:
  Scanner(std::string_view text, int line, std::string_view fusion) : text_(text), line_(line), fusion_(fusion) {}

  [[noreturn]] void fail(const std::string& message) const {
    throw_error(ErrorKind::bad_input, cat("fusion.", fusion_),
                cat("line ", line_, ", column ", at_ + 1, ": ", message));
  }
  void skip() {
    while (at_ < text_.size() && (text_[at_] == ' ' || text_[at_] == '\t')) ++at_;
  }
  bool done() {
    skip();
    return at_ == text_.size();
  }
  char peek() {
    skip();
    return at_ < text_.size() ? text_[at_] : '\0';
  }
  bool take(char c) {
    if (peek() != c) return false;
    ++at_;
    return true;
  }
  void want(char c) {
    if (!take(c)) fail(cat("got ", seen(), ", want '", c, "'"));
  }
  std::string seen() {
    const char c = peek();
    return c ? cat("'", c, "'") : std::string("the end of the line");
  }
  // A run of letters, digits, '_' and whatever `extra` holds; `what` names it in the error.
  std::string word(std::string_view extra, std::string_view what) {
    skip();
    const size_t from = at_;
    while (at_ < text_.size() && (std::isalnum(static_cast<unsigned char>(text_[at_])) || text_[at_] == '_' ||
                                  extra.find(text_[at_]) != std::string_view::npos))
      ++at_;
    if (at_ == from) fail(cat("got ", seen(), ", want ", what));
    return std::string(text_.substr(from, at_ - from));
  }
  std::string quoted() {
    want('"');
    const size_t end = text_.find('"', at_);
    if (end == std::string_view::npos) fail("got no closing '\"'");
    std::string s(text_.substr(at_, end - at_));
    at_ = end + 1;
    return s;
  }
  // True where the text goes on with `name =`: a named argument.
  bool named() {
    skip();
    size_t i = at_;
    while (i < text_.size() && (std::isalnum(static_cast<unsigned char>(text_[i])) || text_[i] == '_')) ++i;
    const bool some = i > at_;
    while (i < text_.size() && text_[i] == ' ') ++i;
    return some && i < text_.size() && text_[i] == '=';
  }
  int line() const { return line_; }

 private:
  std::string_view text_;
  size_t at_ = 0;
  int line_;
  std::string_view fusion_;
};

Attr parse_number(Scanner& in) {
  const std::string text = in.word("+-.", "a value");
  if (text == "-inf") return Attr(-HUGE_VAL);
  if (text.find_first_of(".eE") == std::string::npos) {
    int64_t whole = 0;
    const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), whole);
    if (error == std::errc() && end == text.data() + text.size()) return Attr(Sym(whole));
  }
  double value = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value);
  if (error != std::errc() || end != text.data() + text.size())
    in.fail(cat("got '", text, "', want %value, ?attribute, $filled, a number, a string, a list, true, false or none"));
  return Attr(value);
}

Term parse_term(Scanner& in, int depth = 0) {
  Term term;
  if (depth > 8) in.fail("got lists nested deeper than 8");
  if (in.take('%')) {
    term.kind = Term::Kind::value;
    term.name = in.word("", "a name");
    term.optional = in.take('?');
  } else if (in.take('?')) {
    term.kind = Term::Kind::attr;
    term.name = in.word("", "a name");
  } else if (in.take('$')) {
    term.kind = Term::Kind::fill;
    term.name = in.word("", "a name");
  } else if (in.take('[')) {
    term.kind = Term::Kind::list;
    while (!in.take(']')) {
      term.items.push_back(parse_term(in, depth + 1));
      if (in.peek() != ']') in.want(',');
    }
  } else if (in.peek() == '"') {
    term.kind = Term::Kind::literal;
    term.literal = Attr(in.quoted());
  } else if (std::isalpha(static_cast<unsigned char>(in.peek()))) {
    const std::string word = in.word("", "a value");
    if (word == "none") return term;
    term.kind = Term::Kind::literal;
    if (word == "inf") {
      term.literal = Attr(HUGE_VAL);
    } else if (word == "true" || word == "false") {
      term.literal = Attr(word == "true");
    } else if (const auto dtype = parse_dtype(word)) {
      term.literal = Attr(*dtype);
    } else {
      in.fail(
          cat("got '", word, "', want %value, ?attribute, $filled, a number, a string, a list, true, false or none"));
    }
  } else {
    term.kind = Term::Kind::literal;
    term.literal = parse_number(in);
  }
  return term;
}

PatternLine parse_line(Scanner& in) {
  PatternLine line;
  line.line = in.line();
  line.skippable = in.take('?');
  do {
    in.want('%');
    line.outs.push_back({in.word("", "a name"), std::nullopt});
  } while (in.take(','));
  in.want('=');
  line.op = in.word(".", "an operator");
  if (line.op.find('.') == std::string::npos)
    in.fail(cat("got operator '", line.op, "', want a name such as aten.relu or kpt.linear"));
  in.want('(');
  while (!in.take(')')) {
    if (in.named()) {
      std::string name = in.word("", "a name");
      in.want('=');
      line.kwargs.emplace_back(std::move(name), parse_term(in));
    } else {
      if (!line.kwargs.empty()) in.fail("got a positional argument behind a named one");
      line.args.push_back(parse_term(in));
    }
    if (in.peek() != ')') in.want(',');
  }
  if (in.take(':')) {
    size_t i = 0;
    do {
      const std::string word = in.word("", "a dtype");
      const auto dtype = parse_dtype(word);
      if (!dtype) in.fail(cat("got '", word, "', want a dtype such as f32"));
      if (i == line.outs.size()) in.fail("got more types than values");
      line.outs[i++].dtype = dtype;
    } while (in.take(','));
  }
  if (!in.done()) in.fail(cat("got ", in.seen(), " behind the statement"));
  return line;
}

void each_value(const Term& term, const std::function<void(const Term&)>& see) {
  if (term.kind == Term::Kind::value) see(term);
  for (const Term& item : term.items) each_value(item, see);
}

void each_value(const PatternLine& line, const std::function<void(const Term&)>& see) {
  for (const Term& t : line.args) each_value(t, see);
  for (const auto& [name, t] : line.kwargs) each_value(t, see);
}

// What must hold for every alternative, so that matching and rewriting need no further checks.
class Checker {
 public:
  Checker(const Alternative& alternative, std::string_view fusion) : a_(alternative), fusion_(fusion) {}

  void run() {
    left();
    right();
  }

 private:
  [[noreturn]] void fail(int line, const std::string& message) const {
    throw_error(ErrorKind::bad_input, cat("fusion.", fusion_), cat("line ", line, ": ", message));
  }
  bool used_later(size_t i) const {
    bool used = false;
    for (size_t j = i + 1; j < a_.before.size(); ++j)
      each_value(a_.before[j], [&](const Term& t) {
        for (const PatternOut& out : a_.before[i].outs) used |= t.name == out.name && !t.optional;
      });
    return used;
  }
  void left() {
    std::set<std::string> free;
    for (size_t i = 0; i < a_.before.size(); ++i) {
      const PatternLine& line = a_.before[i];
      if (line.skippable) skippable(line);
      each_value(line, [&](const Term& t) {
        if (!defined_.count(t.name)) free.insert(t.name);
        // A line that is absent binds its first operand alone.
        if (!line.skippable || &t == &line.args[0]) sure_.insert(t.name);
      });
      for (const PatternOut& out : line.outs) {
        if (free.count(out.name)) fail(line.line, cat("%", out.name, " is used before it is defined"));
        if (!defined_.insert(out.name).second) fail(line.line, cat("%", out.name, " is defined twice"));
      }
      if (i + 1 < a_.before.size() && !used_later(i))
        fail(line.line,
             cat("%", line.outs[0].name, " is not used by a later line, so it cannot be found from the last one"));
      for (const auto& [name, t] : line.kwargs) no_fill(line, t);
      for (const Term& t : line.args) no_fill(line, t);
    }
    bound_ = defined_;
    bound_.insert(free.begin(), free.end());
    sure_.insert(defined_.begin(), defined_.end());
  }
  void skippable(const PatternLine& line) const {
    if (&line == &a_.root()) fail(line.line, "got '? ' on the last line before '=>'");
    if (line.args.empty() || line.args[0].kind != Term::Kind::value || line.args[0].optional || line.outs.size() != 1)
      fail(line.line, "got a '? ' line without a %value as first operand");
    if (a_.defines_after(line.outs[0].name)) fail(line.line, "got a '? ' line whose value is defined behind '=>' too");
  }
  void no_fill(const PatternLine& line, const Term& t) const {
    if (t.kind == Term::Kind::fill) fail(line.line, cat("got $", t.name, " before '=>': want ?", t.name));
    for (const Term& item : t.items) no_fill(line, item);
  }
  void right() const {
    std::set<std::string> known = bound_, sure = sure_, made;
    for (const PatternLine& line : a_.after) {
      if (line.skippable) fail(line.line, "got '? ' behind '=>'");
      each_value(line, [&](const Term& t) {
        if (!known.count(t.name)) fail(line.line, cat("got %", t.name, ", which nothing defines"));
        if (!t.optional && !sure.count(t.name))
          fail(line.line, cat("got %", t.name, ", which only a '? ' line binds: want %", t.name, "?"));
        if (defined_.count(t.name) && !made.count(t.name))
          fail(line.line, cat("got %", t.name, ", which the rewrite removes: define it first"));
      });
      for (const PatternOut& out : line.outs) {
        if (bound_.count(out.name) && !defined_.count(out.name))
          fail(line.line, cat("%", out.name, " is an input of the pattern, so it cannot be defined"));
        if (!made.insert(out.name).second) fail(line.line, cat("%", out.name, " is defined twice"));
        known.insert(out.name);
        sure.insert(out.name);
      }
    }
    for (const PatternOut& out : a_.root().outs)
      if (!made.count(out.name)) fail(a_.root().line, cat("the text behind '=>' does not define %", out.name));
  }

  const Alternative& a_;
  std::string_view fusion_;
  std::set<std::string> defined_, bound_;
  std::set<std::string> sure_;  // bound even where all '? ' lines are absent
};

void check_alternative(const Alternative& a, int line, std::string_view fusion) {
  const std::string where = cat("fusion.", fusion);
  if (a.before.empty()) throw_error(ErrorKind::bad_input, where, cat("line ", line, ": got no statement before '=>'"));
  if (a.after.empty()) throw_error(ErrorKind::bad_input, where, cat("line ", line, ": got no statement behind '=>'"));
  Checker(a, fusion).run();
}

}  // namespace

bool Alternative::defines_after(std::string_view name) const {
  for (const PatternLine& line : after)
    for (const PatternOut& out : line.outs)
      if (out.name == name) return true;
  return false;
}

Pattern parse_pattern(std::string_view text, std::string_view fusion) {
  Pattern pattern;
  Alternative current;
  bool behind = false;
  int number = 0;
  const auto finish = [&] {
    if (!behind) throw_error(ErrorKind::bad_input, cat("fusion.", fusion), cat("line ", number, ": got no '=>'"));
    check_alternative(current, number, fusion);
    pattern.alternatives.push_back(std::move(current));
    current = {};
    behind = false;
  };
  while (!text.empty()) {
    const size_t end = std::min(text.find('\n'), text.size());
    std::string_view line = text.substr(0, end);
    text.remove_prefix(std::min(end + 1, text.size()));
    ++number;
    line = line.substr(0, line.find("//"));
    while (!line.empty() && std::isspace(static_cast<unsigned char>(line.back()))) line.remove_suffix(1);
    Scanner in(line, number, fusion);
    if (in.done()) continue;
    if (line == "---") {
      finish();
    } else if (line == "=>") {
      if (behind) in.fail("got a second '=>', want '---' between alternatives");
      behind = true;
    } else {
      (behind ? current.after : current.before).push_back(parse_line(in));
    }
  }
  finish();
  return pattern;
}

bool commutes(std::string_view op) {
  static const std::set<std::string_view> ops = {"aten.add.Tensor", "aten.mul.Tensor",  "aten.maximum",
                                                 "aten.minimum",    "aten.logical_and", "aten.logical_or"};
  return ops.count(op) > 0;
}

std::optional<double> number(const Attr& attr) {
  if (attr.is<double>()) return attr.as<double>();
  if (attr.is<Sym>() && attr.as<Sym>().is_const()) return static_cast<double>(attr.as<Sym>().value());
  return std::nullopt;
}

}  // namespace kpt
