// SPDX-License-Identifier: Apache-2.0
// Tensors made from nothing: arange and full in one form each.
#include "kpt/passes/canonicalise/canonicalise.h"

namespace kpt::canonical {
namespace {

bool arange(Site& s) {
  const Attr zero = is_float(s.out().dtype) ? Attr(0.0) : Attr(0), one = is_float(s.out().dtype) ? Attr(1.0) : Attr(1);
  const Attr start = s.kw("start"), step = s.kw("step"), end = s.kw("end");
  if (end.is_none()) return false;
  return s.become("aten.arange.start_step", {},
                  {{"start", start.is_none() ? zero : start},
                   {"end", end},
                   {"step", step.is_none() ? one : step},
                   {"dtype", s.out().dtype}});
}

bool full(Site& s) {
  const std::string stem = s.node.op.substr(5);
  Attr fill = s.kw("fill_value");
  if (stem.find("zeros") != std::string::npos) fill = 0;
  if (stem.find("ones") != std::string::npos) fill = 1;
  if (stem == "scalar_tensor") fill = s.kw("s");
  if (fill.is_none()) return false;
  if (stem == "full" && s.node.args.empty() && s.node.kwargs.size() == 3 &&
      get_syms(s.node.kwargs, "size") == s.out().sizes &&
      s.node.kwargs[2] == std::pair<std::string, Attr>("dtype", s.out().dtype)) {
    const bool plain = s.out().dtype == DType::boolean ? fill.is<bool>()
                       : is_float(s.out().dtype)       ? !fill.is<Sym>()
                                                       : true;
    if (plain && !(fill.is<bool>() && s.out().dtype != DType::boolean)) return false;
  }
  if (s.out().dtype == DType::boolean && fill.is<double>()) fill = fill.as<double>() != 0;
  if (!is_float(s.out().dtype) && fill.is<double>()) return false;  // truncation is aten's to define
  if (fill.is<Sym>() && !fill.as<Sym>().is_const() && s.out().dtype != DType::i64) return false;
  return s.become(s.rw.full(s.out(), fill));
}

}  // namespace

void add_factory_rules(Rules& rules) {
  for (std::string_view op : {"aten.arange", "aten.arange.start", "aten.arange.start_step"}) rules[op] = arange;
  for (std::string_view op :
       {"aten.full", "aten.zeros", "aten.ones", "aten.full_like", "aten.zeros_like", "aten.ones_like", "aten.new_full",
        "aten.new_zeros", "aten.new_ones", "aten.scalar_tensor"})
    rules[op] = full;
}

}  // namespace kpt::canonical
