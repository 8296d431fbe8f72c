// SPDX-License-Identifier: Apache-2.0
// Matrix products with a weight on the right become aten.linear, over as many leading dimensions as the input has.
#include "kpt/passes/canonicalise/canonicalise.h"

namespace kpt::canonical {
namespace {

bool is_one(const Attr& a) {
  if (a.is_none()) return true;
  if (a.is<Sym>()) return a.as<Sym>() == Sym(1);
  return a.is<double>() && a.as<double>() == 1.0;
}

// x [.., K] times w [K, N], where w is a weight: linear keeps weights as [N, K], the transposition is a view.
bool product_with_weight(Site& s, const Operand& bias, Value* x, Value* w) {
  if (!x || !w || w->type.rank() != 2 || x->type.rank() < 2 || !weights_only(w)) return false;
  if (!is_float(s.out().dtype) || x->type.dtype != w->type.dtype) return false;
  if (bias.value && bias.value->type.sizes != std::vector<Sym>{w->type.sizes[1]}) return false;
  return s.become("aten.linear", {{x, {}}, {s.rw.permute(w, {1, 0}), {}}, bias}, {});
}

bool matmul(Site& s) { return product_with_weight(s, {}, s.at(0).value, s.at(1).value); }

bool addmm(Site& s) {
  if (!is_one(s.kw("beta")) || !is_one(s.kw("alpha"))) return false;
  return product_with_weight(s, s.at(0), s.at(1).value, s.at(2).value);
}

// linear(reshape(x, [rows, K])) -> reshape(linear(x)): the flattening that addmm needed is not needed any more.
bool linear(Site& s) {
  Value* flat = s.x();
  if (flat->type.rank() != 2 || !flat->producer || flat->producer->op != "aten.reshape") return false;
  Value* x = flat->producer->inputs[0];
  if (x->type.rank() < 2 || x->type.sizes.back() != flat->type.sizes.back()) return false;
  TensorType type{s.out().dtype, x->type.sizes};
  type.sizes.back() = s.out().sizes.back();
  Value* y = s.rw.make("aten.linear", {{x, {}}, s.at(1), s.at(2)}, {}, type);
  return s.become(s.rw.reshape(y, s.out().sizes));
}

}  // namespace

void add_linear_rules(Rules& rules) {
  rules["aten.mm"] = rules["aten.matmul"] = matmul;
  rules["aten.addmm"] = addmm;
  rules["aten.linear"] = linear;
}

}  // namespace kpt::canonical
