// SPDX-License-Identifier: Apache-2.0
#include "kpt/kernels/lib/program/launch.h"

#include "kpt/kernels/lib/program/evaluate.h"
#include "kpt/kernels/lib/program/loop.h"

namespace kpt {

namespace {

constexpr size_t kMaxTensors = 64;  // as the worker's tables in loop.cpp

Verdict compile(const Problem& problem, Loop& loop) {
  if (problem.inputs.size() + problem.outputs.size() > kMaxTensors)
    return no("got ", problem.inputs.size() + problem.outputs.size(), " tensors, want at most ", kMaxTensors);
  Program program;
  if (Verdict v = program_of(problem, program); !v) return v;
  if (program.inputs.size() + problem.outputs.size() > kMaxTensors)
    return no("program has more than ", kMaxTensors, " tensors");
  return compile_loop(problem, program, micro_table(), loop);
}

}  // namespace

Verdict program_supports(const Problem& problem) {
  Loop loop;
  return compile(problem, loop);
}

std::unique_ptr<Launch> program_make(const Problem& problem) {
  Loop loop;
  const Verdict v = compile(problem, loop);
  KPT_CHECK(v.ok, "kernels.pointwise", "got ", problem.str(), ": ", v.reason);
  return make_loop(std::move(loop), problem.threads);
}

Verdict program_reference_supports(const Problem& problem) {
  Program program;
  return program_of(problem, program);
}

std::unique_ptr<Launch> program_reference_make(const Problem& problem) {
  Program program;
  const Verdict v = program_of(problem, program);
  KPT_CHECK(v.ok, "kernels.pointwise", "got ", problem.str(), ": ", v.reason);
  return std::make_unique<ProgramReference>(problem, std::move(program));
}

}  // namespace kpt
