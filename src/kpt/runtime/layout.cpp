// SPDX-License-Identifier: Apache-2.0
#include "kpt/runtime/layout.h"

namespace kpt {

namespace {

bool is_one(const Sym& s) { return s.is_const() && s.value() == 1; }

// Splits the old axes into runs that lie contiguously, and spreads the new sizes over each run (the method of
// ATen's computeStride, with equality of formulas in the place of equality of numbers).
std::optional<Layout> reshape_layout(const std::vector<Sym>& from, const Layout& base, const std::vector<Sym>& to) {
  if (is_contiguous(base, from)) {
    Layout out = contiguous_layout(to);
    out.offset = base.offset;
    return out;
  }
  std::vector<Sym> sizes, strides;
  for (size_t i = 0; i < from.size(); ++i) {
    if (is_one(from[i])) continue;
    sizes.push_back(from[i]);
    strides.push_back(base.strides[i]);
  }
  Layout out{base.offset, std::vector<Sym>(to.size(), Sym(1))};
  int axis = static_cast<int>(to.size()) - 1;
  for (int d = static_cast<int>(sizes.size()) - 1; d >= 0;) {
    const Sym step = strides[static_cast<size_t>(d)];
    Sym run = sizes[static_cast<size_t>(d)];
    while (--d >= 0 && strides[static_cast<size_t>(d)] == run * step) run = run * sizes[static_cast<size_t>(d)];
    Sym covered = 1;
    while (axis >= 0 && covered != run) {
      out.strides[static_cast<size_t>(axis)] = covered * step;
      covered = covered * to[static_cast<size_t>(axis--)];
    }
    if (covered != run) return std::nullopt;
  }
  for (; axis >= 0; --axis)
    if (!is_one(to[static_cast<size_t>(axis)])) return std::nullopt;
  return out;
}

std::optional<Layout> expand_layout(const std::vector<Sym>& from, const Layout& base, const std::vector<Sym>& to) {
  Layout out{base.offset, std::vector<Sym>(to.size(), Sym(0))};
  const size_t lead = to.size() - from.size();
  for (size_t i = 0; i < from.size(); ++i) {
    if (from[i] == to[lead + i])
      out.strides[lead + i] = base.strides[i];
    else if (!is_one(from[i]))
      return std::nullopt;
  }
  return out;
}

// Positions as PyTorch reads them, for graphs as captured: negative counts from the end, and stops at the beginning.
size_t axis(int64_t d, size_t rank) { return static_cast<size_t>(d < 0 ? d + static_cast<int64_t>(rank) : d); }

Sym position(const Sym& at, const Sym& size, const std::vector<SymbolDecl>& symbols) {
  const SymRange range = at.range(symbols);
  if (range.lo >= 0) return at;
  if (range.hi < 0) {
    const Sym from_end = at + size;
    return from_end.range(symbols).lo >= 0 ? from_end : max(from_end, 0);
  }
  // Either sign: at for 0 <= at < size, at + size below 0. At the end itself nothing is taken, 0 is as good.
  return mod(max(at, Sym(-1) * size), max(size, 1));
}

}  // namespace

Layout contiguous_layout(const std::vector<Sym>& sizes) {
  Layout out{0, std::vector<Sym>(sizes.size(), Sym(1))};
  for (int i = static_cast<int>(sizes.size()) - 2; i >= 0; --i) {
    const auto u = static_cast<size_t>(i);
    out.strides[u] = out.strides[u + 1] * sizes[u + 1];
  }
  return out;
}

bool is_contiguous(const Layout& layout, const std::vector<Sym>& sizes) {
  const Layout want = contiguous_layout(sizes);
  for (size_t i = 0; i < sizes.size(); ++i)
    if (!is_one(sizes[i]) && layout.strides[i] != want.strides[i]) return false;
  return true;
}

std::optional<Layout> view_layout(const Node& view, const Layout& base, const std::vector<SymbolDecl>& symbols) {
  const std::vector<Sym>& from = view.operand(0)->type.sizes;
  const std::vector<Sym>& to = view.out()->type.sizes;
  if (view.op == "aten.reshape") return reshape_layout(from, base, to);
  if (view.op == "aten.expand") return expand_layout(from, base, to);
  if (view.op == "aten.permute") {
    Layout out{base.offset, {}};
    for (int64_t d : get_ints(view.kwargs, "dims")) out.strides.push_back(base.strides[axis(d, from.size())]);
    return out;
  }
  const size_t dim = axis(get_int(view.kwargs, "dim", 0), from.size());
  if (view.op == "aten.slice.Tensor") {
    Layout out = base;
    out.offset = out.offset + position(get_sym(view.kwargs, "start", 0), from[dim], symbols) * base.strides[dim];
    out.strides[dim] = base.strides[dim] * get_sym(view.kwargs, "step", 1);
    return out;
  }
  KPT_ASSERT(view.op == "aten.select.int", "runtime.layout", "no layout rule for ", view.op);
  Layout out = base;
  out.offset = out.offset + position(get_sym(view.kwargs, "index", 0), from[dim], symbols) * base.strides[dim];
  out.strides.erase(out.strides.begin() + static_cast<std::ptrdiff_t>(dim));
  return out;
}

}  // namespace kpt
