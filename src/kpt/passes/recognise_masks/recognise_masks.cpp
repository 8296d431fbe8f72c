// SPDX-License-Identifier: Apache-2.0
// The mask of kpt.attention is evaluated as a condition on (batch, head, query i, key j). What is proved:
//   always true               -> no mask
//   i - j >= 0                -> causal=true
//   depends on (batch, j)     -> mask_kind="key" with a bool [B, T] operand
//   both of the last two      -> both
//
// A float mask (added to the scores) is one of two numbers, 0 where the condition holds and `low` elsewhere. It may be
// turned into a condition only where that is exact:
//   low = -inf                any condition: a masked key has weight 0. A row masked whole gives 0 here as in PyTorch's
//                             fused attention; eager softmax would give NaN.
//   low <= -1e30 (finfo.min)  causal alone: key 0 is visible to every row, so a masked key has weight
//                             exp(score + low - max) = 0 exactly for |score| < 1e29. With a key mask a row may be
//                             masked whole, and the sum gives it uniform weights: left as it is.
//   any other low             left as it is: a masked key may keep weight.
#include <cmath>
#include <map>

#include "kpt/passes/element.h"

namespace kpt {
namespace {

constexpr double kSurelyZero = -1e30;

struct Positions {
  Sym b, h, i, j;
};

struct Mask {
  bool causal = false;
  std::vector<Atom> keys;
  std::string note;
};

// The condition under which key j is seen, or the reason why there is none.
Verdict condition_of(const Element& e, Condition& condition, std::string& note) {
  if (const Condition* c = std::get_if<Condition>(&e)) {
    condition = *c;
    return yes();
  }
  const Choice* c = std::get_if<Choice>(&e);
  if (!c) return no("the mask is no condition on positions that could be derived");
  const bool first = c->yes == 0;
  const double low = first ? c->no : c->yes;
  if ((first ? c->yes : c->no) != 0) return no("the additive mask adds neither 0 nor a bound to visible keys");
  condition = first ? c->when : negation(c->when);
  if (low == 0) condition = {};
  if (condition.always()) return yes();
  if (!(low <= kSurelyZero)) return no("the additive mask adds ", low, ": masked keys may keep weight");
  if (std::isinf(low)) {
    note = "; a row masked whole gives 0, where eager softmax gives NaN";
    return yes();
  }
  for (const Atom& atom : condition.all)
    if (atom.value)
      return no("the additive mask adds ", low, ", not -inf: a row with every key masked gets uniform weights");
  note = "; exact while scores stay below 1e29";
  return yes();
}

Verdict split(const Condition& condition, const Positions& at, Mask& mask) {
  if (condition.inverted) return no("the mask is an alternative of conditions");
  for (const Atom& atom : condition.all) {
    if (!atom.value) {
      if (atom.difference != at.i - at.j)
        return no("the mask relates positions by ", atom.difference, " >= 0, which is not causal");
      mask.causal = true;
      continue;
    }
    for (const Sym& where : atom.at)
      if (!where.is_const() && where != at.b && where != at.j)
        return no("%", atom.value->name, " is read at ", where, ": it depends on more than batch and key");
    mask.keys.push_back(atom);
  }
  return yes();
}

// Which dimensions of a key atom's tensor are batch and key; -1 where it has none.
struct KeyDims {
  int64_t batch = -1, key = -1;
};

// Sizes must be shown equal to [B, T]: the mask of one symbol does not fit the input of another.
Verdict find_dims(const Atom& atom, const Positions& at, const std::vector<Sym>& sizes, KeyDims& dims) {
  const Value* v = atom.value;
  for (size_t d = 0; d < atom.at.size(); ++d) {
    const bool is_batch = !at.b.is_const() && atom.at[d] == at.b, is_key = !at.j.is_const() && atom.at[d] == at.j;
    if (is_batch && dims.batch < 0)
      dims.batch = static_cast<int64_t>(d);
    else if (is_key && dims.key < 0)
      dims.key = static_cast<int64_t>(d);
    else if (v->type.sizes[d] != Sym(1))
      return no("%", v->name, " is read at one place of dimension ", d, " of several");
  }
  const auto fits = [&](int64_t dim, const Sym& size) {
    return dim < 0 || v->type.sizes[static_cast<size_t>(dim)] == size;
  };
  if (!fits(dims.batch, sizes[0]) || !fits(dims.key, sizes[1]))
    return no("%", v->name, " : ", v->type, " is not shown to have sizes [", sizes[0], ", ", sizes[1],
              "]; give the mask the batch and length symbols of the input");
  return yes();
}

// The atom's tensor as bool [B, T]. All dimensions but batch and key are 1.
Value* key_operand(const Atom& atom, const KeyDims& dims, const std::vector<Sym>& sizes, Rewriter& rw) {
  Value* v = atom.value;
  if (dims.batch >= 0 && dims.key >= 0 && dims.key < dims.batch) {
    std::vector<int64_t> order;
    for (size_t d = 0; d < atom.at.size(); ++d) order.push_back(static_cast<int64_t>(d));
    std::swap(order[static_cast<size_t>(dims.batch)], order[static_cast<size_t>(dims.key)]);
    v = rw.permute(v, order);
  }
  v = rw.reshape(v, {dims.batch < 0 ? Sym(1) : sizes[0], dims.key < 0 ? Sym(1) : sizes[1]});
  v = rw.expand(v, sizes);
  return atom.negated ? rw.make("aten.logical_not", {{v, {}}}, {}, v->type) : v;
}

struct Result {
  Verdict verdict = yes();
  Mask mask;
  Value* key = nullptr;
};

class Recogniser {
 public:
  Recogniser(Graph& graph, PassContext& context) : graph_(graph), context_(context) {}

  void visit(Node& node) {
    const std::string kind = get_string(node.kwargs, "mask_kind", "none");
    Value* mask = operand_at(node, 3).value;
    if (!mask || (kind != "bool" && kind != "add")) return;
    Rewrite r{
        "recognise_masks@" + node.out()->name, "recognise_masks", "", node.loc.scope, "", true, {node.out()->name}};
    if (!context_.allowed(r.key)) {
      r.what = "mask of %" + mask->name;
      r.why = "put back";
      context_.declined(r);
      return;
    }
    const Result& result = recognise(node, mask);
    if (!result.verdict) {
      r.what = "mask of %" + mask->name;
      r.why = result.verdict.reason;
      context_.declined(r);
      return;
    }
    apply(node, result);
    const bool causal = result.mask.causal, key = result.key != nullptr;
    r.what = causal && key ? "causal + key mask" : causal ? "causal mask" : key ? "key mask" : "mask is all true";
    r.why = (key ? "the mask is [B, T], not [B, 1, S, T]" : "no mask is made or read") + result.mask.note;
    context_.applied(r);
    changed_ = true;
  }

  bool changed() const { return changed_; }

 private:
  const Result& recognise(Node& node, Value* mask) {
    const bool bhsd = get_string(node.kwargs, "layout", "bhsd") == "bhsd";
    const std::vector<Sym>&q = node.inputs[0]->type.sizes, &k = node.inputs[1]->type.sizes;
    const std::vector<Sym> sizes{q[0], q[bhsd ? 1 : 2], q[bhsd ? 2 : 1], k[bhsd ? 2 : 1]};
    std::string id = mask->name;
    for (const Sym& size : sizes) id += " " + size.str();
    const auto [at, is_new] = results_.emplace(id, Result());
    if (is_new) prove(node, mask, sizes, at->second);
    return at->second;
  }

  void prove(Node& node, Value* mask, const std::vector<Sym>& sizes, Result& result) {
    ElementEvaluator evaluator(graph_);
    const Positions at{evaluator.position("batch", sizes[0]), evaluator.position("head", sizes[1]),
                       evaluator.position("query", sizes[2]), evaluator.position("key", sizes[3])};
    if (mask->type.rank() != 4) {
      result.verdict = no("the mask has rank ", mask->type.rank());
      return;
    }
    std::vector<Sym> where{at.b, at.h, at.i, at.j};
    for (size_t d = 0; d < 4; ++d)
      if (mask->type.sizes[d] == Sym(1)) where[d] = 0;
    Condition condition;
    result.verdict = condition_of(evaluator.at(mask, where), condition, result.mask.note);
    if (result.verdict) result.verdict = split(condition, at, result.mask);
    if (!result.verdict) return;
    const std::vector<Sym> key_sizes{sizes[0], sizes[3]};
    std::vector<KeyDims> dims(result.mask.keys.size());
    for (size_t i = 0; i < dims.size() && result.verdict; ++i)
      result.verdict = find_dims(result.mask.keys[i], at, key_sizes, dims[i]);
    if (!result.verdict) return;
    Rewriter rw(graph_, &node);
    for (size_t i = 0; i < dims.size(); ++i) {
      Value* key = key_operand(result.mask.keys[i], dims[i], key_sizes, rw);
      result.key = result.key ? rw.make("aten.logical_and", {{result.key, {}}, {key, {}}}, {}, key->type) : key;
    }
  }

  void apply(Node& node, const Result& result) {
    Kwargs kwargs = node.kwargs;
    for (auto& [name, value] : kwargs) {
      if (name == "causal" && result.mask.causal) value = true;
      if (name == "mask_kind") value = result.key ? "key" : "none";
    }
    Rewriter rw(graph_, &node);
    rw.replace_node(rw.make(node.op, {operand_at(node, 0), operand_at(node, 1), operand_at(node, 2), {result.key, {}}},
                            kwargs, node.out()->type));
  }

  Graph& graph_;
  PassContext& context_;
  std::map<std::string, Result> results_;
  bool changed_ = false;
};

void recognise_masks(Graph& graph, PassContext& context) {
  Recogniser recogniser(graph, context);
  for (Node* node : graph.nodes())
    if (node->op == "kpt.attention") recogniser.visit(*node);
  if (recogniser.changed()) sweep_dead(graph);
}

}  // namespace

void register_recognise_masks(PassRegistry& registry) {
  registry.add(
      {"recognise_masks", 50, "Proves what attention masks say: nothing, causal, key padding.", recognise_masks});
}

}  // namespace kpt
