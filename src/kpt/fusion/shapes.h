// SPDX-License-Identifier: Apache-2.0
#pragma once
#include <string_view>
#include <vector>

#include "kpt/fusion/fusion.h"

// Questions that several `when` functions ask.
namespace kpt {

// The attribute is the number `want`, to the digits that people type (6).
bool close_to(const Attr* attr, double want);

// A dim argument, number or list of one, that names the last axis of a tensor of this rank.
bool names_last_axis(const Attr& dim, int rank);

// A vector as long as the last axis of `of`, in the same dtype; or none.
Verdict is_row_vector(const Value* vector, const TensorType& of, std::string_view what);

// The last size alone, as the `normalized_shape` of a norm over the last axis.
Attr last_size(const TensorType& type);
bool is_last_size(const Attr& normalized_shape, const TensorType& type);

Attr as_list(const std::vector<Sym>& sizes);

}  // namespace kpt
