// SPDX-License-Identifier: Apache-2.0
#include "kpt/fusion/pattern.h"
#include "kpt/fusion/shapes.h"

namespace kpt {
namespace {

// Sums of this many bytes (at the symbols' hints) that others read besides the norm cost more to write from the norm
// than to add in the linear: on an H200 the linear brought 2.3 % of GPT-2 medium at 8 x 1024 (16 MiB) and 1.9 % of
// ViT-L at batch 32 (12 MiB), and lost 0.8 and 1.8 % at batch 1 (0.3 and 0.4 MiB). Not measured between.
constexpr int64_t kLargeSum = 4 << 20;

bool is_large(const Graph& g, const TensorType& type) {
  SymEnv hints;
  for (const SymbolDecl& symbol : g.symbols) hints[symbol.name] = symbol.hint;
  auto bytes = static_cast<int64_t>(size_of(type.dtype));
  for (const Sym& size : type.sizes) bytes *= size.eval(hints);
  return bytes >= kLargeSum;
}

// Who takes an add between a linear and a norm? On a CPU the linear does: its epilogue reads the residual tile by tile,
// and the norm reads the sum from cache. Elsewhere add_norm does, since there the norm is a pass over memory of its
// own: but for large sums that are wanted themselves (pre-norm blocks), which add_norm would write as well.
Verdict when(const Graph& g, Match& m) {
  const TensorType &h = m.value("h")->type, &r = m.value("r")->type, &y = m.root()->type;
  if (h != r || h != y) return no("the linear gives ", h, ", the residual is ", r, ", the sum ", y);
  if (!is_float(h.dtype)) return no("the linear gives ", h.dtype);
  if (m.device == "cpu") return yes();
  if (m.root()->users.size() > 1 && is_large(g, y)) return yes();
  for (const Node* user : m.root()->users)
    if (user->op == "aten.layer_norm" || user->op == "aten.rms_norm") return no("add_norm takes the sum on ", m.device);
  return yes();
}

}  // namespace

void register_linear_residual(FusionRegistry& registry) {
  registry.add({.name = "linear_residual",
                .order = 80,
                .pattern = std::string(pattern_text("linear_residual")),
                .summary = "epilogue: the residual is added while the result is in registers",
                .when = when,
                .parsed = nullptr});
}

}  // namespace kpt
