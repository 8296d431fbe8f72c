// SPDX-License-Identifier: Apache-2.0
#pragma once
#include <functional>
#include <list>
#include <map>
#include <memory>
#include <string>
#include <string_view>
#include <unordered_map>
#include <vector>

#include "kpt/base/attr.h"
#include "kpt/base/dtype.h"
#include "kpt/base/sym.h"

namespace kpt {

// The graph of a model: straight-line SSA over tensors, sizes symbolic. Text form (see text.h), one statement a line:
//
//   kpt.graph 1
//   sym b in [1, 4096] hint 8
//   sym s in [1, 512] hint 128
//   input %ids : i64[b, s]
//   weight %w "encoder.weight" : f32[384, 384]
//   %h = aten.linear(%x, %w, none) : f32[b, s, 384]  @ "encoder.layer.0" "modeling.py:95 forward < modeling.py:40
//   forward" %y, %i = aten.max.dim(%h, dim=-1, keepdim=false) : f32[b, s], i64[b, s] return %y
//
// Operator names: `aten.<op>` for the default overload, `aten.<op>.<overload>` otherwise, `kpt.<op>` for our own.
// Tensor-typed schema arguments are positional, in schema order (`none` where absent, [..] for lists, a number where
// PyTorch takes a wrapped number); every other argument is named, in schema order, defaults written out.

struct TensorType {
  DType dtype = DType::f32;
  std::vector<Sym> sizes;
  int rank() const { return static_cast<int>(sizes.size()); }
  friend bool operator==(const TensorType& a, const TensorType& b) { return a.dtype == b.dtype && a.sizes == b.sizes; }
};
KPT_API std::ostream& operator<<(std::ostream& os, const TensorType& type);

struct Node;

struct Value {
  enum class Kind { input, weight, node };
  std::string name;  // without '%', unique in the graph: [A-Za-z_][A-Za-z0-9_.]* or digits
  TensorType type;
  Kind kind = Kind::node;
  std::string fqn;           // weights: the name in the module, "encoder.layer.0.attention.self.query.weight"
  Node* producer = nullptr;  // kind node only
  std::vector<Node*> users;  // a node stands here once for each use; graph outputs are not users
};

// Where a node comes from: module path and the user's Python stack, innermost first, joined by " < ".
struct SourceLoc {
  std::string scope;
  std::string stack;
};

struct KPT_API Node {
  std::string op;
  std::vector<Value*> inputs;  // each distinct occurrence of a tensor in args, in order; In{i} refers to inputs[i]
  AttrList args;
  Kwargs kwargs;
  std::vector<Value*> outputs;
  SourceLoc loc;
  int line = 0;  // line in the parsed text; 0 if made by a pass

  Value* out(int i = 0) const { return outputs[static_cast<size_t>(i)]; }
  // The tensor at positional argument i; null where the argument is absent, none, a number or a list.
  Value* operand(int i) const;
};

// What a new node is made of. A tensor in `args` is written as Arg(value).
struct KPT_API NodeSpec {
  std::string op = {};  // with a default each, so that NodeSpec{.op = ".."} compiles without warnings
  std::vector<Value*> inputs = {};
  AttrList args = {};
  Kwargs kwargs = {};
  std::vector<TensorType> types = {};
  std::vector<std::string> names = {};  // wanted names of the outputs; made unique; empty = numbered
  SourceLoc loc = {};

  // Appends a positional tensor argument (null: none).
  NodeSpec& tensor(Value* v);
  // Appends a list of tensors, `[%a, %b]`.
  NodeSpec& tensors(const std::vector<Value*>& values);
  NodeSpec& arg(Attr a) {
    args.push_back(std::move(a));
    return *this;
  }
  NodeSpec& kw(std::string name, Attr a) {
    kwargs.emplace_back(std::move(name), std::move(a));
    return *this;
  }
  NodeSpec& type(DType dtype, std::vector<Sym> sizes) {
    types.push_back({dtype, std::move(sizes)});
    return *this;
  }
};

// Owns nodes and values; all else refers to them by raw pointer, valid until the node is erased. Not thread-safe.
// Noncopyable: clone() makes a deep copy. A name asked for is taken as it is where it is free, else as NAME_1, NAME_2,
// ..; an empty one becomes the next free number. A malformed name throws Error{bad_input}.
class KPT_API Graph {
 public:
  using NodeList = std::list<std::unique_ptr<Node>>;

  Graph();
  ~Graph();
  Graph(Graph&&) noexcept;
  Graph& operator=(Graph&&) noexcept;
  // Everything equal: names, order, users, lines, locations, and the names that later nodes will get.
  Graph clone() const;

  std::vector<SymbolDecl> symbols;

  Value* add_input(std::string_view name, TensorType type);
  Value* add_weight(std::string_view name, std::string_view fqn, TensorType type);
  // Inserts before `before` (null: at the end). All inputs must be defined before that point (verify checks it).
  // Throws Error{internal} where an In of the arguments has no input, or there are not as many types as names.
  Node* add_node(NodeSpec spec, Node* before = nullptr);
  void set_outputs(std::vector<Value*> outputs) { outputs_ = std::move(outputs); }

  const std::vector<Value*>& inputs() const { return inputs_; }
  const std::vector<Value*>& weights() const { return weights_; }
  const std::vector<Value*>& outputs() const { return outputs_; }
  std::vector<Node*> nodes() const;  // in order; a snapshot, safe to erase while walking
  size_t size() const { return nodes_.size(); }
  Value* find(std::string_view name) const;  // null if there is none

  // Every use of `from` (graph outputs included) becomes a use of `to`. `from` stays defined, without users.
  void replace_uses(Value* from, Value* to);
  // Uses of `from` by `user` alone.
  void replace_uses_in(Node* user, Value* from, Value* to);
  // Makes `to` carry the name of `from` (from gets a fresh one): a rewritten value keeps the name users and reports
  // know.
  void take_name(Value* to, Value* from);
  // Throws Error{bad_input} where another value has the name, or it is malformed.
  void rename(Value* value, std::string_view name);
  // All outputs must be unused, by nodes and by the graph: else throws Error{internal}.
  void erase(Node* node);
  void move_before(Node* node, Node* before);  // null: to the end
  bool is_output(const Value* value) const;
  // Uses by nodes plus uses as a graph output.
  size_t use_count(const Value* value) const;
  // Erases weights nobody uses; their fqns.
  std::vector<std::string> drop_unused_weights();
  // True where a comes before b in the list.
  bool precedes(const Node* a, const Node* b) const;

 private:
  Value* new_value(std::string_view wanted, TensorType type, Value::Kind kind);
  std::string free_name(std::string_view wanted);
  void forget(Value* value);
  NodeList nodes_;
  std::unordered_map<const Node*, NodeList::iterator> where_;
  std::unordered_map<const Value*, std::unique_ptr<Value>> values_;
  std::vector<Value*> inputs_, weights_, outputs_;
  std::map<std::string, Value*, std::less<>> by_name_;
  std::map<std::string, int, std::less<>> suffixes_;  // the next to try for NAME_n: naming stays O(log n)
  int next_ = 0;
};

// True for names a value may have: [A-Za-z_][A-Za-z0-9_.]* or digits.
KPT_API bool is_value_name(std::string_view name);

// Erases nodes whose outputs are all unused, again until there are none; how many. Inputs and weights stay.
KPT_API size_t erase_dead(Graph& graph);

}  // namespace kpt
