// SPDX-License-Identifier: Apache-2.0
#include "kpt/runtime/cost.h"

#include <algorithm>
#include <array>

namespace kpt {

namespace {

int64_t read_bytes(const TensorDesc& t) {
  int64_t elements = 1;
  for (int d = 0; d < t.sizes.rank(); ++d)
    elements *= t.strides[d] == 0 ? std::min<int64_t>(t.sizes[d], 1) : t.sizes[d];
  return elements * static_cast<int64_t>(size_of(t.dtype));
}

int64_t last(const TensorDesc& t) { return t.sizes.rank() ? t.sizes[t.sizes.rank() - 1] : 1; }

bool is_one_of(const std::string& op, std::initializer_list<std::string_view> ops) {
  return std::find(ops.begin(), ops.end(), op) != ops.end();
}

bool is_lookup(const std::string& op) {
  return is_one_of(op, {"aten.embedding", "aten.index_select", "aten.index.Tensor", "aten.gather"});
}

// In place: the state itself is neither read nor written but for the slices.
bool is_write(const Problem& p) { return p.op == "kpt.write_" && p.inputs.size() == 3; }

int64_t attention_flops(const Problem& p) {
  const TensorDesc &q = p.inputs[0], &k = p.inputs[1], &v = p.inputs[2];
  const int64_t pairs = q.sizes[0] * q.sizes[1] * q.sizes[2] * k.sizes[2];
  const int64_t flops = 2 * pairs * (last(q) + last(v));
  return get_bool(p.kwargs, "causal", false) ? flops / 2 : flops;
}

int64_t convolution_flops(const Problem& p) {
  const TensorDesc &x = p.inputs[0], &w = p.inputs[1];
  const int64_t per_place = w.sizes[0] ? w.numel() / w.sizes[0] : 0;  // products for one output, or for one input
  return 2 * per_place * (get_bool(p.kwargs, "transposed", false) ? x.numel() : p.outputs[0].numel());
}

// Operators of ATen outside the table that are known to hold products: their count is not known, and must not pass for
// none.
bool may_hold_products(const Problem& p) {
  constexpr std::array<std::string_view, 6> kKnown = {"lstm", "gru", "rnn", "einsum", "mm", "conv"};
  return p.op.starts_with("aten.") && std::any_of(kKnown.begin(), kKnown.end(), [&](std::string_view part) {
           return p.op.find(part) != std::string::npos;
         });
}

std::optional<int64_t> flops_of(const Problem& p) {
  if (p.inputs.empty() || p.outputs.empty()) return 0;
  if (is_one_of(p.op, {"aten.linear", "kpt.linear", "aten.matmul", "aten.bmm", "aten.mm"}))
    return 2 * p.outputs[0].numel() * last(p.inputs[0]);
  if (is_one_of(p.op, {"aten.addmm", "aten.baddbmm"}) && p.inputs.size() == 3)
    return 2 * p.outputs[0].numel() * last(p.inputs[1]);
  if (is_one_of(p.op, {"aten.convolution", "kpt.convolution"})) return convolution_flops(p);
  if (is_one_of(p.op, {"kpt.attention", "aten.scaled_dot_product_attention"})) return attention_flops(p);
  if (may_hold_products(p)) return std::nullopt;
  return 0;
}

}  // namespace

Cost cost_of(const Problem& problem) {
  Cost cost;
  cost.flops = flops_of(problem);
  if (is_write(problem)) {
    cost.bytes_written = static_cast<int64_t>(problem.inputs[2].bytes());
    cost.bytes_read = read_bytes(problem.inputs[1]) + read_bytes(problem.inputs[2]);
    return cost;
  }
  for (const TensorDesc& t : problem.outputs) cost.bytes_written += static_cast<int64_t>(t.bytes());
  for (size_t i = 0; i < problem.inputs.size(); ++i) {
    int64_t bytes = read_bytes(problem.inputs[i]);
    if (i == 0 && is_lookup(problem.op)) bytes = std::min(bytes, cost.bytes_written);
    cost.bytes_read += bytes;
  }
  return cost;
}

}  // namespace kpt
