// SPDX-License-Identifier: Apache-2.0
#pragma once
#include <memory>
#include <vector>

#include "kpt/kernels/lib/program/micro.h"
#include "kpt/kernels/lib/program/program.h"

namespace kpt {

// How the elements are walked. Output order, row-major, neighbouring dimensions merged where every tensor allows it.
// A block is what one pass of the micro-operations covers: either part of one row (rows == 1) or several short rows.
struct LoopShape {
  Dims outer;        // merged sizes without the inner one
  int64_t rows = 1;  // product of outer
  int64_t inner = 1;
  int64_t block_rows = 1;
  int64_t chunk = 1;        // elements of the inner dimension in one block
  bool whole_rows = false;  // kpt.row: the inner dimension is the last axis, unsplit
  int64_t blocks() const;
};

// One tensor of the loop: inputs first, then outputs.
struct LoopTensor {
  DType dtype = DType::f32;
  Dims outer_strides;  // in elements, as LoopShape::outer
  int64_t inner_stride = 0;
  bool flat = false;    // elements of a block lie one after the other
  bool single = false;  // one element for a whole block
};

struct Micro {
  enum class Kind : uint8_t { compute, load, store } kind = Kind::compute;
  MicroFn fn = nullptr;
  MoveFn move = nullptr;
  int dst = -1;
  int src[3] = {-1, -1, -1};
  int tensor = -1;      // load, store
  int step = -1;        // whose params
  bool single = false;  // one element
  int64_t bytes = 4;    // of an element of the register (load, store)
};

// A program made ready to run. Slots: [0, registers) hold a chunk each, then `singles` one element each, then the
// constants, then the tensors.
struct Loop {
  LoopShape shape;
  std::vector<LoopTensor> tensors;
  std::vector<int> inputs;  // Problem::inputs of the first tensors
  int outputs = 0;
  std::vector<Micro> micros;
  std::vector<std::array<double, 3>> params;
  std::vector<uint64_t> constants;
  int registers = 0, singles = 0;
  int64_t register_bytes = 0;
};

// Fills in shape and tensors.
Verdict shape_loop(const Problem& problem, const Program& program, Loop& loop);
// Verdict no where some instruction has no loop for its dtype.
Verdict compile_loop(const Problem& problem, const Program& program, const MicroTable& table, Loop& loop);
std::unique_ptr<Launch> make_loop(Loop loop, int threads);

}  // namespace kpt
