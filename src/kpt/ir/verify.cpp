// SPDX-License-Identifier: Apache-2.0
#include <algorithm>
#include <set>
#include <unordered_map>
#include <unordered_set>

#include "kpt/base/dims.h"
#include "kpt/ir/rules.h"
#include "kpt/ir/text.h"

namespace kpt {

namespace {

std::string describe(const Node& node) {
  Node bare = node;
  bare.loc = {};
  std::string text = print(bare);
  if (text.size() > 400) text = text.substr(0, 397) + "...";
  return text;
}

Verdict at(const Node& node, const Verdict& verdict) {
  const std::string where = node.line > 0 ? cat("line ", node.line, ", ") : "";
  std::string from;
  if (!node.loc.stack.empty())
    from = cat(" (at ", node.loc.stack, ")");
  else if (!node.loc.scope.empty())
    from = cat(" (in ", node.loc.scope, ")");
  return no(where, describe(node), ": ", verdict.reason, from);
}

class Structure {
 public:
  explicit Structure(const Graph& graph) : graph_(graph) {}

  Verdict run() {
    for (const SymbolDecl& s : graph_.symbols) {
      if (!declared_.insert(s.name).second) return no("got symbol ", s.name, " twice");
      if (s.lo > s.hi) return no("got symbol ", s.name, " in [", s.lo, ", ", s.hi, "], which is empty");
      if (s.hint < s.lo || s.hint > s.hi)
        return no("got hint ", s.hint, " of symbol ", s.name, ", want one in [", s.lo, ", ", s.hi, "]");
    }
    for (const auto* group : {&graph_.inputs(), &graph_.weights()}) {
      for (const Value* v : *group) {
        if (Verdict ok = define(v, nullptr); !ok) return no("%", v->name, ": ", ok.reason);
      }
    }
    const auto nodes = graph_.nodes();
    for (const Node* n : nodes) {
      Verdict ok = check(*n);
      if (ok) ok = check_rule(*n, graph_.symbols);
      if (!ok) return at(*n, ok);
    }
    for (const Value* v : graph_.outputs()) {
      if (!v || !defined_.count(v)) return no("return: got a value that is not defined, want one of the graph");
    }
    return check_users();
  }

 private:
  Verdict define(const Value* v, const Node* producer) {
    if (!is_value_name(v->name)) return no("got a malformed name");
    if (graph_.find(v->name) != v) return no("got %", v->name, ", but the graph knows another value by that name");
    if (v->producer != producer) return no("got a producer that is not the node that lists %", v->name);
    if (!defined_.insert(v).second) return no("got %", v->name, " defined twice");
    if (v->type.rank() > kMaxRank) return no("got rank ", v->type.rank(), ", want at most ", kMaxRank);
    for (const Sym& s : v->type.sizes) {
      if (s.is_const() && s.value() < 0) return no("got size ", s, ", want 0 or more");
      if (Verdict ok = check_symbols(s); !ok) return ok;
    }
    return yes();
  }

  Verdict check_symbols(const Sym& s) {
    if (s.is_const()) return yes();
    for (const std::string& symbol : s.symbols())
      if (!declared_.count(symbol)) return no("got symbol ", symbol, ", want one declared by a sym line");
    return yes();
  }

  Verdict check(const Node& n) {
    for (const Value* v : n.inputs) {
      if (!v) return no("got a null input");
      if (!defined_.count(v)) return no("got %", v->name, ", which is not defined before this line");
      uses_[v].push_back(&n);
    }
    int next = 0;
    for (const Attr& a : n.args)
      if (Verdict ok = check_attr(a, &next); !ok) return ok;
    if (static_cast<size_t>(next) != n.inputs.size())
      return no("got ", n.inputs.size(), " inputs, of which the arguments name ", next);
    for (const auto& [key, a] : n.kwargs)
      if (Verdict ok = check_attr(a, nullptr); !ok) return no(key, ": ", ok.reason);
    if (n.outputs.empty()) return no("got no outputs");
    for (const Value* v : n.outputs)
      if (Verdict ok = define(v, &n); !ok) return ok;
    return yes();
  }

  // next: the index that the next tensor must have; null where tensors may not stand.
  Verdict check_attr(const Attr& a, int* next) {
    if (a.is<In>()) {
      if (!next) return no("got a tensor, want tensors as positional arguments only");
      if (a.as<In>().index != *next) return no("got input ", a.as<In>().index, ", want them in order: ", *next);
      ++*next;
    }
    if (a.is<Sym>()) return check_symbols(a.as<Sym>());
    if (a.is<AttrList>())
      for (const Attr& item : a.as<AttrList>())
        if (Verdict ok = check_attr(item, next); !ok) return ok;
    return yes();
  }

  Verdict check_users() {
    for (const Value* v : defined_) {
      std::vector<const Node*> want = uses_[v];
      std::vector<const Node*> got(v->users.begin(), v->users.end());
      std::sort(want.begin(), want.end());
      std::sort(got.begin(), got.end());
      if (got != want) return no("%", v->name, ": its list of users does not agree with the nodes that use it");
    }
    return yes();
  }

  const Graph& graph_;
  std::set<std::string, std::less<>> declared_;
  std::unordered_set<const Value*> defined_;
  std::unordered_map<const Value*, std::vector<const Node*>> uses_;
};

}  // namespace

Verdict verify(const Graph& graph) { return Structure(graph).run(); }

void verify_or_throw(const Graph& graph, std::string_view after) {
  const Verdict verdict = verify(graph);
  if (!verdict) throw_error(ErrorKind::internal, "ir.verify", cat("after ", after, ": ", verdict.reason));
}

}  // namespace kpt
