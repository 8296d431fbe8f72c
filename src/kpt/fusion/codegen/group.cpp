// SPDX-License-Identifier: Apache-2.0
// Greedy, from the last node to the first: each node that stands in no group yet takes its producers in, as far as the
// rules below allow. A group becomes one kpt.pointwise node, or kpt.row where it reduces over the last axis.
#include <algorithm>
#include <climits>
#include <map>
#include <set>
#include <unordered_map>
#include <unordered_set>

#include "kpt/fusion/codegen/program.h"
#include "kpt/fusion/fusion.h"
#include "kpt/ir/ops.h"

namespace kpt {
namespace {

// Limits of one group. A loop with more streams than this stalls on address translation and prefetch, and a program
// much longer is bound by arithmetic, where one pass less saves nothing.
constexpr size_t kMaxInputs = 16, kMaxOutputs = 4, kMaxInstructions = 64;

bool reduces(const Node* node) { return !row_instruction(*node).empty(); }

// The sizes a node loops over: its operand's where it reduces, else its result's.
const std::vector<Sym>& space(const Node* node) {
  return reduces(node) ? node->inputs[0]->type.sizes : node->out()->type.sizes;
}

std::vector<Sym> row_space(std::vector<Sym> sizes) {
  if (!sizes.empty()) sizes.back() = 1;
  return sizes;
}

// What every group of a graph looks at.
struct Facts {
  std::unordered_map<const Node*, int> position;
  std::unordered_set<const Node*> prologue;  // run once at load: weights and constants in, fixed sizes out
  std::unordered_set<const Node*> put_back;
};

Facts facts_of(const Graph& graph, const std::unordered_set<const Node*>& put_back) {
  Facts facts;
  facts.put_back = put_back;
  for (const Node* node : graph.nodes()) {
    facts.position.emplace(node, static_cast<int>(facts.position.size()));
    const bool fixed = std::all_of(node->inputs.begin(), node->inputs.end(), [&](const Value* v) {
      return v->kind == Value::Kind::weight || facts.prologue.count(v->producer);
    });
    const auto constant = [](const Value* v) {
      return std::all_of(v->type.sizes.begin(), v->type.sizes.end(), [](const Sym& s) { return s.is_const(); });
    };
    if (fixed && std::all_of(node->outputs.begin(), node->outputs.end(), constant)) facts.prologue.insert(node);
  }
  return facts;
}

// The prologue is left out: it runs once, so there is nothing to gain.
bool may_join(const Facts& facts, const Node* node) {
  return !facts.put_back.count(node) && !facts.prologue.count(node) && can_be_instruction(*node);
}

class Group {
 public:
  Group(const Graph& graph, const Facts& facts, Node* seed)
      : graph_(graph),
        facts_(facts),
        position_(facts.position),
        seed_(seed),
        wide_(space(seed)),
        narrow_(row_space(wide_)),
        members_{seed} {}

  // Takes producers in until nothing changes; each round visits the later ones first, so that the users of a value are
  // settled before it is.
  void grow() {
    for (bool changed = true; changed;) {
      changed = false;
      for (Node* node : candidates()) changed |= try_add(node);
    }
    drop_loose_narrow();
    if (!valid(members_)) members_ = {seed_};  // what was dropped became an input, one too many
  }

  std::vector<Node*> nodes() const {
    std::vector<Node*> sorted(members_.begin(), members_.end());
    std::sort(sorted.begin(), sorted.end(), [&](Node* a, Node* b) { return position_.at(a) < position_.at(b); });
    return sorted;
  }
  bool has_reduction() const { return std::any_of(members_.begin(), members_.end(), reduces); }
  std::vector<Value*> outputs() const {
    std::vector<Value*> values;
    for (Node* node : nodes())
      if (leaves(members_, node)) values.push_back(node->out());
    return values;
  }
  // The earliest user outside; null where there is none.
  Node* before() const {
    Node* first = nullptr;
    for (const Node* node : members_)
      for (Node* user : node->out()->users)
        if (!members_.count(user) && (!first || position_.at(user) < position_.at(first))) first = user;
    return first;
  }

 private:
  using Set = std::unordered_set<Node*>;

  std::vector<Node*> candidates() const {
    Set found;
    for (const Node* node : members_)
      for (const Value* value : node->inputs)
        if (value->producer && !members_.count(value->producer)) found.insert(value->producer);
    std::vector<Node*> sorted(found.begin(), found.end());
    std::sort(sorted.begin(), sorted.end(), [&](Node* a, Node* b) { return position_.at(a) > position_.at(b); });
    return sorted;
  }

  bool try_add(Node* node) {
    if (!may_join(facts_, node)) return false;
    // Equal sizes only: a smaller tensor is computed once, not once for each element it is broadcast to.
    const bool row = narrow_ != wide_ && !wide_.empty() && space(node) == narrow_ && !reduces(node);
    if (space(node) != wide_ && !row) return false;
    Set bigger = members_;
    bigger.insert(node);
    if (!valid(bigger)) return false;
    members_ = std::move(bigger);
    return true;
  }

  bool leaves(const Set& set, const Node* node) const {
    const auto outside = [&](Node* user) { return !set.count(user); };
    return graph_.is_output(node->out()) || std::any_of(node->out()->users.begin(), node->out()->users.end(), outside);
  }

  // The limits, one size for all outputs, and no cycle: everything the group reads is computed before the first
  // outside reader of what it writes. That is stronger than need be, and needs no node to move.
  bool valid(const Set& set) const {
    std::unordered_set<const Value*> inputs;
    size_t outputs = 0;
    int ready = -1, wanted = INT_MAX;
    for (Node* node : set) {
      for (const Value* value : node->inputs) {
        if (value->producer && set.count(value->producer)) continue;
        inputs.insert(value);
        if (value->producer) ready = std::max(ready, position_.at(value->producer));
      }
      if (!leaves(set, node)) continue;
      ++outputs;
      if (node->out()->type.sizes != seed_->out()->type.sizes) return false;
      for (const Node* user : node->out()->users)
        if (!set.count(const_cast<Node*>(user))) wanted = std::min(wanted, position_.at(user));
    }
    return set.size() <= kMaxInstructions && inputs.size() <= kMaxInputs && outputs <= kMaxOutputs && ready < wanted;
  }

  // A value of one element a row belongs here only if a reduction of the group leads to it.
  void drop_loose_narrow() {
    if (narrow_ == wide_) return;
    Set reduced;
    for (Node* node : nodes()) {
      const auto led = [&](const Value* v) { return v->producer && reduced.count(v->producer) > 0; };
      if (reduces(node) || std::any_of(node->inputs.begin(), node->inputs.end(), led)) {
        reduced.insert(node);
      } else if (space(node) == narrow_) {
        members_.erase(node);
      }
    }
  }

  const Graph& graph_;
  const Facts& facts_;
  const std::unordered_map<const Node*, int>& position_;
  Node* seed_;
  std::vector<Sym> wide_, narrow_;
  Set members_;
};

// Puts one node in the place of the group.
void replace(Graph& graph, const Group& group, Node* seed, Rewrite& rewrite) {
  const std::vector<Node*> nodes = group.nodes();
  const std::vector<Value*> outputs = group.outputs();
  const GroupProgram program = make_program(nodes, outputs);
  NodeSpec spec;
  spec.op = group.has_reduction() ? "kpt.row" : "kpt.pointwise";
  AttrList list;
  for (Value* input : program.inputs) {
    list.push_back(Attr(In{static_cast<int>(spec.inputs.size())}));
    spec.inputs.push_back(input);
  }
  spec.arg(Attr(std::move(list))).kw("program", Attr(program.text));
  for (const Value* out : outputs) spec.types.push_back(out->type);
  spec.loc = seed->loc;
  // Members stand before `before` and are skipped over; null: only the graph's return reads the outputs.
  const Node* made = graph.add_node(std::move(spec), group.before());
  for (size_t i = 0; i < outputs.size(); ++i) {
    graph.replace_uses(outputs[i], made->outputs[i]);
    graph.take_name(made->outputs[i], outputs[i]);
    rewrite.values.push_back(made->outputs[i]->name);
  }
  for (auto it = nodes.rbegin(); it != nodes.rend(); ++it) graph.erase(*it);
}

}  // namespace

namespace {

// One walk over the graph. True if it changed.
bool sweep(Graph& graph, PassContext& context, std::unordered_set<const Node*>& put_back) {
  std::vector<Node*> seeds = graph.nodes();
  std::reverse(seeds.begin(), seeds.end());
  std::unordered_set<const Node*> gone;
  Facts facts = facts_of(graph, put_back);
  for (Node* seed : seeds) {
    if (gone.count(seed) || graph.use_count(seed->out()) == 0 || !may_join(facts, seed)) continue;
    Group group(graph, facts, seed);
    group.grow();
    const std::vector<Node*> nodes = group.nodes();
    if (nodes.size() < 2) continue;
    const std::string kind = group.has_reduction() ? "row" : "pointwise";
    Rewrite rewrite{cat(kind, "@", seed->out()->name),
                    "group_pointwise",
                    cat(kind, "(", nodes.size(), " operators)"),
                    seed->loc.scope,
                    cat("one pass over memory instead of ", nodes.size()),
                    true,
                    {}};
    if (context.allowed(rewrite.key)) {
      gone.insert(nodes.begin(), nodes.end());
      replace(graph, group, seed, rewrite);
      context.applied(std::move(rewrite));
    } else {
      rewrite.why = "put back";
      put_back.insert(nodes.begin(), nodes.end());
      context.declined(std::move(rewrite));
    }
    facts = facts_of(graph, put_back);
  }
  return !gone.empty();
}

}  // namespace

void group_pointwise(Graph& graph, PassContext& context) {
  std::unordered_set<const Node*> put_back;
  // A group stands where its outputs are first read, which may make room for another one: again until nothing changes.
  while (sweep(graph, context, put_back)) {
  }
}

}  // namespace kpt
