// SPDX-License-Identifier: Apache-2.0
#pragma once
#include <iosfwd>
#include <string>
#include <utility>
#include <variant>
#include <vector>

#include "kpt/base/dtype.h"
#include "kpt/base/sym.h"

namespace kpt {

struct None {
  friend bool operator==(None, None) { return true; }
};

// A tensor operand: index into the list of input tensors of the node or problem that holds the attribute.
struct In {
  int index = 0;
  friend bool operator==(In a, In b) { return a.index == b.index; }
};

struct Attr;
using AttrList = std::vector<Attr>;

// One argument of an operator. Written in the text form as
//   none   %x   true   s + 1   1e-12   "tanh"   dtype f32 as `f32`   [1, s, 3]
// A number without '.', 'e', inf or nan is a Sym; any other number is a double.
struct Attr : std::variant<None, In, bool, Sym, double, std::string, DType, AttrList> {
  using variant::variant;
  Attr(const char* text) : variant(std::string(text)) {}  // NOLINT: else a literal becomes bool
  Attr(int value) : variant(Sym(value)) {}                // NOLINT
  Attr(int64_t value) : variant(Sym(value)) {}            // NOLINT

  template <class T>
  bool is() const {
    return std::holds_alternative<T>(*this);
  }
  template <class T>
  const T& as() const {
    return std::get<T>(*this);
  }
  bool is_none() const { return is<None>(); }
};

using Kwargs = std::vector<std::pair<std::string, Attr>>;

// Null where there is no such name.
KPT_API const Attr* find(const Kwargs& kwargs, std::string_view name);

// Typed reads with a default for "absent or none". Throw Error{bad_input} naming the attribute where the type is wrong.
KPT_API bool get_bool(const Kwargs& kwargs, std::string_view name, bool otherwise);
KPT_API Sym get_sym(const Kwargs& kwargs, std::string_view name, const Sym& otherwise);
KPT_API int64_t get_int(const Kwargs& kwargs, std::string_view name, int64_t otherwise);  // constant Sym
KPT_API double get_float(const Kwargs& kwargs, std::string_view name, double otherwise);  // double or constant Sym
KPT_API std::string get_string(const Kwargs& kwargs, std::string_view name, std::string_view otherwise);
KPT_API std::vector<Sym> get_syms(const Kwargs& kwargs, std::string_view name);      // list; empty if absent
KPT_API std::vector<int64_t> get_ints(const Kwargs& kwargs, std::string_view name);  // list of constants

// Every Sym inside replaced by its value.
KPT_API Attr concrete(const Attr& attr, const SymEnv& env);

}  // namespace kpt
