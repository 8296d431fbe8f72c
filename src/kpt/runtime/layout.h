// SPDX-License-Identifier: Apache-2.0
#pragma once
#include <optional>
#include <vector>

#include "kpt/ir/graph.h"

namespace kpt {

// Where a value lies in its buffer, as formulas of the sizes: element offset and one stride per axis, in elements.
struct Layout {
  Sym offset;
  std::vector<Sym> strides;
};

Layout contiguous_layout(const std::vector<Sym>& sizes);
bool is_contiguous(const Layout& layout, const std::vector<Sym>& sizes);  // offset not looked at; sizes of 1 ignored

// The layout of a view node's output over the buffer of its input; nullopt where no strides can say it for all values
// of the symbols (a reshape across a permuted axis): then a copy is due. Pure. Throws Error{internal} for a node that
// is no view. symbols: their ranges say which sign a position has; where they leave it open the formula holds for both.
std::optional<Layout> view_layout(const Node& view, const Layout& base, const std::vector<SymbolDecl>& symbols);

}  // namespace kpt
