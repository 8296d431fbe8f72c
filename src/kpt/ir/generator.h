// SPDX-License-Identifier: Apache-2.0
#pragma once
#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "kpt/ir/generate.h"

namespace kpt {

// The working state of generate_graph; generate.cpp and generate_shapes.cpp alone use it.
class Generator {
 public:
  Generator(uint64_t seed, const GenerateOptions& options) : state_(seed), options_(options) {}
  Graph run();

 private:
  // A value with what is known of its elements: all lie in [lo, hi]; exact: no rounding happened on the way.
  struct Known {
    Value* value = nullptr;
    double lo = -1, hi = 1;
    bool exact = false;
    const std::vector<Sym>& sizes() const { return value->type.sizes; }
    int rank() const { return value->type.rank(); }
    double magnitude() const;
  };

  // splitmix64 (Steele, Lea, Flood 2014): the distributions of <random> differ between libraries.
  uint64_t next();
  int below(int n) { return static_cast<int>(next() % static_cast<uint64_t>(n)); }
  bool chance(int percent) { return below(100) < percent; }

  void make_inputs();
  void choose_outputs();
  void step();

  // generate.cpp: arithmetic
  void unary();
  void binary();
  void with_number();
  void masked();
  void compare();
  void constant();
  // generate_shapes.cpp: everything that changes sizes
  void reshape();
  void permute();
  void expand();
  void slice();
  void select();
  void cat_values();
  void reduce();
  void softmax();
  void norm();
  void linear();
  void matmul();
  void addmm();
  void embedding();

  Known pick();  // any f32 value
  Known tame();  // one of magnitude <= 8, squashed first where need be
  Known weight(std::vector<Sym> sizes);
  std::optional<std::vector<Sym>> broadcast(const std::vector<Sym>& a, const std::vector<Sym>& b) const;
  bool small(const std::vector<Sym>& sizes) const;
  double count(const std::vector<Sym>& sizes) const;  // elements at the largest sizes
  // Adds the node and its value; drops it where the tensor would be too large. True where it was added.
  bool emit(NodeSpec spec, DType dtype, std::vector<Sym> sizes, double lo, double hi, bool exact = false);

  uint64_t state_;
  GenerateOptions options_;
  Graph graph_;
  std::vector<Known> floats_, masks_;
  std::vector<Value*> ids_;
  Sym batch_ = 3, length_ = 5;
  int width_ = 8;
};

}  // namespace kpt
