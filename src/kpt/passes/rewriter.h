// SPDX-License-Identifier: Apache-2.0
#pragma once
#include <optional>
#include <string>
#include <vector>

#include "kpt/ir/graph.h"
#include "kpt/passes/pass.h"

namespace kpt {

// What stands at one positional place of a node: a tensor, or a number (PyTorch's wrapped number), or none.
struct Operand {
  Value* value = nullptr;
  Attr number;  // where value is null; None where the operand is absent
  bool absent() const { return !value && number.is_none(); }
};

// Absent where the node has fewer arguments. A list operand is absent too; see operand_list.
Operand operand_at(const Node& node, int i);
// The tensors of a list argument; nullptr for `none` inside the list. Empty where argument i is no list.
std::vector<Value*> operand_list(const Node& node, int i);

// -1 -> rank - 1; leaves 0 <= dim < rank alone. A scalar counts as rank 1, as in PyTorch.
int64_t wrap_dim(int64_t dim, int rank);
// The sizes of `a op b` by PyTorch's broadcasting; none where two sizes can be neither shown equal nor 1.
std::optional<std::vector<Sym>> broadcast(const std::vector<Sym>& a, const std::vector<Sym>& b);
// True where the value is a weight, or computed from weights and literals alone (the prologue).
bool weights_only(const Value* value);
// True where running the node twice, or not at all, can be seen: random numbers, effects, in-place writes.
bool has_effects(const Node& node);
// The node writes these attributes, neither more nor fewer, in this order.
bool same_kwargs(const Kwargs& a, const Kwargs& b);
// Lossless for every value: bf16 -> f32, i32 -> i64, bool -> anything.
bool widens_exactly(DType from, DType to);
// Erases nodes without effects whose outputs nobody uses; how many.
int sweep_dead(Graph& graph);

// Inserts nodes before one node and puts values of others in its place. View builders fold as they build: a reshape of
// a reshape is one reshape, an identity is the operand itself.
class Rewriter {
 public:
  Rewriter(Graph& graph, Node* at) : graph_(graph), at_(at) {}

  Value* make(std::string op, const std::vector<Operand>& operands, Kwargs kwargs, TensorType type);
  Value* make_list(std::string op, const std::vector<Value*>& list, Kwargs kwargs, TensorType type);
  Value* reshape(Value* x, const std::vector<Sym>& sizes);
  Value* permute(Value* x, const std::vector<int64_t>& dims);
  Value* expand(Value* x, const std::vector<Sym>& sizes);
  // x[start : start + step * length : step] of dimension dim, `length` elements.
  Value* slice(Value* x, int64_t dim, const Sym& start, const Sym& length, int64_t step = 1);
  Value* select(Value* x, int64_t dim, const Sym& index);
  Value* cast(Value* x, DType dtype);
  Value* full(const TensorType& type, Attr fill);

  // Uses of `old` become uses of `by`; a value made by this rewriter, or still without a name but a number, takes the
  // name of `old`.
  void replace(Value* old, Value* by);
  // replace() for the only output of the node, then erases the node.
  void replace_node(Value* by);
  Graph& graph() { return graph_; }

 private:
  Value* add(NodeSpec spec);
  Graph& graph_;
  Node* at_;
  std::vector<Value*> made_;
};

// Moves a weights-only value, and what it is computed from, before `before`.
void hoist(Graph& graph, Value* value, Node* before);

}  // namespace kpt
