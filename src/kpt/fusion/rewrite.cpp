// SPDX-License-Identifier: Apache-2.0
#include <algorithm>
#include <set>

#include "kpt/fusion/pattern.h"

namespace kpt {
namespace {

using Made = std::map<std::string, Value*, std::less<>>;

// ---- May the matched nodes go? ----

bool among(const std::vector<Node*>& nodes, const Node* node) {
  return std::find(nodes.begin(), nodes.end(), node) != nodes.end();
}

bool defines(const Alternative& a, std::string_view name) {
  for (const PatternLine& line : a.before)
    for (const PatternOut& out : line.outs)
      if (out.name == name) return true;
  return false;
}

const PatternOut* name_of(const Alternative& a, const Match& m, const Value* value) {
  for (const PatternLine& line : a.before)
    for (const PatternOut& out : line.outs)
      if (m.value_or_null(out.name) == value) return &out;
  return nullptr;
}

// Each value of the matched nodes is replaced by the right side, or used by the matched nodes alone.
Verdict check_uses(const Graph& graph, const Alternative& a, const Match& m) {
  for (Node* node : m.nodes) {
    for (Value* value : node->outputs) {
      const PatternOut* out = name_of(a, m, value);
      if (out && a.defines_after(out->name)) continue;
      if (graph.is_output(value)) return no("%", value->name, " is an output of the graph");
      for (const Node* user : value->users)
        if (!among(m.nodes, user)) return no("%", value->name, " has another user, %", user->out()->name);
    }
  }
  // add(%h, %h) matches a pattern that speaks of add(%h, %r): the operand would be gone.
  for (const auto& [name, value] : m.values)
    if (value && value->producer && among(m.nodes, value->producer) && !defines(a, name))
      return no("%", value->name, " is computed inside and read as %", name, " too");
  return yes();
}

// Where the new nodes go: before the root and before any other user of a value that they replace.
Verdict insertion_point(const Graph& graph, const Alternative& a, const Match& m, Node*& before) {
  before = m.nodes.front();
  for (const PatternLine& line : a.before)
    for (const PatternOut& out : line.outs) {
      if (!a.defines_after(out.name)) continue;
      for (Node* user : m.value(out.name)->users)
        if (!among(m.nodes, user) && graph.precedes(user, before)) before = user;
    }
  if (before == m.nodes.front()) return yes();  // what the nodes read is computed by then
  for (const auto& [name, value] : m.values) {
    if (!value || !value->producer || among(m.nodes, value->producer)) continue;
    if (!graph.precedes(value->producer, before))
      return no("%", value->name, " is computed behind %", before->out()->name,
                ", which uses a value that this replaces");
  }
  return yes();
}

// ---- Building the right side ----

class Builder {
 public:
  Builder(Graph& graph, const Match& m, Node* before, std::string_view fusion)
      : graph_(graph), m_(m), before_(before), fusion_(fusion) {}

  void line(const PatternLine& line) {
    NodeSpec spec;
    spec.op = line.op;
    for (const Term& t : line.args) spec.args.push_back(build(t, spec));
    for (const auto& [name, t] : line.kwargs) spec.kwargs.emplace_back(name, build(t, spec));
    for (const PatternOut& out : line.outs) {
      spec.types.push_back(type_of(line, out, spec));
      spec.names.push_back(cat(out.name, "_", m_.root()->name));
    }
    spec.loc = m_.nodes.front()->loc;
    if (Value* same = join_view(spec)) {
      made_[line.outs[0].name] = same;
      return;
    }
    const Node* node = graph_.add_node(std::move(spec), before_);
    for (size_t i = 0; i < line.outs.size(); ++i) made_[line.outs[i].name] = node->outputs[i];
    fresh_.insert(node->outputs.begin(), node->outputs.end());
  }

  const Made& made() const { return made_; }
  // False for a value of the graph that stands for a view left out.
  bool fresh(Value* value) const { return fresh_.count(value) > 0; }
  // Views that a joined view stood on; perhaps unused now.
  const std::vector<Node*>& passed() const { return passed_; }

 private:
  Value* value(const Term& term) const {
    const auto it = made_.find(term.name);
    if (it != made_.end()) return it->second;
    return term.optional ? m_.value_or_null(term.name) : m_.value(term.name);
  }

  Attr build(const Term& term, NodeSpec& spec) const {
    switch (term.kind) {
      case Term::Kind::none: return Attr(None{});
      case Term::Kind::literal: return term.literal;
      case Term::Kind::attr:
      case Term::Kind::fill: return m_.attr(term.name);
      case Term::Kind::value: {
        Value* v = value(term);
        if (!v) return Attr(None{});
        spec.inputs.push_back(v);
        return Attr(In{static_cast<int>(spec.inputs.size()) - 1});
      }
      case Term::Kind::list: break;
    }
    AttrList list;
    for (const Term& item : term.items) list.push_back(build(item, spec));
    return Attr(std::move(list));
  }

  TensorType type_of(const PatternLine& line, const PatternOut& out, const NodeSpec& spec) const {
    if (const auto it = m_.types.find(out.name); it != m_.types.end()) return it->second;
    if (const Value* old = m_.value_or_null(out.name)) return old->type;
    KPT_ASSERT(!spec.inputs.empty(), cat("fusion.", fusion_), "line ", line.line, ": no type for %", out.name);
    TensorType type = spec.inputs[0]->type;
    if (line.op == "aten.reshape") {
      type.sizes = get_syms(spec.kwargs, "shape");
    } else if (line.op == "aten.permute") {
      type.sizes.clear();
      for (int64_t dim : get_ints(spec.kwargs, "dims"))
        type.sizes.push_back(spec.inputs[0]->type.sizes.at(static_cast<size_t>(dim)));
    } else {
      throw_error(ErrorKind::internal, cat("fusion.", fusion_),
                  cat("line ", line.line, ": got no type for %", out.name, ", want it in Match::types"));
    }
    return type;
  }

  // Joins a reshape on a reshape, a permute on a permute. Returns the value that the spec would only repeat, else null.
  Value* join_view(NodeSpec& spec) {
    const bool reshape = spec.op == "aten.reshape", permute = spec.op == "aten.permute";
    if (!reshape && !permute) return nullptr;
    Node* under = spec.inputs[0]->producer;
    if (under && under->op == spec.op) {
      passed_.push_back(under);
      if (permute) {
        const std::vector<int64_t> outer = get_ints(spec.kwargs, "dims"), inner = get_ints(under->kwargs, "dims");
        AttrList joined;
        for (int64_t dim : outer) joined.push_back(Attr(inner.at(static_cast<size_t>(dim))));
        spec.kwargs = {{"dims", Attr(std::move(joined))}};
      }
      spec.inputs[0] = under->inputs[0];
    }
    if (reshape) return spec.types[0] == spec.inputs[0]->type ? spec.inputs[0] : nullptr;
    const std::vector<int64_t> dims = get_ints(spec.kwargs, "dims");
    for (size_t i = 0; i < dims.size(); ++i)
      if (dims[i] != static_cast<int64_t>(i)) return nullptr;
    return spec.inputs[0];
  }

  Graph& graph_;
  const Match& m_;
  Node* before_;
  std::string_view fusion_;
  Made made_;
  std::set<Value*> fresh_;
  std::vector<Node*> passed_;
};

bool unused(const Graph& graph, const Node* node) {
  return std::all_of(node->outputs.begin(), node->outputs.end(),
                     [&](const Value* v) { return graph.use_count(v) == 0; });
}

}  // namespace

Verdict apply_rewrite(Graph& graph, const Alternative& a, Match& m, std::string_view fusion,
                      std::vector<std::string>& made) {
  if (Verdict v = check_uses(graph, a, m); !v) return v;
  Node* before = nullptr;
  if (Verdict v = insertion_point(graph, a, m, before); !v) return v;
  Builder builder(graph, m, before, fusion);
  for (const PatternLine& line : a.after) builder.line(line);

  for (const auto& [name, value] : builder.made()) {
    Value* old = m.value_or_null(name);
    if (!old || old == value) continue;
    graph.replace_uses(old, value);
    if (builder.fresh(value)) graph.take_name(value, old);
  }
  for (Node* node : m.nodes) graph.erase(node);
  for (Node* node : builder.passed())
    if (unused(graph, node)) graph.erase(node);
  for (const PatternLine& line : a.after)
    for (const PatternOut& out : line.outs) made.push_back(builder.made().at(out.name)->name);
  return yes();
}

}  // namespace kpt
