// SPDX-License-Identifier: Apache-2.0
// Generated graphs: optimised (passes, fusions, groups, fast kernels, shared memory) against the plain interpreter (no
// rewrites, reference kernels in f64, nothing shared by choice of kernels).
#include <gtest/gtest.h>

#include <cmath>
#include <random>

#include "kpt/engine/engine.h"
#include "kpt/ir/generate.h"
#include "kpt/ir/text.h"

namespace kpt {
namespace {

// The generator's own bound for two f32 evaluations (generate.h).
constexpr double kTolerance = 1e-3;

Tensor fill(const TensorType& type, const SymEnv& env, std::mt19937_64& random) {
  Dims sizes;
  for (const Sym& s : type.sizes) sizes.push_back(s.eval(env));
  Tensor t = Tensor::empty(type.dtype, sizes);
  std::uniform_real_distribution<double> unit(-1, 1);
  for (int64_t i = 0; i < sizes.numel(); ++i) {
    if (is_float(type.dtype))
      t.set(i, unit(random));
    else
      t.set(i, static_cast<double>(random() % (type.dtype == DType::boolean ? 2 : 4)));
  }
  return t;
}

std::string compare(const Tensor& fast, const Tensor& slow) {
  if (fast.desc.sizes != slow.desc.sizes) return cat("sizes ", fast.desc.sizes, " and ", slow.desc.sizes);
  for (int64_t i = 0; i < fast.desc.numel(); ++i) {
    const double a = fast.at(i), b = slow.at(i);
    if (std::isnan(a) && std::isnan(b)) continue;
    if (!(std::abs(a - b) <= kTolerance * (1 + std::abs(b)))) return cat("element ", i, ": ", a, " and ", b);
  }
  return "";
}

CompileOptions plain() {
  CompileOptions o;
  o.rewrite = false;
  o.providers = {"reference"};
  return o;
}

// One seed: two random sets of sizes, every output. Empty where all agree.
std::string check(uint64_t seed) {
  const Graph graph = generate_graph(seed);
  const std::string text = print(graph);
  if (print(parse(text)) != text) return "the text does not round-trip";
  std::mt19937_64 random(seed);
  std::map<std::string, Tensor> tensors;
  for (const Value* w : graph.weights()) tensors[w->fqn] = fill(w->type, {}, random);
  auto weights = make_weights(tensors);
  auto fast = Model::compile(graph.clone(), weights, {});
  auto slow = Model::compile(widen_to_f64(graph), weights, plain());
  for (int round = 0; round < 2; ++round) {
    SymEnv env;
    for (const auto& d : graph.symbols)
      env[d.name] = d.lo + static_cast<int64_t>(random() % static_cast<uint64_t>(d.hi - d.lo + 1));
    std::vector<Tensor> inputs;
    for (const Value* in : graph.inputs()) inputs.push_back(fill(in->type, env, random));
    const auto a = fast->run(inputs), b = slow->run(inputs);
    for (size_t i = 0; i < a.size(); ++i) {
      const std::string difference = compare(a[i], b[i]);
      if (!difference.empty()) return cat("output ", i, ", ", difference, "\n", text, "optimised:\n", fast->text());
    }
  }
  return "";
}

TEST(Generated, OptimisedGraphsAgreeWithThePlainInterpreter) {
  for (uint64_t seed = 0; seed < 2000; ++seed) {
    std::string fault;
    try {
      fault = check(seed);
    } catch (const Error& e) {
      fault = cat(e.what(), "\n", print(generate_graph(seed)));
    }
    ASSERT_EQ(fault, "") << "seed " << seed;
  }
}

}  // namespace
}  // namespace kpt
