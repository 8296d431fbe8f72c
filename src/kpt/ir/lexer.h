// SPDX-License-Identifier: Apache-2.0
#pragma once
#include <cstddef>
#include <string>
#include <string_view>

#include "kpt/base/error.h"

namespace kpt {

// A cursor over IR text; parse.cpp alone uses it. All reads skip blanks (not line ends) first. What cannot be read
// throws Error{bad_input} "[ir.parse] line L, column C: got ..., want ...". Holds a view: the text must outlive it.
class Lexer {
 public:
  explicit Lexer(std::string_view text) : text_(text) {}

  int line() const { return line_; }
  size_t position() const { return at_; }
  [[noreturn]] void fail(std::string_view message) { fail_at(at_, message); }
  [[noreturn]] void fail_at(size_t position, std::string_view message) const;
  [[noreturn]] void want(std::string_view what);  // "got <what stands here>, want <what>"

  bool at_end();           // of the text
  bool next_line();        // over blank lines and comments to the next statement; false at the end of the text
  void expect_line_end();  // blanks and a comment may stand there
  char peek();             // '\0' at the end of a line or of the text
  bool take(char c);       // true and over it where c stands here
  void expect(char c);
  bool take_word(std::string_view word);  // only where the word ends there
  std::string_view word();                // [A-Za-z_][A-Za-z0-9_.]*
  std::string_view value();               // %name, without the %
  std::string string();                   // "..." unescaped
  // Everything up to a , ) or ] outside parentheses, or the line's end; without outer blanks. Never empty.
  std::string_view expression();

 private:
  void blanks();
  bool comment_here() const { return text_.substr(at_, 2) == "//"; }
  char escape();

  std::string_view text_;
  size_t at_ = 0;
  int line_ = 1;
};

}  // namespace kpt
