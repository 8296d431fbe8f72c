// SPDX-License-Identifier: Apache-2.0
#pragma once
#include <array>
#include <string>
#include <string_view>
#include <vector>

#include "kpt/kernels/kernel.h"
#include "kpt/kernels/lib/program/fn.h"

namespace kpt {

// How the dtype of a result follows from the dtypes of the operands.
enum class Rule : uint8_t {
  same,      // of the first operand
  promote,   // PyTorch's result_type of all operands
  floating,  // promote, integers become f32
  compare,   // operands promoted; the result is bool
  logical,   // operands to bool; the result is bool
  test,      // any operand; the result is bool
  select,    // the first operand to bool, the others promoted
  fill,      // of the first operand; the second to bool
  cast,      // the instruction names it
  row_sum,   // same, integers become i64
};

struct FnInfo {
  std::string_view name;
  Fn fn;
  int operands;
  int params;  // numbers that follow the operands; absent ones take `defaults`
  Rule rule;
  std::array<double, 3> defaults{};
};
const FnInfo* fn_info(std::string_view name);  // null for casts ("to_f32") and unknown names
const FnInfo& fn_info(Fn fn);

struct Arg {
  enum class Kind : uint8_t { none, input, step, integer, real, boolean };
  Kind kind = Kind::none;
  int index = 0;      // input or step
  double number = 0;  // integer, real, boolean
  bool is_number() const { return kind == Kind::integer || kind == Kind::real || kind == Kind::boolean; }
};

struct Step {
  Fn fn = Fn::add;
  std::array<Arg, 3> arg;
  int operands = 0;
  std::array<double, 3> params{};
  DType to = DType::f32;  // cast only
  // Filled by infer():
  DType at = DType::f32;  // the operands' common dtype
  DType result = DType::f32;
  int rank_class = 2;   // 2: a tensor with dimensions, 1: zero-dimensional, 0: number (PyTorch's priority)
  bool is_row = false;  // one value for each row
};

// A straight-line program over broadcast inputs. Inputs are numbered as Problem::args[0] lists them (kpt.pointwise and
// kpt.row) or by position (single ATen operators); `inputs` maps them to Problem::inputs.
struct Program {
  std::vector<Step> steps;
  std::vector<Arg> outputs;
  std::vector<int> inputs;
};

// Text form: statements `name=op(args)` separated by ';', at last `out a,b`. Arguments: i0 i1 .., names of earlier
// statements, numbers (with . e inf nan: real; true, false: boolean; else integer), none (clamp only). An instruction's
// parameters (elu's alpha, ..) follow its operands in the order of PyTorch's schema. At most kMaxSteps statements.
constexpr int kMaxSteps = 256;
Verdict parse_program(std::string_view text, int inputs, Program& program);
// The program of a problem: its own text, or the one statement a single ATen operator stands for. dtypes inferred.
Verdict program_of(const Problem& problem, Program& program);
// The ATen operators program_of knows.
std::vector<std::string_view> pointwise_aten_ops();
// Fills in the dtypes; descs are those of the program's inputs, in its order.
Verdict infer(Program& program, const std::vector<TensorDesc>& descs);

}  // namespace kpt
