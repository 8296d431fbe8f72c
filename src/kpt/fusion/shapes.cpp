// SPDX-License-Identifier: Apache-2.0
#include "kpt/fusion/shapes.h"

#include <cmath>

#include "kpt/fusion/pattern.h"

namespace kpt {

bool close_to(const Attr* attr, double want) {
  const auto got = attr ? number(*attr) : std::nullopt;
  return got && std::abs(*got - want) <= 1e-6 * std::abs(want);
}

bool names_last_axis(const Attr& dim, int rank) {
  if (dim.is<AttrList>()) return dim.as<AttrList>().size() == 1 && names_last_axis(dim.as<AttrList>()[0], rank);
  const auto axis = number(dim);
  return axis && rank > 0 && (*axis == -1 || *axis == rank - 1);
}

Verdict is_row_vector(const Value* vector, const TensorType& of, std::string_view what) {
  if (!vector) return yes();
  const TensorType want{of.dtype, {of.sizes.back()}};
  if (vector->type == want) return yes();
  return no(what, " is ", vector->type, ", want ", want);
}

Attr last_size(const TensorType& type) { return Attr(AttrList{Attr(type.sizes.back())}); }

bool is_last_size(const Attr& normalized_shape, const TensorType& type) {
  return type.rank() > 0 && normalized_shape == last_size(type);
}

Attr as_list(const std::vector<Sym>& sizes) {
  AttrList list;
  for (const Sym& s : sizes) list.push_back(Attr(s));
  return Attr(std::move(list));
}

}  // namespace kpt
