// SPDX-License-Identifier: Apache-2.0
// Dtypes of a program's values.
#include <algorithm>

#include "kpt/kernels/lib/program/program.h"

namespace kpt {
namespace {

// PyTorch's result_type (aten/src/ATen/native/TypeProperties.cpp): tensors with dimensions, zero-dimensional ones and
// numbers each promote among themselves; a lower class counts only where it is of a higher kind (bool < int < float).
struct Promotion {
  bool set[3] = {false, false, false};
  DType dtype[3] = {DType::boolean, DType::boolean, DType::boolean};
};

DType promote_types(DType a, DType b) {
  if (a == b || b == DType::boolean) return a;
  if (a == DType::boolean) return b;
  if (is_float(a) != is_float(b)) return is_float(a) ? a : b;
  if (is_float(a)) {
    if (size_of(a) == size_of(b)) return DType::f32;  // f16 with bf16
    return size_of(a) > size_of(b) ? a : b;
  }
  if ((a == DType::u8 && b == DType::i8) || (a == DType::i8 && b == DType::u8)) return DType::i16;
  return size_of(a) >= size_of(b) ? a : b;
}

DType combine(bool high_set, DType high, bool low_set, DType low) {
  if (!low_set) return high;
  if (!high_set) return low;
  if (is_float(high)) return high;
  if (high == DType::boolean || is_float(low)) return promote_types(high, low);
  return high;
}

DType result_type(const Promotion& p) {
  const bool low_set = p.set[1] || p.set[0];
  const DType low = combine(p.set[1], p.dtype[1], p.set[0], p.dtype[0]);
  return combine(p.set[2], p.dtype[2], low_set, low);
}

}  // namespace

Verdict infer(Program& program, const std::vector<TensorDesc>& descs) {
  for (Step& s : program.steps) {
    const FnInfo& info = fn_info(s.fn);
    Promotion promotion;
    s.rank_class = 0;
    s.is_row = false;
    bool all_row = true;
    for (int i = 0; i < s.operands; ++i) {
      const Arg& a = s.arg[static_cast<size_t>(i)];
      if (a.kind == Arg::Kind::none) continue;
      int rank_class = 0;
      DType dtype = a.kind == Arg::Kind::real ? DType::f32 : a.kind == Arg::Kind::integer ? DType::i64 : DType::boolean;
      if (a.kind == Arg::Kind::input) {
        const TensorDesc& d = descs[static_cast<size_t>(a.index)];
        dtype = d.dtype;
        rank_class = d.sizes.rank() ? 2 : 1;
        all_row = false;
      } else if (a.kind == Arg::Kind::step) {
        const Step& from = program.steps[static_cast<size_t>(a.index)];
        dtype = from.result;
        rank_class = from.rank_class;
        all_row = all_row && from.is_row;
      }
      s.rank_class = std::max(s.rank_class, rank_class);
      if ((info.rule == Rule::select && i == 0) || (info.rule == Rule::fill && i > 0)) continue;
      const size_t c = static_cast<size_t>(rank_class);
      promotion.dtype[c] = promotion.set[c] ? promote_types(promotion.dtype[c], dtype) : dtype;
      promotion.set[c] = true;
    }
    const bool reduces = s.fn == Fn::row_sum || s.fn == Fn::row_mean || s.fn == Fn::row_max || s.fn == Fn::row_min;
    s.is_row = reduces || all_row;
    s.at = result_type(promotion);
    if (info.rule == Rule::floating && !is_float(s.at)) s.at = DType::f32;
    if (info.rule == Rule::row_sum && !is_float(s.at)) s.at = DType::i64;
    s.result = s.at;
    if (info.rule == Rule::compare || info.rule == Rule::logical || info.rule == Rule::test) s.result = DType::boolean;
    if (info.rule == Rule::cast) s.result = s.to;
    const bool bits = s.fn == Fn::bit_and || s.fn == Fn::bit_or || s.fn == Fn::bit_xor || s.fn == Fn::bit_not;
    if (bits && is_float(s.at)) return no(info.name, " of ", s.at);
    if (s.fn == Fn::neg && s.at == DType::boolean) return no("neg of bool");
    if (s.fn == Fn::sub && s.at == DType::boolean) return no("sub of bool");
  }
  return yes();
}

}  // namespace kpt
