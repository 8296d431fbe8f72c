// SPDX-License-Identifier: Apache-2.0
#include "kpt/ir/lexer.h"

#include <algorithm>

#include "kpt/ir/graph.h"

namespace kpt {

namespace {

bool digit(char c) { return c >= '0' && c <= '9'; }
bool letter(char c) { return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || c == '_'; }
bool word_char(char c) { return letter(c) || digit(c) || c == '.'; }

int hex(char c) {
  if (digit(c)) return c - '0';
  if (c >= 'a' && c <= 'f') return c - 'a' + 10;
  if (c >= 'A' && c <= 'F') return c - 'A' + 10;
  return -1;
}

}  // namespace

void Lexer::fail_at(size_t position, std::string_view message) const {
  const std::string_view before = text_.substr(0, position);
  const auto line = std::count(before.begin(), before.end(), '\n') + 1;
  const size_t start = before.rfind('\n');
  const size_t column = start == std::string_view::npos ? position + 1 : position - start;
  throw_error(ErrorKind::bad_input, "ir.parse", cat("line ", line, ", column ", column, ": ", message));
}

void Lexer::want(std::string_view what) {
  blanks();
  std::string got;
  if (at_ >= text_.size())
    got = "the end of the text";
  else if (text_[at_] == '\n')
    got = "the end of the line";
  else
    got = cat("'", text_.substr(at_, std::min<size_t>(16, text_.find('\n', at_) - at_)), "'");
  fail(cat("got ", got, ", want ", what));
}

void Lexer::blanks() {
  while (at_ < text_.size() && (text_[at_] == ' ' || text_[at_] == '\t' || text_[at_] == '\r')) ++at_;
}

bool Lexer::at_end() {
  blanks();
  return at_ >= text_.size();
}

bool Lexer::next_line() {
  for (;;) {
    blanks();
    if (comment_here()) at_ = std::min(text_.find('\n', at_), text_.size());
    if (at_ >= text_.size()) return false;
    if (text_[at_] != '\n') return true;
    ++at_;
    ++line_;
  }
}

void Lexer::expect_line_end() {
  blanks();
  if (at_ < text_.size() && text_[at_] != '\n' && !comment_here()) want("the end of the line");
}

char Lexer::peek() {
  blanks();
  return at_ < text_.size() && text_[at_] != '\n' ? text_[at_] : '\0';
}

bool Lexer::take(char c) {
  if (peek() != c) return false;
  ++at_;
  return true;
}

void Lexer::expect(char c) {
  if (!take(c)) want(std::string{'\'', c, '\''});
}

bool Lexer::take_word(std::string_view word) {
  blanks();
  if (text_.substr(at_, word.size()) != word) return false;
  const size_t end = at_ + word.size();
  if (end < text_.size() && word_char(text_[end])) return false;
  at_ = end;
  return true;
}

std::string_view Lexer::word() {
  blanks();
  size_t end = at_;
  while (end < text_.size() && word_char(text_[end])) ++end;
  if (end == at_ || !letter(text_[at_])) want("a name");
  const std::string_view out = text_.substr(at_, end - at_);
  at_ = end;
  return out;
}

std::string_view Lexer::value() {
  blanks();
  if (at_ >= text_.size() || text_[at_] != '%') want("a value such as %x");
  size_t end = at_ + 1;
  while (end < text_.size() && word_char(text_[end])) ++end;
  const std::string_view name = text_.substr(at_ + 1, end - at_ - 1);
  if (!is_value_name(name)) want("a value such as %x or %12");
  at_ = end;
  return name;
}

char Lexer::escape() {
  const char c = at_ < text_.size() ? text_[at_++] : '\0';
  switch (c) {
    case '"':
    case '\\': return c;
    case 'n': return '\n';
    case 't': return '\t';
    case 'x': {
      const int high = at_ < text_.size() ? hex(text_[at_]) : -1;
      const int low = at_ + 1 < text_.size() ? hex(text_[at_ + 1]) : -1;
      if (high < 0 || low < 0) want("two hex digits after \\x");
      at_ += 2;
      return static_cast<char>(high * 16 + low);
    }
    default: at_ -= c == '\0' ? 0 : 1; want("one of \" \\ n t x after a backslash");
  }
}

std::string Lexer::string() {
  blanks();
  const size_t start = at_;
  if (at_ >= text_.size() || text_[at_] != '"') want("a string");
  ++at_;
  std::string out;
  for (;;) {
    if (at_ >= text_.size() || text_[at_] == '\n')
      fail_at(start, "got a string without end, want '\"' on the same line");
    const char c = text_[at_++];
    if (c == '"') return out;
    out += c == '\\' ? escape() : c;
  }
}

std::string_view Lexer::expression() {
  blanks();
  size_t end = at_;
  int depth = 0;
  for (; end < text_.size() && text_[end] != '\n'; ++end) {
    const char c = text_[end];
    if (depth == 0 && (c == ',' || c == ')' || c == ']')) break;
    if (c == '(') ++depth;
    if (c == ')') --depth;
  }
  size_t last = end;
  while (last > at_ && (text_[last - 1] == ' ' || text_[last - 1] == '\t' || text_[last - 1] == '\r')) --last;
  if (last == at_) want("a value");
  const std::string_view out = text_.substr(at_, last - at_);
  at_ = end;
  return out;
}

}  // namespace kpt
