// SPDX-License-Identifier: Apache-2.0
#include "kpt/kernels/lib/cuda/generate.h"

#include <cinttypes>
#include <cmath>
#include <cstdio>
#include <cstring>

namespace kpt {
namespace {

bool is_bits(Fn fn) { return fn == Fn::bit_and || fn == Fn::bit_or || fn == Fn::bit_xor || fn == Fn::bit_not; }

class Expression {
 public:
  Expression(const Step& step, const CudaOperands& operands) : s_(step), operands_(operands) {}

  Verdict write(std::string& text) {
    const Verdict v = s_.fn == Fn::clamp                               ? clamp()
                      : s_.fn == Fn::where || s_.fn == Fn::masked_fill ? select()
                      : s_.fn == Fn::cast                              ? cast()
                                                                       : plain();
    text = out_.text;
    return v;
  }

 private:
  CudaOperand own(const Arg& a, Lane lane_of_number) const {
    if (a.is_number()) return {cuda_number(a.number, lane_of_number), lane_of_number};
    return operands_(a);
  }
  std::string arg(int i, Lane lane) const { return cuda_as(own(s_.arg[static_cast<size_t>(i)], lane), lane); }

  void narrow(DType d) {
    if (lane_of(d) == Lane::i64 && d != DType::i64) out_.text = cat("(i64)(", cuda_name(d), ")", out_.text);
  }
  static std::string_view cuda_name(DType d) { return name(d); }

  Verdict cast() {
    const CudaOperand x = own(s_.arg[0], lane_of(s_.to));
    out_ = {cuda_as(x, lane_of(s_.to)), lane_of(s_.to)};
    if (s_.to == DType::bf16 || s_.to == DType::f16) out_.text = cat("round_", name(s_.to), "(", out_.text, ")");
    narrow(s_.to);
    return yes();
  }

  Verdict clamp() {
    const Lane lane = lane_of(s_.at) == Lane::u8 ? Lane::i64 : lane_of(s_.at);
    const bool low = s_.arg[1].kind != Arg::Kind::none, high = s_.arg[2].kind != Arg::Kind::none;
    if (!low && !high) return no("clamp without bounds");
    std::string text = arg(0, lane);
    if (low) text = cat("fn_maximum(", text, ", ", arg(1, lane), ")");
    if (high) text = cat("fn_minimum(", text, ", ", arg(2, lane), ")");
    finish(text, lane, false);
    return yes();
  }

  Verdict select() {
    const Lane lane = lane_of(s_.at);
    const bool fill = s_.fn == Fn::masked_fill;
    const std::string mask = arg(fill ? 1 : 0, Lane::u8), x = arg(fill ? 2 : 1, lane), y = arg(fill ? 0 : 2, lane);
    finish(cat("fn_where<", cuda_lane(lane), ">(", mask, ", ", x, ", ", y, ")"), lane, false);
    return yes();
  }

  Lane lane_of_test() const {
    const Arg& a = s_.arg[0];
    return a.is_number() ? Lane::f32 : operands_(a).lane;
  }

  // Exponents that PyTorch does not hand to pow either.
  bool power(Lane lane) {
    if (s_.fn != Fn::pow || !s_.arg[1].is_number()) return false;
    const double e = s_.arg[1].number;
    const std::string x = arg(0, lane);
    const bool real = lane == Lane::f32 || lane == Lane::f64;
    if (e == 2)
      finish(cat("fn_mul(", x, ", ", x, ")"), lane, false);
    else if (real && e == 3)
      finish(cat("fn_mul(fn_mul(", x, ", ", x, "), ", x, ")"), lane, false);
    else if (real && (e == 0.5 || e == -0.5 || e == -1))
      finish(cat(e == 0.5 ? "fn_sqrt(" : e == -1 ? "fn_reciprocal(" : "fn_rsqrt(", x, ")"), lane, false);
    else
      return false;
    return true;
  }

  Verdict plain() {
    const FnInfo& info = fn_info(s_.fn);
    Lane lane = info.rule == Rule::logical ? Lane::u8 : info.rule == Rule::test ? lane_of_test() : lane_of(s_.at);
    if (lane == Lane::u8 && info.rule != Rule::logical && !is_bits(s_.fn)) lane = Lane::i64;  // arithmetic on bool
    const bool divides = s_.fn == Fn::div_floor || s_.fn == Fn::div_trunc || s_.fn == Fn::rem;
    if (divides && lane == Lane::i64 && !(s_.arg[1].is_number() && s_.arg[1].number != 0))
      return no("integer division by a divisor that may be 0");
    if (power(lane)) return yes();
    std::string text = cat("fn_", info.name, "(");
    for (int i = 0; i < info.operands; ++i) text += cat(i ? ", " : "", arg(i, lane));
    // elu's alpha and scale are one factor.
    std::array<double, 3> params = s_.params;
    if (s_.fn == Fn::elu) params[0] *= params[1];
    for (int i = 0; i < info.params; ++i) text += cat(", ", cuda_number(params[static_cast<size_t>(i)], lane));
    const bool to_bool = info.rule == Rule::compare || info.rule == Rule::logical || info.rule == Rule::test;
    finish(text + ")", to_bool ? Lane::u8 : lane, to_bool);
    return yes();
  }

  void finish(const std::string& text, Lane made, bool to_bool) {
    const Lane want = lane_of(s_.result);
    out_ = {cuda_as({text, made}, want), want};
    if (!to_bool) narrow(s_.result);
  }

  const Step& s_;
  const CudaOperands& operands_;
  CudaOperand out_;
};

}  // namespace

std::string cuda_lane(Lane lane) {
  return lane == Lane::f32 ? "float" : lane == Lane::f64 ? "double" : lane == Lane::i64 ? "i64" : "bool";
}

std::string cuda_number(double value, Lane lane) {
  unsigned char held[8] = {};
  store_from_double(dtype_of(lane), held, value);
  char text[64];
  if (lane == Lane::u8) return held[0] ? "true" : "false";
  if (lane == Lane::i64) {
    uint64_t bits;
    std::memcpy(&bits, held, sizeof bits);
    std::snprintf(text, sizeof text, "(i64)0x%" PRIx64 "ull", bits);
    return text;
  }
  const double real = load_as_double(dtype_of(lane), held);
  const std::string type = cuda_lane(lane);
  if (std::isnan(real)) return cat("(", type, ")(infinity() - infinity())");
  if (std::isinf(real)) return cat("(", type, ")", real < 0 ? "-" : "", "infinity()");
  std::snprintf(text, sizeof text, "(%s)%a", type.c_str(), real);
  return text;
}

std::string cuda_as(const CudaOperand& operand, Lane lane) {
  if (operand.lane == lane) return operand.text;
  return cat("as_", cuda_lane(lane), "(", operand.text, ")");
}

Verdict cuda_expression(const Step& step, const CudaOperands& operands, std::string& text) {
  const Verdict v = Expression(step, operands).write(text);
  return v ? v : no(fn_info(step.fn).name, ": ", v.reason);
}

CudaOperand cuda_row_argument(const Step& step, const CudaOperands& operands) {
  const Lane lane = lane_of(step.at) == Lane::u8 ? Lane::i64 : lane_of(step.at);
  const Arg& a = step.arg[0];
  if (a.is_number()) return {cuda_number(a.number, lane), lane};
  return {cuda_as(operands(a), lane), lane};
}

std::vector<DType> program_dtypes(const Problem& problem, const Program& program) {
  std::vector<DType> dtypes;
  for (int i : program.inputs) dtypes.push_back(problem.inputs[static_cast<size_t>(i)].dtype);
  for (const TensorDesc& d : problem.outputs) dtypes.push_back(d.dtype);
  return dtypes;
}

}  // namespace kpt
