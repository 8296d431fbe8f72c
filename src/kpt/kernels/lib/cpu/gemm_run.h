// SPDX-License-Identifier: Apache-2.0
#pragma once
#include <memory>
#include <string>

#include "kpt/hardware/cpu.h"
#include "kpt/kernels/kernel.h"
#include "kpt/kernels/lib/cpu/gemm.h"

namespace kpt {

// The cut of a problem for an instruction set of this machine: a pure function of its arguments. Any sizes, 0 included.
GemmPlan plan_gemm(const GemmProblem& p, Isa isa);

// "avx512 48x384 panels 22 tasks 22 threads 2"
std::string describe(const GemmProblem& p, const GemmPlan& plan, Isa isa);

size_t gemm_workspace(const GemmProblem& p, const GemmPlan& plan);

// Runs the product on up to p.threads threads. workspace: gemm_workspace() bytes, 64-byte aligned.
// Thread-safe for distinct workspaces and outputs. The caller answers for `isa` being one this machine has.
void run_gemm(const GemmProblem& p, const GemmPlan& plan, const GemmPointers& at, void* workspace, Isa isa);

// Fewer and larger products of the same value: batch dimensions of size 1 go, neighbours that step alike become one,
// and a batch that shares w joins m.
void fold_batch(GemmProblem& p);

// Where a product finds its tensors: indices into Problem::inputs, -1 for none. The result is output 0.
struct GemmOperands {
  int x = 0, w = 1, bias = -1, residual = -1;
};

// What an operator's file makes of a Problem: the product, its element type (f64 for the reference too) and operands.
struct GemmCall {
  GemmProblem product;
  DType dtype = DType::f32;
  GemmOperands at;
  bool lasting_w = false;  // Problem::lasting of w
};

// f32, bf16 and f16 by the SIMD code for `isa`, which this machine must have.
Verdict gemm_supports(const GemmCall& call);
std::unique_ptr<Launch> make_gemm(GemmCall call, Isa isa = cpu_isa());
// The same by double loops, one thread, any float type: the judge of the other.
std::unique_ptr<Launch> make_gemm_reference(GemmCall call);

// The activation named in the `act` attribute; false if there is none of that name.
bool parse_act(std::string_view name, Act* act);

}  // namespace kpt
