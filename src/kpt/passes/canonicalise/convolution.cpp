// SPDX-License-Identifier: Apache-2.0
// conv1d, conv2d, conv3d and the transposed forms become aten.convolution; batch norm has one form.
#include <algorithm>

#include "kpt/passes/canonicalise/canonicalise.h"

namespace kpt::canonical {
namespace {

// A list of one stands for all spatial dimensions; absent for `otherwise`.
std::vector<int64_t> spatial(const Site& s, std::string_view name, size_t count, int64_t otherwise) {
  std::vector<int64_t> list = get_ints(s.node.kwargs, name);
  if (list.empty()) list.push_back(otherwise);
  if (list.size() == 1) list.assign(count, list[0]);
  return list;
}

AttrList as_list(const std::vector<int64_t>& values) {
  AttrList list;
  for (int64_t v : values) list.push_back(Sym(v));
  return list;
}

// The padding in numbers; empty where "same" pads one side more than the other, or a size is not known.
std::vector<int64_t> padding(const Site& s, const Value* w, const std::vector<int64_t>& dilation) {
  const Attr written = s.kw("padding");
  if (!written.is<std::string>()) return spatial(s, "padding", dilation.size(), 0);
  std::vector<int64_t> pads(dilation.size(), 0);
  if (written.as<std::string>() == "valid") return pads;
  for (size_t i = 0; i < pads.size(); ++i) {
    const Sym& width = w->type.sizes[i + 2];
    if (!width.is_const() || dilation[i] * (width.value() - 1) % 2) return {};
    pads[i] = dilation[i] * (width.value() - 1) / 2;
  }
  return pads;
}

bool convolution(Site& s) {
  Value *x = s.x(), *w = s.at(1).value;
  const int rank = w->type.rank();
  const size_t dims = static_cast<size_t>(rank) - 2;
  const bool transposed =
      s.node.op.find("transpose") != std::string::npos || get_bool(s.node.kwargs, "transposed", false);
  const std::vector<int64_t> dilation = spatial(s, "dilation", dims, 1), pads = padding(s, w, dilation);
  if (pads.empty()) return false;
  const Kwargs kwargs{{"stride", as_list(spatial(s, "stride", dims, 1))},
                      {"padding", as_list(pads)},
                      {"dilation", as_list(dilation)},
                      {"transposed", transposed},
                      {"output_padding", as_list(spatial(s, "output_padding", dims, 0))},
                      {"groups", get_int(s.node.kwargs, "groups", 1)}};
  if (x->type.rank() == rank) return s.become("aten.convolution", {s.at(0), s.at(1), s.at(2)}, kwargs);
  if (x->type.rank() != rank - 1) return false;
  std::vector<Sym> in = x->type.sizes, out = s.out().sizes;
  in.insert(in.begin(), Sym(1));
  out.insert(out.begin(), Sym(1));
  Value* y = s.rw.make("aten.convolution", {{s.rw.reshape(x, in), {}}, s.at(1), s.at(2)}, kwargs, {s.out().dtype, out});
  return s.become(s.rw.reshape(y, s.out().sizes));
}

// Inference only: with running statistics the native form computes what batch_norm does.
bool native_batch_norm(Site& s) {
  for (size_t i = 1; i < s.node.outputs.size(); ++i)
    if (s.graph.use_count(s.node.outputs[i])) return false;
  Value* y = s.rw.make(
      "aten.batch_norm", {s.at(0), s.at(1), s.at(2), s.at(3), s.at(4)},
      {{"training", false}, {"momentum", s.kw("momentum")}, {"eps", s.kw("eps")}, {"cudnn_enabled", false}}, s.out());
  s.rw.replace(s.node.out(), y);
  s.graph.erase(&s.node);
  return true;
}

}  // namespace

void add_convolution_rules(Rules& rules) {
  for (std::string_view op : {"aten.conv1d", "aten.conv2d", "aten.conv3d", "aten.conv1d.padding", "aten.conv2d.padding",
                              "aten.conv3d.padding", "aten.conv_transpose1d", "aten.conv_transpose2d.input",
                              "aten.conv_transpose3d.input", "aten.convolution"})
    rules[op] = convolution;
  rules["aten._native_batch_norm_legit_no_training"] = native_batch_norm;
}

}  // namespace kpt::canonical
