// SPDX-License-Identifier: Apache-2.0
#include <charconv>
#include <cmath>

#include "kpt/ir/text.h"

namespace kpt {

namespace {

// Length of the UTF-8 sequence at s[i], or 0 where it is malformed. Table 3-7 of the Unicode standard, without the
// overlong forms and surrogates.
size_t utf8_length(std::string_view s, size_t i) {
  const auto byte = [&](size_t k) { return k < s.size() ? static_cast<unsigned char>(s[k]) : 0u; };
  const auto tail = [&](size_t k) { return (byte(k) & 0xC0) == 0x80; };
  const unsigned c = byte(i);
  if (c < 0x80) return 1;
  if (c >= 0xC2 && c <= 0xDF) return tail(i + 1) ? 2 : 0;
  if (c >= 0xE0 && c <= 0xEF) {
    const bool first = c == 0xE0 ? byte(i + 1) >= 0xA0 : c == 0xED ? byte(i + 1) <= 0x9F : true;
    return first && tail(i + 1) && tail(i + 2) ? 3 : 0;
  }
  if (c >= 0xF0 && c <= 0xF4) {
    const bool first = c == 0xF0 ? byte(i + 1) >= 0x90 : c == 0xF4 ? byte(i + 1) <= 0x8F : true;
    return first && tail(i + 1) && tail(i + 2) && tail(i + 3) ? 4 : 0;
  }
  return 0;
}

void put_hex(std::string& out, char c) {
  constexpr char kDigits[] = "0123456789abcdef";
  const unsigned byte = static_cast<unsigned char>(c);
  out += "\\x";
  out += kDigits[byte >> 4];
  out += kDigits[byte & 15];
}

void put_string(std::string& out, std::string_view s) {
  out += '"';
  for (size_t i = 0; i < s.size();) {
    const char c = s[i];
    const size_t length = utf8_length(s, i);
    if (c == '"' || c == '\\') {
      out += '\\';
      out += c;
    } else if (c == '\n') {
      out += "\\n";
    } else if (c == '\t') {
      out += "\\t";
    } else if (length == 0 || (static_cast<unsigned char>(c) < 0x20) || c == 0x7F) {
      put_hex(out, c);
    } else {
      out += s.substr(i, length);
    }
    i += length == 0 ? 1 : length;
  }
  out += '"';
}

void put_double(std::string& out, double v) {
  if (std::isnan(v)) {
    out += std::signbit(v) ? "-nan" : "nan";
    return;
  }
  char buffer[32];
  const auto result = std::to_chars(buffer, buffer + sizeof buffer, v);
  const std::string_view text(buffer, static_cast<size_t>(result.ptr - buffer));
  out += text;
  if (text.find_first_of(".ein") == std::string_view::npos) out += ".0";  // else it would read back as an integer
}

void put_attr(std::string& out, const Attr& a, const std::vector<Value*>& inputs) {
  if (a.is<None>()) {
    out += "none";
  } else if (a.is<In>()) {
    const size_t i = static_cast<size_t>(a.as<In>().index);
    out += '%';
    out +=
        i < inputs.size() && inputs[i] ? inputs[i]->name : "?";  // a broken node must still print for verify's message
  } else if (a.is<bool>()) {
    out += a.as<bool>() ? "true" : "false";
  } else if (a.is<Sym>()) {
    out += a.as<Sym>().str();
  } else if (a.is<double>()) {
    put_double(out, a.as<double>());
  } else if (a.is<std::string>()) {
    put_string(out, a.as<std::string>());
  } else if (a.is<DType>()) {
    out += name(a.as<DType>());
  } else {
    out += '[';
    bool first = true;
    for (const Attr& item : a.as<AttrList>()) {
      if (!first) out += ", ";
      first = false;
      put_attr(out, item, inputs);
    }
    out += ']';
  }
}

void put_type(std::string& out, const TensorType& type) {
  out += name(type.dtype);
  out += '[';
  for (size_t i = 0; i < type.sizes.size(); ++i) {
    if (i) out += ", ";
    out += type.sizes[i].str();
  }
  out += ']';
}

void put_values(std::string& out, const std::vector<Value*>& values) {
  for (size_t i = 0; i < values.size(); ++i) {
    out += i ? ", %" : "%";
    out += values[i]->name;
  }
}

void put_node(std::string& out, const Node& node) {
  put_values(out, node.outputs);
  out += " = ";
  out += node.op;
  out += '(';
  bool first = true;
  for (const Attr& a : node.args) {
    if (!first) out += ", ";
    first = false;
    put_attr(out, a, node.inputs);
  }
  for (const auto& [key, value] : node.kwargs) {
    if (!first) out += ", ";
    first = false;
    out += key;
    out += '=';
    put_attr(out, value, node.inputs);
  }
  out += ") : ";
  for (size_t i = 0; i < node.outputs.size(); ++i) {
    if (i) out += ", ";
    put_type(out, node.outputs[i]->type);
  }
  if (node.loc.scope.empty() && node.loc.stack.empty()) return;
  out += "  @ ";
  put_string(out, node.loc.scope);
  if (node.loc.stack.empty()) return;
  out += ' ';
  put_string(out, node.loc.stack);
}

std::string bound(int64_t v) {
  if (v == INT64_MAX) return "inf";
  if (v == INT64_MIN) return "-inf";
  return std::to_string(v);
}

}  // namespace

std::string print(const Attr& attr, const std::vector<Value*>& inputs) {
  std::string out;
  put_attr(out, attr, inputs);
  return out;
}

std::string print(const Node& node) {
  std::string out;
  put_node(out, node);
  return out;
}

std::string print(const Graph& graph) {
  std::string out = "kpt.graph 1\n";
  for (const SymbolDecl& s : graph.symbols)
    out += cat("sym ", s.name, " in [", bound(s.lo), ", ", bound(s.hi), "] hint ", s.hint, '\n');
  for (const Value* v : graph.inputs()) {
    out += "input %" + v->name + " : ";
    put_type(out, v->type);
    out += '\n';
  }
  for (const Value* v : graph.weights()) {
    out += "weight %" + v->name + ' ';
    put_string(out, v->fqn);
    out += " : ";
    put_type(out, v->type);
    out += '\n';
  }
  for (const Node* node : graph.nodes()) {
    put_node(out, *node);
    out += '\n';
  }
  out += graph.outputs().empty() ? "return" : "return ";
  put_values(out, graph.outputs());
  out += '\n';
  return out;
}

}  // namespace kpt
