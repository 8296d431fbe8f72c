// SPDX-License-Identifier: Apache-2.0
// scaled_dot_product_attention -> kpt.attention
#include <cmath>

#include "kpt/passes/canonicalise/canonicalise.h"

namespace kpt::canonical {
namespace {

// True where the four tensors are what kpt.attention takes; PyTorch's form also broadcasts batches and lower ranks. One
// key head for all query heads is broadcast without enable_gqa, too.
bool fits(const Value* q, const Value* k, const Value* v, bool gqa) {
  if (!q || !k || !v || q->type.rank() != 4 || k->type.rank() != 4 || v->type.rank() != 4) return false;
  if (!is_float(q->type.dtype) || q->type.dtype != k->type.dtype || q->type.dtype != v->type.dtype) return false;
  const auto &qs = q->type.sizes, &ks = k->type.sizes, &vs = v->type.sizes;
  if (qs[0] != ks[0] || ks[0] != vs[0] || ks[1] != vs[1] || ks[2] != vs[2] || qs[3] != ks[3]) return false;
  return gqa || ks[1] == Sym(1) ? qs[1].exact_div(ks[1]).has_value() : qs[1] == ks[1];
}

bool attention(Site& s) {
  Value *q = s.at(0).value, *k = s.at(1).value, *v = s.at(2).value, *mask = s.at(3).value;
  if (!fits(q, k, v, get_bool(s.node.kwargs, "enable_gqa", false))) return false;
  if (get_float(s.node.kwargs, "dropout_p", 0) != 0) return false;
  const Sym head = q->type.sizes[3];
  Attr scale = s.kw("scale");
  if (scale.is_none()) {
    if (!head.is_const() || head.value() <= 0) return false;
    scale = 1.0 / std::sqrt(static_cast<double>(head.value()));
  }
  if (scale.is<Sym>()) scale = static_cast<double>(scale.as<Sym>().value());
  std::string kind = "none";
  if (mask) {
    if (mask->type.rank() > 4) return false;
    kind = mask->type.dtype == DType::boolean ? "bool" : "add";
    std::vector<Sym> sizes = mask->type.sizes;
    sizes.insert(sizes.begin(), static_cast<size_t>(4 - mask->type.rank()), Sym(1));
    mask = s.rw.reshape(mask, sizes);
  }
  return s.become("kpt.attention", {{q, {}}, {k, {}}, {v, {}}, {mask, {}}},
                  {{"scale", scale},
                   {"causal", get_bool(s.node.kwargs, "is_causal", false)},
                   {"mask_kind", kind},
                   {"layout", "bhsd"}});
}

}  // namespace

void add_attention_rules(Rules& rules) { rules["aten.scaled_dot_product_attention"] = attention; }

}  // namespace kpt::canonical
