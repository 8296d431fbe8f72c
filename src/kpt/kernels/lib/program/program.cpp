// SPDX-License-Identifier: Apache-2.0
#include "kpt/kernels/lib/program/program.h"

#include <algorithm>
#include <charconv>
#include <cmath>
#include <limits>
#include <map>

namespace kpt {
namespace {

constexpr FnInfo kFns[] = {
    {"add", Fn::add, 2, 0, Rule::promote},
    {"sub", Fn::sub, 2, 0, Rule::promote},
    {"mul", Fn::mul, 2, 0, Rule::promote},
    {"div", Fn::div, 2, 0, Rule::floating},
    {"div_floor", Fn::div_floor, 2, 0, Rule::promote},
    {"div_trunc", Fn::div_trunc, 2, 0, Rule::promote},
    {"pow", Fn::pow, 2, 0, Rule::promote},
    {"maximum", Fn::max, 2, 0, Rule::promote},
    {"minimum", Fn::min, 2, 0, Rule::promote},
    {"remainder", Fn::rem, 2, 0, Rule::promote},
    {"atan2", Fn::atan2, 2, 0, Rule::floating},
    {"neg", Fn::neg, 1, 0, Rule::same},
    {"abs", Fn::abs, 1, 0, Rule::same},
    {"sign", Fn::sign, 1, 0, Rule::same},
    {"exp", Fn::exp, 1, 0, Rule::floating},
    {"exp2", Fn::exp2, 1, 0, Rule::floating},
    {"expm1", Fn::expm1, 1, 0, Rule::floating},
    {"log", Fn::log, 1, 0, Rule::floating},
    {"log2", Fn::log2, 1, 0, Rule::floating},
    {"log1p", Fn::log1p, 1, 0, Rule::floating},
    {"sqrt", Fn::sqrt, 1, 0, Rule::floating},
    {"rsqrt", Fn::rsqrt, 1, 0, Rule::floating},
    {"reciprocal", Fn::recip, 1, 0, Rule::floating},
    {"sin", Fn::sin, 1, 0, Rule::floating},
    {"cos", Fn::cos, 1, 0, Rule::floating},
    {"tan", Fn::tan, 1, 0, Rule::floating},
    {"tanh", Fn::tanh, 1, 0, Rule::floating},
    {"sigmoid", Fn::sigmoid, 1, 0, Rule::floating},
    {"erf", Fn::erf, 1, 0, Rule::floating},
    {"floor", Fn::floor, 1, 0, Rule::same},
    {"ceil", Fn::ceil, 1, 0, Rule::same},
    {"round", Fn::round, 1, 0, Rule::same},
    {"trunc", Fn::trunc, 1, 0, Rule::same},
    {"relu", Fn::relu, 1, 0, Rule::same},
    {"relu6", Fn::relu6, 1, 0, Rule::same},
    {"gelu_erf", Fn::gelu_erf, 1, 0, Rule::floating},
    {"gelu_tanh", Fn::gelu_tanh, 1, 0, Rule::floating},
    {"silu", Fn::silu, 1, 0, Rule::floating},
    {"mish", Fn::mish, 1, 0, Rule::floating},
    {"elu", Fn::elu, 1, 3, Rule::floating, {1, 1, 1}},
    {"leaky_relu", Fn::leaky_relu, 1, 1, Rule::floating, {0.01}},
    {"hardtanh", Fn::hardtanh, 1, 2, Rule::same, {-1, 1}},
    {"hardswish", Fn::hardswish, 1, 0, Rule::floating},
    {"hardsigmoid", Fn::hardsigmoid, 1, 0, Rule::floating},
    {"softplus", Fn::softplus, 1, 2, Rule::floating, {1, 20}},
    {"log_sigmoid", Fn::log_sigmoid, 1, 0, Rule::floating},
    {"clamp", Fn::clamp, 3, 0, Rule::promote},
    {"eq", Fn::eq, 2, 0, Rule::compare},
    {"ne", Fn::ne, 2, 0, Rule::compare},
    {"lt", Fn::lt, 2, 0, Rule::compare},
    {"le", Fn::le, 2, 0, Rule::compare},
    {"gt", Fn::gt, 2, 0, Rule::compare},
    {"ge", Fn::ge, 2, 0, Rule::compare},
    {"logical_and", Fn::logical_and, 2, 0, Rule::logical},
    {"logical_or", Fn::logical_or, 2, 0, Rule::logical},
    {"logical_xor", Fn::logical_xor, 2, 0, Rule::logical},
    {"logical_not", Fn::logical_not, 1, 0, Rule::logical},
    {"bitwise_and", Fn::bit_and, 2, 0, Rule::promote},
    {"bitwise_or", Fn::bit_or, 2, 0, Rule::promote},
    {"bitwise_xor", Fn::bit_xor, 2, 0, Rule::promote},
    {"bitwise_not", Fn::bit_not, 1, 0, Rule::same},
    {"isnan", Fn::isnan, 1, 0, Rule::test},
    {"isinf", Fn::isinf, 1, 0, Rule::test},
    {"where", Fn::where, 3, 0, Rule::select},
    {"masked_fill", Fn::masked_fill, 3, 0, Rule::fill},
    {"swiglu", Fn::swiglu, 2, 0, Rule::floating},
    {"cast", Fn::cast, 1, 0, Rule::cast},
    {"row_sum", Fn::row_sum, 1, 0, Rule::row_sum},
    {"row_mean", Fn::row_mean, 1, 0, Rule::floating},
    {"row_max", Fn::row_max, 1, 0, Rule::same},
    {"row_min", Fn::row_min, 1, 0, Rule::same},
};

std::string_view trim(std::string_view s) {
  while (!s.empty() && (s.front() == ' ' || s.front() == '\n')) s.remove_prefix(1);
  while (!s.empty() && (s.back() == ' ' || s.back() == '\n')) s.remove_suffix(1);
  return s;
}

// Takes the text up to `stop` off the front of s; all of it where there is no `stop`.
std::string_view take_until(std::string_view& s, char stop) {
  const size_t at = s.find(stop);
  const std::string_view head = trim(s.substr(0, at));
  s = at == std::string_view::npos ? std::string_view() : s.substr(at + 1);
  return head;
}

bool parse_number(std::string_view s, Arg& arg) {
  if (s == "true" || s == "false") {
    arg.kind = Arg::Kind::boolean;
    arg.number = s == "true";
    return true;
  }
  const auto [end, error] = std::from_chars(s.data(), s.data() + s.size(), arg.number);
  if (error == std::errc::invalid_argument || end != s.data() + s.size()) return false;
  if (error == std::errc::result_out_of_range) return false;
  arg.kind = s.find_first_of(".eEin") == std::string_view::npos ? Arg::Kind::integer : Arg::Kind::real;
  return true;
}

class Parser {
 public:
  Parser(int inputs, Program& program) : inputs_(inputs), program_(program) {}

  Verdict parse(std::string_view text) {
    while (!text.empty()) {
      const std::string_view statement = take_until(text, ';');
      if (statement.substr(0, 4) == "out ") {
        if (!trim(text).empty()) return no("program goes on after `", statement, "`");
        return outputs(statement.substr(4));
      }
      if (Verdict v = step(statement); !v) return v;
    }
    return no("program ends without `out`");
  }

 private:
  Verdict argument(std::string_view s, Arg& arg) const {
    if (s.empty()) return no("program has an empty argument");
    if (const auto it = names_.find(s); it != names_.end()) {
      arg.kind = Arg::Kind::step;
      arg.index = it->second;
      return yes();
    }
    if (s == "none") return yes();
    if (parse_number(s, arg)) return yes();
    if (s.size() > 1 && s[0] == 'i') {
      const auto [end, error] = std::from_chars(s.data() + 1, s.data() + s.size(), arg.index);
      if (error == std::errc() && end == s.data() + s.size() && arg.index >= 0 && arg.index < inputs_) {
        arg.kind = Arg::Kind::input;
        return yes();
      }
    }
    return no("program argument `", s, "` is none of ", inputs_, " inputs, an earlier name or a number");
  }

  Verdict outputs(std::string_view list) {
    while (!list.empty()) {
      Arg arg;
      const std::string_view item = take_until(list, ',');
      if (Verdict v = argument(item, arg); !v) return v;
      if (arg.kind == Arg::Kind::none) return no("program puts out none");
      program_.outputs.push_back(arg);
    }
    return program_.outputs.empty() ? no("program has no outputs") : yes();
  }

  Verdict step(std::string_view statement) {
    const std::string whole(statement);
    if (program_.steps.size() == kMaxSteps) return no("program has more than ", kMaxSteps, " statements");
    const std::string_view name = take_until(statement, '=');
    const std::string_view op = take_until(statement, '(');
    if (name.empty() || op.empty() || statement.empty() || statement.back() != ')')
      return no("program statement `", whole, "` is not name=op(args)");
    statement.remove_suffix(1);
    Step step;
    const FnInfo* info = fn_info(op);
    if (!info && op.substr(0, 3) == "to_") {
      const std::optional<DType> to = parse_dtype(op.substr(3));
      if (!to) return no("program casts to unknown dtype `", op, "`");
      step.to = *to;
      info = &fn_info(Fn::cast);
    } else if (!info || info->fn == Fn::cast) {
      return no("program instruction `", op, "` is unknown");
    }
    if (Verdict v = arguments(statement, *info, step); !v) return no(v.reason, " in `", whole, "`");
    names_[name] = static_cast<int>(program_.steps.size());
    program_.steps.push_back(step);
    return yes();
  }

  Verdict arguments(std::string_view list, const FnInfo& info, Step& step) const {
    step.fn = info.fn;
    step.operands = info.operands;
    step.params = info.defaults;
    int count = 0;
    while (!list.empty()) {
      Arg arg;
      if (Verdict v = argument(take_until(list, ','), arg); !v) return v;
      if (arg.kind == Arg::Kind::none && !(info.fn == Fn::clamp && count > 0)) return no("got none as an operand");
      if (count >= info.operands + info.params) return no("got too many arguments");
      if (count < info.operands) {
        step.arg[static_cast<size_t>(count)] = arg;
      } else if (arg.is_number()) {
        step.params[static_cast<size_t>(count - info.operands)] = arg.number;
      } else {
        return no("got a parameter that is no number");
      }
      ++count;
    }
    return count < info.operands ? no("got too few arguments") : yes();
  }

  int inputs_;
  Program& program_;
  std::map<std::string_view, int> names_;
};

}  // namespace

const FnInfo* fn_info(std::string_view name) {
  if (name == "gelu") name = "gelu_erf";  // PyTorch's default
  for (const FnInfo& f : kFns)
    if (f.name == name) return &f;
  return nullptr;
}

const FnInfo& fn_info(Fn fn) {
  for (const FnInfo& f : kFns)
    if (f.fn == fn) return f;
  throw_error(ErrorKind::internal, "kernels.pointwise", cat("no instruction ", static_cast<int>(fn)));
}

Verdict parse_program(std::string_view text, int inputs, Program& program) {
  return Parser(inputs, program).parse(text);
}

}  // namespace kpt
