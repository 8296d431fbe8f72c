// SPDX-License-Identifier: Apache-2.0
#include "kpt/ir/graph.h"

#include <algorithm>
#include <ostream>

namespace kpt {

namespace {

bool letter(char c) { return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || c == '_'; }
bool digit(char c) { return c >= '0' && c <= '9'; }

void remove_one_use(Value* value, const Node* user) {
  auto& users = value->users;
  // From the back: a node erased or rewritten is mostly the youngest user.
  for (size_t i = users.size(); i-- > 0;) {
    if (users[i] == user) {
      users.erase(users.begin() + static_cast<ptrdiff_t>(i));
      return;
    }
  }
  KPT_ASSERT(false, "ir.graph", "got no use of %", value->name, " by ", user->op);
}

// Highest In index, or -1.
int highest_in(const AttrList& args) {
  int top = -1;
  for (const Attr& a : args) {
    if (a.is<In>()) top = std::max(top, a.as<In>().index);
    if (a.is<AttrList>()) top = std::max(top, highest_in(a.as<AttrList>()));
  }
  return top;
}

}  // namespace

bool is_value_name(std::string_view name) {
  if (name.empty() || name.size() > 1024) return false;
  if (digit(name.front())) return std::all_of(name.begin(), name.end(), digit);
  if (!letter(name.front())) return false;
  return std::all_of(name.begin(), name.end(), [](char c) { return letter(c) || digit(c) || c == '.'; });
}

std::ostream& operator<<(std::ostream& os, const TensorType& type) {
  os << type.dtype << '[';
  for (size_t i = 0; i < type.sizes.size(); ++i) os << (i ? ", " : "") << type.sizes[i];
  return os << ']';
}

Value* Node::operand(int i) const {
  if (i < 0 || static_cast<size_t>(i) >= args.size()) return nullptr;
  const Attr& a = args[static_cast<size_t>(i)];
  return a.is<In>() ? inputs[static_cast<size_t>(a.as<In>().index)] : nullptr;
}

NodeSpec& NodeSpec::tensor(Value* v) {
  if (!v) {
    args.emplace_back(None{});
    return *this;
  }
  inputs.push_back(v);
  args.emplace_back(In{static_cast<int>(inputs.size()) - 1});
  return *this;
}

NodeSpec& NodeSpec::tensors(const std::vector<Value*>& values) {
  AttrList list;
  for (Value* v : values) {
    list.emplace_back(In{static_cast<int>(inputs.size())});
    inputs.push_back(v);
  }
  args.emplace_back(std::move(list));
  return *this;
}

Graph::Graph() = default;
Graph::~Graph() = default;
Graph::Graph(Graph&&) noexcept = default;
Graph& Graph::operator=(Graph&&) noexcept = default;

std::string Graph::free_name(std::string_view wanted) {
  if (wanted.empty()) {
    std::string name;
    do name = std::to_string(next_++);
    while (by_name_.count(name));
    return name;
  }
  KPT_CHECK(is_value_name(wanted), "ir.graph", "got value name '", wanted.substr(0, 80),
            "', want [A-Za-z_][A-Za-z0-9_.]* or digits");
  if (!by_name_.count(wanted)) return std::string(wanted);
  if (digit(wanted.front())) return free_name("");
  int& n = suffixes_.try_emplace(std::string(wanted), 1).first->second;
  std::string name;
  do name = cat(wanted, '_', n++);
  while (by_name_.count(name));
  return name;
}

Value* Graph::new_value(std::string_view wanted, TensorType type, Value::Kind kind) {
  auto value = std::make_unique<Value>();
  value->name = free_name(wanted);
  value->type = std::move(type);
  value->kind = kind;
  Value* v = value.get();
  by_name_[v->name] = v;
  values_.emplace(v, std::move(value));
  return v;
}

void Graph::forget(Value* value) {
  by_name_.erase(value->name);
  values_.erase(value);
}

Value* Graph::add_input(std::string_view name, TensorType type) {
  inputs_.push_back(new_value(name, std::move(type), Value::Kind::input));
  return inputs_.back();
}

Value* Graph::add_weight(std::string_view name, std::string_view fqn, TensorType type) {
  weights_.push_back(new_value(name, std::move(type), Value::Kind::weight));
  weights_.back()->fqn = fqn;
  return weights_.back();
}

Node* Graph::add_node(NodeSpec spec, Node* before) {
  KPT_ASSERT(highest_in(spec.args) < static_cast<int>(spec.inputs.size()), "ir.graph", spec.op, " got ",
             spec.inputs.size(), " inputs, but its arguments ask for more");
  KPT_ASSERT(!spec.types.empty() && spec.names.size() <= spec.types.size(), "ir.graph", spec.op, " got ",
             spec.types.size(), " output types and ", spec.names.size(), " names");
  for (const Value* v : spec.inputs)
    KPT_ASSERT(v && values_.count(v), "ir.graph", spec.op, " got an input that is not of this graph");
  auto owned = std::make_unique<Node>();
  Node* node = owned.get();
  node->op = std::move(spec.op);
  node->inputs = std::move(spec.inputs);
  node->args = std::move(spec.args);
  node->kwargs = std::move(spec.kwargs);
  node->loc = std::move(spec.loc);
  for (size_t i = 0; i < spec.types.size(); ++i) {
    const std::string_view wanted = i < spec.names.size() ? std::string_view(spec.names[i]) : std::string_view();
    Value* v = new_value(wanted, std::move(spec.types[i]), Value::Kind::node);
    v->producer = node;
    node->outputs.push_back(v);
  }
  for (Value* v : node->inputs) v->users.push_back(node);
  const auto at = before ? where_.at(before) : nodes_.end();
  where_[node] = nodes_.insert(at, std::move(owned));
  return node;
}

std::vector<Node*> Graph::nodes() const {
  std::vector<Node*> out;
  out.reserve(nodes_.size());
  for (const auto& n : nodes_) out.push_back(n.get());
  return out;
}

Value* Graph::find(std::string_view name) const {
  auto it = by_name_.find(name);
  return it == by_name_.end() ? nullptr : it->second;
}

void Graph::replace_uses(Value* from, Value* to) {
  if (from == to) return;
  for (Node* user : from->users) {
    // A node that uses `from` twice stands here twice; the first visit replaces both, the second finds nothing.
    std::replace(user->inputs.begin(), user->inputs.end(), from, to);
    to->users.push_back(user);
  }
  from->users.clear();
  std::replace(outputs_.begin(), outputs_.end(), from, to);
}

void Graph::replace_uses_in(Node* user, Value* from, Value* to) {
  if (from == to) return;
  for (Value*& v : user->inputs) {
    if (v != from) continue;
    v = to;
    remove_one_use(from, user);
    to->users.push_back(user);
  }
}

void Graph::take_name(Value* to, Value* from) {
  if (to == from) return;
  std::string name = from->name;
  by_name_.erase(to->name);
  to->name = name;
  by_name_[name] = to;
  from->name = free_name("");
  by_name_[from->name] = from;
}

void Graph::rename(Value* value, std::string_view name) {
  if (value->name == name) return;
  KPT_CHECK(is_value_name(name), "ir.graph", "got value name '", name.substr(0, 80),
            "', want [A-Za-z_][A-Za-z0-9_.]* or digits");
  KPT_CHECK(!find(name), "ir.graph", "got the name %", name, " for %", value->name, ", but another value has it");
  by_name_.erase(value->name);
  value->name = name;
  by_name_[value->name] = value;
}

void Graph::erase(Node* node) {
  for (const Value* v : node->outputs)
    KPT_ASSERT(use_count(v) == 0, "ir.graph", "cannot erase ", node->op, ": %", v->name, " still has ", use_count(v),
               " uses");
  for (Value* v : node->inputs) remove_one_use(v, node);
  for (Value* v : node->outputs) forget(v);
  auto it = where_.find(node);
  nodes_.erase(it->second);
  where_.erase(it);
}

void Graph::move_before(Node* node, Node* before) {
  if (node == before) return;
  nodes_.splice(before ? where_.at(before) : nodes_.end(), nodes_, where_.at(node));
}

bool Graph::is_output(const Value* value) const {
  return std::find(outputs_.begin(), outputs_.end(), value) != outputs_.end();
}

size_t Graph::use_count(const Value* value) const {
  return value->users.size() + static_cast<size_t>(std::count(outputs_.begin(), outputs_.end(), value));
}

std::vector<std::string> Graph::drop_unused_weights() {
  std::vector<std::string> dropped;
  std::vector<Value*> kept;
  for (Value* w : weights_) {
    if (use_count(w) > 0) {
      kept.push_back(w);
      continue;
    }
    dropped.push_back(w->fqn);
    forget(w);
  }
  weights_ = std::move(kept);
  return dropped;
}

bool Graph::precedes(const Node* a, const Node* b) const {
  // Walks on from both at once, so near neighbours cost little whichever comes first.
  auto from_a = where_.at(a), from_b = where_.at(b);
  if (a == b) return false;
  for (;;) {
    if (++from_a == nodes_.end()) return false;
    if (from_a->get() == b) return true;
    if (++from_b == nodes_.end()) return true;
    if (from_b->get() == a) return false;
  }
}

Graph Graph::clone() const {
  Graph out;
  out.symbols = symbols;
  out.next_ = next_;
  out.suffixes_ = suffixes_;
  std::unordered_map<const Value*, Value*> to;
  const auto copy_value = [&](const Value* v, Node* producer) {
    auto copy = std::make_unique<Value>(*v);
    copy->producer = producer;
    copy->users.clear();
    Value* p = copy.get();
    out.by_name_[p->name] = p;
    out.values_.emplace(p, std::move(copy));
    return to[v] = p;
  };
  for (const Value* v : inputs_) out.inputs_.push_back(copy_value(v, nullptr));
  for (const Value* v : weights_) out.weights_.push_back(copy_value(v, nullptr));
  std::unordered_map<const Node*, Node*> node_to;
  for (const auto& n : nodes_) {
    auto copy = std::make_unique<Node>(*n);
    Node* p = copy.get();
    for (Value*& v : p->outputs) v = copy_value(v, p);
    node_to[n.get()] = p;
    out.where_[p] = out.nodes_.insert(out.nodes_.end(), std::move(copy));
  }
  // After all values exist: a pass may have left a use before its definition, which is for verify to say.
  for (const auto& n : out.nodes_)
    for (Value*& v : n->inputs) v = to.at(v);
  for (const auto& [old, copy] : to)
    for (const Node* user : old->users) copy->users.push_back(node_to.at(user));
  for (const Value* v : outputs_) out.outputs_.push_back(to.at(v));
  return out;
}

size_t erase_dead(Graph& graph) {
  // Producers stand before users, so one walk backwards sees each node after all its users are gone.
  size_t erased = 0;
  std::vector<Node*> nodes = graph.nodes();
  for (size_t i = nodes.size(); i-- > 0;) {
    const auto& outs = nodes[i]->outputs;
    const bool used = std::any_of(outs.begin(), outs.end(), [&](const Value* v) { return !v->users.empty(); }) ||
                      std::any_of(outs.begin(), outs.end(), [&](const Value* v) { return graph.is_output(v); });
    if (used) continue;
    graph.erase(nodes[i]);
    ++erased;
  }
  return erased;
}

}  // namespace kpt
