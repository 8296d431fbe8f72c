// SPDX-License-Identifier: Apache-2.0
// Depth-first search with backtracking over the order of commuting operands. The lines are visited from the last to the
// first, so the node of each line is known from a later one; nothing is searched in the graph.
#include <algorithm>

#include "kpt/fusion/pattern.h"

namespace kpt {
namespace {

bool holds_tensor(const Attr& attr) {
  if (attr.is<In>()) return true;
  if (!attr.is<AttrList>()) return false;
  const AttrList& list = attr.as<AttrList>();
  return std::any_of(list.begin(), list.end(), holds_tensor);
}

// Numbers are equal by value (2 and 2.0), all else by kind and value.
bool same(const Attr& a, const Attr& b) {
  const auto x = number(a), y = number(b);
  if (x && y) return *x == *y;
  if (a.is<AttrList>() && b.is<AttrList>()) {
    const AttrList &p = a.as<AttrList>(), &q = b.as<AttrList>();
    return p.size() == q.size() && std::equal(p.begin(), p.end(), q.begin(), same);
  }
  return a == b;
}

// A 0-d kpt.constant stands for its number.
const Attr* scalar_constant(const Value* value) {
  if (!value->producer || value->producer->op != "kpt.constant" || value->type.rank() != 0) return nullptr;
  const Attr* list = find(value->producer->kwargs, "value");
  if (!list || !list->is<AttrList>() || list->as<AttrList>().size() != 1) return nullptr;
  return &list->as<AttrList>()[0];
}

bool bind_value(Match& m, const std::string& name, Value* value) {
  const auto [it, fresh] = m.values.emplace(name, value);
  return fresh || it->second == value;
}

bool bind_attr(Match& m, const std::string& name, const Attr& attr) {
  const auto [it, fresh] = m.attrs.emplace(name, attr);
  return fresh || same(it->second, attr);
}

// `attr` is null where the node has no such argument.
bool match_term(const Term& term, const Attr* attr, const Node& node, Match& m) {
  static const Attr nothing;
  if (!attr) attr = &nothing;
  Value* value = attr->is<In>() ? node.inputs[static_cast<size_t>(attr->as<In>().index)] : nullptr;
  const Attr* plain = value ? scalar_constant(value) : attr;
  switch (term.kind) {
    case Term::Kind::none: return attr->is_none();
    case Term::Kind::value:
      if (!value && !(term.optional && attr->is_none())) return false;
      return bind_value(m, term.name, value);
    case Term::Kind::attr: return plain && !holds_tensor(*plain) && bind_attr(m, term.name, *plain);
    case Term::Kind::literal: return plain && same(term.literal, *plain);
    case Term::Kind::fill: return false;  // the parser lets none through
    case Term::Kind::list: break;
  }
  if (!attr->is<AttrList>() || attr->as<AttrList>().size() != term.items.size()) return false;
  for (size_t i = 0; i < term.items.size(); ++i)
    if (!match_term(term.items[i], &attr->as<AttrList>()[i], node, m)) return false;
  return true;
}

bool match_arguments(const PatternLine& line, const Node& node, bool swapped, Match& m) {
  const size_t n = std::max(line.args.size(), node.args.size());
  static const Term nothing;
  for (size_t i = 0; i < n; ++i) {
    const size_t from = swapped && i < 2 ? 1 - i : i;
    const Attr* attr = from < node.args.size() ? &node.args[from] : nullptr;
    if (!match_term(i < line.args.size() ? line.args[i] : nothing, attr, node, m)) return false;
  }
  for (const auto& [name, term] : line.kwargs)
    if (!match_term(term, find(node.kwargs, name), node, m)) return false;
  return true;
}

// add and sub before canonicalisation may still carry a factor that no pattern speaks of.
bool has_factor(const Node& node) {
  const Attr* alpha = find(node.kwargs, "alpha");
  return alpha && number(*alpha) != 1.0;
}

class Search {
 public:
  Search(const Alternative& alternative, const std::function<bool(Match&)>& accept)
      : a_(alternative), accept_(accept) {}

  bool line(size_t left, const Match& so_far) {
    if (left == 0) {
      Match whole = so_far;
      return accept_(whole);
    }
    return present(left, so_far) || (a_.before[left - 1].skippable && absent(left, so_far));
  }

 private:
  bool present(size_t left, const Match& so_far) {
    const PatternLine& line = a_.before[left - 1];
    Match bound = so_far;
    Node* node = producer(line, bound);
    if (!node || node->op != line.op || has_factor(*node) || !bind_outputs(line, node, bound)) return false;
    if (std::find(bound.nodes.begin(), bound.nodes.end(), node) == bound.nodes.end()) bound.nodes.push_back(node);
    Match straight = bound;
    if (match_arguments(line, *node, false, straight) && this->line(left - 1, straight)) return true;
    return commutes(line.op) && node->args.size() >= 2 && match_arguments(line, *node, true, bound) &&
           this->line(left - 1, bound);
  }
  // The line's value is its first operand.
  bool absent(size_t left, const Match& so_far) {
    const PatternLine& line = a_.before[left - 1];
    Match bound = so_far;
    return bind_value(bound, line.args[0].name, bound.value(line.outs[0].name)) && this->line(left - 1, bound);
  }
  static Node* producer(const PatternLine& line, const Match& m) {
    for (const PatternOut& out : line.outs) {
      const auto it = m.values.find(out.name);
      if (it != m.values.end()) return it->second ? it->second->producer : nullptr;
    }
    return nullptr;
  }
  static bool bind_outputs(const PatternLine& line, Node* node, Match& m) {
    if (line.outs.size() > node->outputs.size()) return false;
    for (size_t i = 0; i < line.outs.size(); ++i) {
      Value* value = node->outputs[i];
      if (line.outs[i].dtype && *line.outs[i].dtype != value->type.dtype) return false;
      if (!bind_value(m, line.outs[i].name, value)) return false;
    }
    return true;
  }

  const Alternative& a_;
  const std::function<bool(Match&)>& accept_;
};

}  // namespace

bool match_at(const Alternative& alternative, Node* root, const std::function<bool(Match&)>& accept) {
  if (root->op != alternative.root().op) return false;
  Match m;
  m.values.emplace(alternative.root().outs[0].name, root->out());
  return Search(alternative, accept).line(alternative.before.size(), m);
}

Value* Match::value_or_null(std::string_view name) const {
  const auto it = values.find(name);
  return it == values.end() ? nullptr : it->second;
}

const Attr* Match::attr_or_null(std::string_view name) const {
  const auto it = attrs.find(name);
  return it == attrs.end() ? nullptr : &it->second;
}

Value* Match::value(std::string_view name) const {
  const auto it = values.find(name);
  KPT_ASSERT(it != values.end(), "fusion.match", "got %", name, ", which the pattern does not bind");
  return it->second;
}

const Attr& Match::attr(std::string_view name) const {
  const auto it = attrs.find(name);
  KPT_ASSERT(it != attrs.end(), "fusion.match", "got ?", name, ", which the pattern does not bind");
  return it->second;
}

}  // namespace kpt
