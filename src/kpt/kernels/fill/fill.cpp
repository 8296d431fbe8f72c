// SPDX-License-Identifier: Apache-2.0
#include <cstring>

#include "kpt/kernels/fill/fill_problem.h"
#include "kpt/kernels/lib/launch.h"

namespace kpt {
namespace {

bool number(const Attr* a, FillNumber& n) {
  if (!a) return false;
  if (a->is<bool>()) {
    n.i = a->as<bool>();
  } else if (a->is<Sym>() && a->as<Sym>().is_const()) {
    n.i = a->as<Sym>().value();
  } else if (a->is<double>()) {
    n.integer = false;
    n.d = a->as<double>();
    return true;
  } else {
    return false;
  }
  n.d = static_cast<double>(n.i);
  return true;
}

void flatten(const Attr& a, std::vector<FillNumber>& values, bool& ok) {
  if (a.is<AttrList>()) {
    for (const Attr& item : a.as<AttrList>()) flatten(item, values, ok);
    return;
  }
  values.emplace_back();
  ok = ok && number(&a, values.back());
}

}  // namespace

void put_number(DType dtype, void* p, const FillNumber& n) {
  if (dtype == DType::i64 && n.integer) {
    std::memcpy(p, &n.i, sizeof n.i);
  } else {
    store_from_double(dtype, p, n.d);
  }
}

Verdict read_fill(const Problem& p, Fill& f) {
  if (p.outputs.size() != 1) return no("want one output");
  const TensorDesc& y = p.outputs[0];
  if (!y.is_contiguous()) return no("output ", y, " is not dense");
  if (p.op == "kpt.constant") {
    const Attr* value = find(p.kwargs, "value");
    bool ok = value != nullptr;
    if (value) flatten(*value, f.values, ok);
    if (!ok || static_cast<int64_t>(f.values.size()) != y.numel())
      return no("value of ", f.values.size(), " numbers for ", y);
    return yes();
  }
  // aten.full: the step stays 0.
  if (p.op == "aten.full") return number(find(p.kwargs, "fill_value"), f.first) ? yes() : no("fill_value is no number");
  f.step.i = 1;
  f.step.d = 1;
  if (const Attr* step = find(p.kwargs, "step"); step && !number(step, f.step)) return no("step is no number");
  return number(find(p.kwargs, "start"), f.first) ? yes() : no("start is no number");
}

namespace {

Verdict supports(const Problem& p) {
  Fill f;
  return read_fill(p, f);
}

std::unique_ptr<Launch> make(const Problem& p) {
  Fill f;
  const Verdict v = read_fill(p, f);
  KPT_CHECK(v.ok, "kernels.fill", "got ", p.str(), ": ", v.reason);
  const DType dtype = p.outputs[0].dtype;
  const int64_t n = p.outputs[0].numel(), width = static_cast<int64_t>(size_of(dtype));
  const bool exact = f.first.integer && f.step.integer;
  return make_launch([=](const RunArgs& args) {
    char* y = static_cast<char*>(args.outputs[0]);
    for (int64_t i = 0; i < n; ++i) {
      FillNumber value = f.first;
      if (!f.values.empty()) {
        value = f.values[static_cast<size_t>(i)];
      } else if (exact) {
        value.i += i * f.step.i;
        value.d = static_cast<double>(value.i);
      } else {
        value.integer = false;
        value.d += static_cast<double>(i) * f.step.d;
      }
      put_number(dtype, y + i * width, value);
    }
  });
}

std::unique_ptr<Launch> make_reference(const Problem& p) {
  Fill f;
  const Verdict v = read_fill(p, f);
  KPT_CHECK(v.ok, "kernels.fill", "got ", p.str(), ": ", v.reason);
  return make_launch([p, f](const RunArgs& args) {
    Tensor y{p.outputs[0], args.outputs[0], nullptr};
    for (int64_t i = 0; i < y.desc.numel(); ++i)
      y.set(i, f.values.empty() ? f.first.d + static_cast<double>(i) * f.step.d : f.values[static_cast<size_t>(i)].d);
  });
}

}  // namespace

void register_fill(KernelRegistry& registry) {
  for (const char* op : {"aten.full", "aten.arange.start_step", "kpt.constant"}) {
    add_cpu(registry, op, "fill", supports, make);
    add_reference(registry, op, "fill", supports, make_reference);
  }
}

}  // namespace kpt
