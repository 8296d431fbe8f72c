// SPDX-License-Identifier: Apache-2.0
#pragma once
#include <string>
#include <string_view>

#include "kpt/ir/graph.h"

namespace kpt {

// The text form described in graph.h. print(parse(t)) == t for every t that print made (byte for byte).
// `//` starts a comment (dropped) outside brackets; inside, it is the division of sizes. Strings: \" \\ \n \t \xHH
// escapes; UTF-8 stands as it is. Doubles print as the shortest text that reads back to the same bits (a nan keeps its
// sign alone) and always hold one of . e inf nan. Throws Error{bad_input} "[ir.parse] line 12, column 7: got ..., want
// ...". Bounded: 64 MiB text, 1 M statements, nesting 64, rank 8, so hostile text cannot exhaust memory or stack.
KPT_API Graph parse(std::string_view text);
KPT_API std::string print(const Graph& graph);
KPT_API std::string print(const Node& node);  // one statement, without the newline
KPT_API std::string print(const Attr& attr, const std::vector<Value*>& inputs);

// Checks structure (definition before use, users lists, unique names, declared symbols, return) and the shape rules of
// the operators it knows (rules.cpp). Returns a `no` with "line 12, %h = aten.linear(...): got ..., want ... (at
// STACK)". Unknown operators pass: their types are taken as given.
KPT_API Verdict verify(const Graph& graph);
// Throws Error{internal} "[ir.verify] after PASS: ..." where verify says no.
KPT_API void verify_or_throw(const Graph& graph, std::string_view after);

}  // namespace kpt
