// SPDX-License-Identifier: Apache-2.0
#include <algorithm>
#include <cmath>
#include <numeric>

#include "kpt/ir/generator.h"

namespace kpt {

namespace {

AttrList to_list(const std::vector<Sym>& sizes) { return {sizes.begin(), sizes.end()}; }

}  // namespace

void Generator::reshape() {
  const Known x = pick();
  std::vector<Sym> out = x.sizes();
  const int at = x.rank() ? below(x.rank()) : 0;
  const size_t i = static_cast<size_t>(at);
  switch (below(3)) {
    case 0:  // flatten two neighbours
      if (at + 1 >= x.rank()) return;
      out[i] = out[i] * out[i + 1];
      out.erase(out.begin() + at + 1);
      break;
    case 1:  // split an even axis
      if (out.empty() || !out[i].is_const() || out[i].value() % 2 != 0) return;
      out[i] = out[i].value() / 2;
      out.insert(out.begin() + at, Sym(2));
      break;
    default:  // unsqueeze, or squeeze where there is a 1
      if (!out.empty() && out[i] == Sym(1))
        out.erase(out.begin() + at);
      else
        out.insert(out.begin() + at, Sym(1));
  }
  NodeSpec spec{.op = "aten.reshape"};
  spec.tensor(x.value).kw("shape", to_list(out));
  emit(std::move(spec), DType::f32, out, x.lo, x.hi, x.exact);
}

void Generator::permute() {
  const Known x = pick();
  if (x.rank() < 2) return;
  std::vector<int> order(static_cast<size_t>(x.rank()));
  std::iota(order.begin(), order.end(), 0);
  for (int i = x.rank() - 1; i > 0; --i)
    std::swap(order[static_cast<size_t>(i)], order[static_cast<size_t>(below(i + 1))]);
  std::vector<Sym> out;
  for (int d : order) out.push_back(x.sizes()[static_cast<size_t>(d)]);
  NodeSpec spec{.op = "aten.permute"};
  spec.tensor(x.value).kw("dims", AttrList(order.begin(), order.end()));
  emit(std::move(spec), DType::f32, out, x.lo, x.hi, x.exact);
}

void Generator::expand() {
  const Known x = pick();
  std::vector<Sym> out = x.sizes();
  const auto one = std::find(out.begin(), out.end(), Sym(1));
  if (one != out.end())
    *one = chance(50) ? batch_ : Sym(3);
  else
    out.insert(out.begin(), chance(50) ? batch_ : Sym(2));
  NodeSpec spec{.op = "aten.expand"};
  spec.tensor(x.value).kw("size", to_list(out)).kw("implicit", false);
  emit(std::move(spec), DType::f32, out, x.lo, x.hi, x.exact);
}

void Generator::slice() {
  const Known x = pick();
  if (x.rank() == 0) return;
  std::vector<Sym> out = x.sizes();
  const int d = below(x.rank());
  Sym& size = out[static_cast<size_t>(d)];
  Sym start = 0, end = size;
  int step = 1;
  if (size.is_const() && size.value() > 1) {
    start = below(static_cast<int>(size.value()) - 1);
    end = start.value() + 1 + below(static_cast<int>(size.value() - start.value()));
    step = 1 + below(2);
  } else {
    step = 2;  // every second row of an unknown number, at least one
  }
  const Sym whole = size;
  size = floordiv(end - start + (step - 1), step);
  if (chance(30)) start = start - whole;  // the same place, told from the end
  NodeSpec spec{.op = "aten.slice.Tensor"};
  spec.tensor(x.value).kw("dim", d).kw("start", start).kw("end", end).kw("step", step);
  emit(std::move(spec), DType::f32, out, x.lo, x.hi, x.exact);
}

void Generator::select() {
  const Known x = pick();
  if (x.rank() == 0) return;
  std::vector<Sym> out = x.sizes();
  const int d = below(x.rank());
  const Sym whole = out[static_cast<size_t>(d)];
  Sym index = chance(50) ? Sym(0) : whole - 1;
  if (chance(30)) index = index - whole;
  out.erase(out.begin() + d);
  NodeSpec spec{.op = "aten.select.int"};
  spec.tensor(x.value).kw("dim", d).kw("index", index);
  emit(std::move(spec), DType::f32, out, x.lo, x.hi, x.exact);
}

void Generator::cat_values() {
  const Known x = pick();
  if (x.rank() == 0) return;
  std::vector<Value*> parts = {x.value};
  double lo = x.lo, hi = x.hi;
  for (const Known& y : floats_) {
    if (y.value == x.value || y.sizes() != x.sizes() || parts.size() == 3) continue;
    parts.push_back(y.value);
    lo = std::min(lo, y.lo);
    hi = std::max(hi, y.hi);
  }
  if (parts.size() == 1) parts.push_back(x.value);
  std::vector<Sym> out = x.sizes();
  const int d = below(x.rank());
  out[static_cast<size_t>(d)] = out[static_cast<size_t>(d)] * Sym(static_cast<int64_t>(parts.size()));
  NodeSpec spec{.op = "aten.cat"};
  spec.tensors(parts).kw("dim", d);
  emit(std::move(spec), DType::f32, out, lo, hi);
}

void Generator::reduce() {
  const Known x = tame();
  if (x.rank() == 0) return;
  const int d = chance(60) ? x.rank() - 1 : below(x.rank());
  const bool keep = chance(60);
  std::vector<Sym> out = x.sizes();
  const double n = count({out[static_cast<size_t>(d)]});
  if (keep)
    out[static_cast<size_t>(d)] = 1;
  else
    out.erase(out.begin() + d);
  const int which = below(5);
  const char* names[] = {"aten.sum.dim_IntList", "aten.mean.dim", "aten.amax", "aten.amin", "aten.var.correction"};
  NodeSpec spec{.op = names[which]};
  spec.tensor(x.value).kw("dim", AttrList{Attr(d)});
  if (which == 4) spec.kw("correction", 0);
  spec.kw("keepdim", keep);
  if (which < 2) spec.kw("dtype", None{});
  const double m = x.magnitude();
  if (which == 0)
    emit(std::move(spec), DType::f32, out, x.lo >= 0 ? 0 : -m * n, m * n);
  else if (which == 4)
    emit(std::move(spec), DType::f32, out, 0, m * m);
  else
    emit(std::move(spec), DType::f32, out, x.lo, x.hi);
}

void Generator::softmax() {
  const Known x = tame();
  if (x.rank() == 0) return;
  const bool log = chance(30);
  const int d = chance(70) ? x.rank() - 1 : below(x.rank());
  NodeSpec spec{.op = log ? "aten.log_softmax.int" : "aten.softmax.int"};
  spec.tensor(x.value).kw("dim", d).kw("dtype", None{});
  emit(std::move(spec), DType::f32, x.sizes(), log ? -2 * x.magnitude() - 12 : 0, log ? 0 : 1);
}

void Generator::norm() {
  const Known x = tame();
  if (x.rank() == 0 || !x.sizes().back().is_const() || x.sizes().back().value() < 2) return;
  const Sym width = x.sizes().back();
  const bool layer = chance(60);
  NodeSpec spec{.op = layer ? "aten.layer_norm" : "aten.rms_norm"};
  spec.tensor(x.value).tensor(chance(80) ? weight({width}).value : nullptr);
  if (layer) spec.tensor(chance(80) ? weight({width}).value : nullptr);
  // Not 1e-5: a constant row would blow its rounding errors up by a factor of 300.
  spec.kw("normalized_shape", AttrList{Attr(width)}).kw("eps", 0.01);
  if (layer) spec.kw("cudnn_enable", true);
  const double bound = std::sqrt(static_cast<double>(width.value())) + 1;
  emit(std::move(spec), DType::f32, x.sizes(), -bound, bound);
}

void Generator::linear() {
  const Known x = tame();
  if (x.rank() == 0 || !x.sizes().back().is_const()) return;
  const int64_t k = x.sizes().back().value();
  const int64_t n = 4 * (1 + below(4));
  const Known w = weight({n, k});
  NodeSpec spec{.op = "aten.linear"};
  spec.tensor(x.value).tensor(w.value).tensor(chance(60) ? weight({n}).value : nullptr);
  std::vector<Sym> out = x.sizes();
  out.back() = n;
  const double bound = static_cast<double>(k) * x.magnitude() + 1;
  emit(std::move(spec), DType::f32, out, -bound, bound);
}

// x x^T over the last two axes: fits whatever the sizes are.
void Generator::matmul() {
  const Known x = tame();
  if (x.rank() < 2) return;
  std::vector<int> order(static_cast<size_t>(x.rank()));
  std::iota(order.begin(), order.end(), 0);
  std::swap(order[order.size() - 1], order[order.size() - 2]);
  std::vector<Sym> turned = x.sizes();
  std::swap(turned[turned.size() - 1], turned[turned.size() - 2]);
  NodeSpec turn{.op = "aten.permute"};
  turn.tensor(x.value).kw("dims", AttrList(order.begin(), order.end()));
  if (!emit(std::move(turn), DType::f32, turned, x.lo, x.hi)) return;
  Value* y = floats_.back().value;
  std::vector<Sym> out = x.sizes();
  out.back() = turned.back();
  const double bound = x.magnitude() * x.magnitude() * count({x.sizes().back()});
  const char* op = x.rank() == 2 ? "aten.mm" : x.rank() == 3 && chance(50) ? "aten.bmm" : "aten.matmul";
  emit(NodeSpec{.op = op}.tensor(x.value).tensor(y), DType::f32, out, -bound, bound);
}

void Generator::addmm() {
  const Known x = tame();
  if (x.rank() != 2 || !x.sizes()[1].is_const()) return;
  const Sym n = 4;
  NodeSpec spec{.op = "aten.addmm"};
  spec.tensor(weight({n}).value).tensor(x.value).tensor(weight({x.sizes()[1], n}).value).kw("beta", 1).kw("alpha", 1);
  const double bound = x.magnitude() * count({x.sizes()[1]}) + 1;
  emit(std::move(spec), DType::f32, {x.sizes()[0], n}, -bound, bound);
}

void Generator::embedding() {
  const Known table = weight({4, width_});
  std::vector<Sym> out = ids_.front()->type.sizes;
  out.push_back(width_);
  NodeSpec spec{.op = "aten.embedding"};
  spec.tensor(table.value).tensor(ids_.front());
  spec.kw("padding_idx", -1).kw("scale_grad_by_freq", false).kw("sparse", false);
  emit(std::move(spec), DType::f32, out, -1, 1, true);
}

}  // namespace kpt
