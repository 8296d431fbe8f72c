// SPDX-License-Identifier: Apache-2.0
#pragma once
#include <map>
#include <string>
#include <vector>

#include "kpt/base/error.h"
#include "kpt/ir/graph.h"

namespace kpt {

// The program of a kpt.pointwise or kpt.row node (docs/operators.md) for a set of nodes.
struct GroupProgram {
  std::vector<Value*> inputs;  // i0, i1, ..
  std::string text;
  int instructions = 0;
};

// A reduction over the last axis that a row program can do: its instruction, "" for any other node.
std::string_view row_instruction(const Node& node);

// `no` where one instruction cannot say what the node does (a symbolic number, an unknown mode, several outputs, ...).
// Depends on the node alone.
Verdict can_be_instruction(const Node& node);

// nodes: in graph order, each can_be_instruction. outputs: values of these nodes, in the order of the new node's
// outputs.
GroupProgram make_program(const std::vector<Node*>& nodes, const std::vector<Value*>& outputs);

}  // namespace kpt
