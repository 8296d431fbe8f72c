// SPDX-License-Identifier: Apache-2.0
#include "kpt/base/attr.h"

namespace kpt {

namespace {

std::string_view kind_name(const Attr& a) {
  constexpr std::string_view kNames[] = {"none",    "a tensor", "a bool",  "an integer",
                                         "a float", "a string", "a dtype", "a list"};
  return kNames[a.index()];
}

[[noreturn]] void wrong_type(std::string_view name, const Attr& got, std::string_view want) {
  throw_error(ErrorKind::bad_input, "base.attr", cat("got ", kind_name(got), " for ", name, ", want ", want));
}

// Null where the attribute is absent or none.
const Attr* present(const Kwargs& kwargs, std::string_view name) {
  const Attr* a = find(kwargs, name);
  return a && !a->is_none() ? a : nullptr;
}

const Attr* present_list(const Kwargs& kwargs, std::string_view name) {
  const Attr* a = present(kwargs, name);
  if (a && !a->is<AttrList>()) wrong_type(name, *a, "a list");
  return a;
}

int64_t constant(std::string_view name, const Attr& a) {
  if (!a.is<Sym>()) wrong_type(name, a, "an integer");
  if (!a.as<Sym>().is_const()) wrong_type(name, a, cat("a constant in place of ", a.as<Sym>()));
  return a.as<Sym>().value();
}

}  // namespace

const Attr* find(const Kwargs& kwargs, std::string_view name) {
  for (const auto& [key, value] : kwargs)
    if (key == name) return &value;
  return nullptr;
}

bool get_bool(const Kwargs& kwargs, std::string_view name, bool otherwise) {
  const Attr* a = present(kwargs, name);
  if (!a) return otherwise;
  if (!a->is<bool>()) wrong_type(name, *a, "a bool");
  return a->as<bool>();
}

Sym get_sym(const Kwargs& kwargs, std::string_view name, const Sym& otherwise) {
  const Attr* a = present(kwargs, name);
  if (!a) return otherwise;
  if (!a->is<Sym>()) wrong_type(name, *a, "an integer");
  return a->as<Sym>();
}

int64_t get_int(const Kwargs& kwargs, std::string_view name, int64_t otherwise) {
  const Attr* a = present(kwargs, name);
  return a ? constant(name, *a) : otherwise;
}

double get_float(const Kwargs& kwargs, std::string_view name, double otherwise) {
  const Attr* a = present(kwargs, name);
  if (!a) return otherwise;
  if (a->is<double>()) return a->as<double>();
  if (!a->is<Sym>()) wrong_type(name, *a, "a number");
  return static_cast<double>(constant(name, *a));
}

std::string get_string(const Kwargs& kwargs, std::string_view name, std::string_view otherwise) {
  const Attr* a = present(kwargs, name);
  if (!a) return std::string(otherwise);
  if (!a->is<std::string>()) wrong_type(name, *a, "a string");
  return a->as<std::string>();
}

std::vector<Sym> get_syms(const Kwargs& kwargs, std::string_view name) {
  std::vector<Sym> out;
  const Attr* a = present_list(kwargs, name);
  if (!a) return out;
  for (const Attr& item : a->as<AttrList>()) {
    if (!item.is<Sym>()) wrong_type(name, item, "a list of integers");
    out.push_back(item.as<Sym>());
  }
  return out;
}

std::vector<int64_t> get_ints(const Kwargs& kwargs, std::string_view name) {
  std::vector<int64_t> out;
  const Attr* a = present_list(kwargs, name);
  if (!a) return out;
  for (const Attr& item : a->as<AttrList>()) out.push_back(constant(name, item));
  return out;
}

Attr concrete(const Attr& attr, const SymEnv& env) {
  if (attr.is<Sym>()) return Attr(Sym(attr.as<Sym>().eval(env)));
  if (!attr.is<AttrList>()) return attr;
  AttrList list;
  for (const Attr& item : attr.as<AttrList>()) list.push_back(concrete(item, env));
  return Attr(std::move(list));
}

}  // namespace kpt
