// SPDX-License-Identifier: Apache-2.0
#include "kpt/kernels/lib/program/loop.h"

#include <algorithm>

#include "kpt/base/threads.h"
#include "kpt/hardware/cpu.h"

namespace kpt {
namespace {

// Below this many elements a second thread costs more than it saves (a wake-up is about 5 us, 32 Ki f32 take as long).
constexpr int64_t kParallelElements = 32768;
// Tasks for each thread: enough that one late thread does not keep the others waiting.
constexpr int64_t kTasksPerThread = 4;

int64_t padded(int64_t bytes) { return (bytes + 63) / 64 * 64; }

// Scratch of one worker: registers, single elements, the slot table, the offsets of each row of a block.
struct Layout {
  int64_t singles, slots, rows, bytes;
  explicit Layout(const Loop& l) {
    singles = l.registers * l.register_bytes;
    slots = singles + padded(l.singles * 8);
    const int64_t count = l.registers + l.singles + static_cast<int64_t>(l.constants.size() + l.tensors.size());
    rows = slots + padded(count * 8);
    bytes = rows + padded(static_cast<int64_t>(l.tensors.size()) * l.shape.block_rows * 8);
  }
};

class Worker {
 public:
  Worker(const Loop& loop, const Layout& layout, char* scratch, const RunArgs& args) : loop_(loop) {
    slots_ = reinterpret_cast<char**>(scratch + layout.slots);
    offsets_ = reinterpret_cast<int64_t*>(scratch + layout.rows);
    int s = 0;
    for (int i = 0; i < loop.registers; ++i) slots_[s++] = scratch + i * loop.register_bytes;
    for (int i = 0; i < loop.singles; ++i) slots_[s++] = scratch + layout.singles + i * 8;
    for (const uint64_t& c : loop.constants) slots_[s++] = reinterpret_cast<char*>(const_cast<uint64_t*>(&c));
    first_tensor_ = s;
    for (size_t t = 0; t < loop.tensors.size(); ++t) {
      const size_t inputs = loop.inputs.size();
      const void* p = t < inputs ? args.inputs[loop.inputs[t]] : args.outputs[t - inputs];
      base_[t] = static_cast<char*>(const_cast<void*>(p));
    }
  }

  void run(int64_t begin, int64_t end) {
    const LoopShape& s = loop_.shape;
    const int64_t parts = s.block_rows > 1 ? 1 : (s.inner + s.chunk - 1) / s.chunk;
    seek(begin / parts * s.block_rows);
    for (int64_t block = begin; block < end; ++block) {
      const int64_t part = block % parts;
      const int64_t column = part * s.chunk;
      const int64_t row = block / parts * s.block_rows;
      const int64_t rows = std::min(s.block_rows, s.rows - row);
      const int64_t n = std::min(s.chunk, s.inner - column);
      place(column, rows);
      for (const Micro& m : loop_.micros) step(m, n, rows);
      if (part == parts - 1) seek_next(rows);
    }
  }

 private:
  static constexpr size_t kMaxTensors = 64;

  void seek(int64_t row) {
    const LoopShape& s = loop_.shape;
    for (int d = s.outer.rank() - 1; d >= 0; --d) {
      index_[d] = row % s.outer[d];
      row /= s.outer[d];
    }
    for (size_t t = 0; t < loop_.tensors.size(); ++t) {
      row_[t] = 0;
      for (int d = 0; d < s.outer.rank(); ++d) row_[t] += index_[d] * loop_.tensors[t].outer_strides[d];
    }
  }

  void next_row() {
    const LoopShape& s = loop_.shape;
    for (int d = s.outer.rank() - 1; d >= 0; --d) {
      const bool carry = ++index_[d] == s.outer[d];
      const int64_t steps = carry ? 1 - s.outer[d] : 1;
      for (size_t t = 0; t < loop_.tensors.size(); ++t) row_[t] += steps * loop_.tensors[t].outer_strides[d];
      if (!carry) return;
      index_[d] = 0;
    }
  }

  // A block of several rows has already walked over its rows in place().
  void seek_next(int64_t rows) {
    if (loop_.shape.block_rows == 1 && rows == 1) next_row();
  }

  void place(int64_t column, int64_t rows) {
    const size_t count = loop_.tensors.size();
    for (size_t t = 0; t < count; ++t) {
      const LoopTensor& d = loop_.tensors[t];
      const int64_t offset = row_[t] + column * d.inner_stride;
      slots_[static_cast<size_t>(first_tensor_) + t] = base_[t] + offset * static_cast<int64_t>(size_of(d.dtype));
    }
    if (loop_.shape.block_rows == 1) return;
    for (int64_t r = 0; r < rows; ++r) {
      for (size_t t = 0; t < count; ++t) offsets_[r * static_cast<int64_t>(count) + static_cast<int64_t>(t)] = row_[t];
      next_row();
    }
  }

  void step(const Micro& m, int64_t n, int64_t rows) {
    if (m.kind == Micro::Kind::compute) {
      const double* params = m.step < 0 ? nullptr : loop_.params[static_cast<size_t>(m.step)].data();
      m.fn({slots_[m.dst], slots_[m.src[0]], slots_[m.src[1]], slots_[m.src[2]], m.single ? 1 : n * rows, params});
      return;
    }
    const LoopTensor& t = loop_.tensors[static_cast<size_t>(m.tensor)];
    char* memory = slots_[first_tensor_ + m.tensor];
    const bool load = m.kind == Micro::Kind::load;
    char* chunk = slots_[load ? m.dst : m.src[0]];
    if (m.single || t.flat || rows == 1) {
      const int64_t count = m.single ? 1 : n * rows;
      const int64_t stride = t.flat ? 1 : t.inner_stride;
      if (load) {
        m.move(chunk, 1, memory, stride, count);
      } else {
        m.move(memory, stride, chunk, 1, count);
      }
      return;
    }
    move_rows(m, t, chunk, n, rows);
  }

  void move_rows(const Micro& m, const LoopTensor& t, char* chunk, int64_t n, int64_t rows) {
    const size_t tensor = static_cast<size_t>(m.tensor);
    const int64_t count = static_cast<int64_t>(loop_.tensors.size()), bytes = static_cast<int64_t>(size_of(t.dtype));
    for (int64_t r = 0; r < rows; ++r) {
      char* memory = base_[tensor] + offsets_[r * count + m.tensor] * bytes;
      char* piece = chunk + r * n * m.bytes;
      if (m.kind == Micro::Kind::load) {
        m.move(piece, 1, memory, t.inner_stride, n);
      } else {
        m.move(memory, t.inner_stride, piece, 1, n);
      }
    }
  }

  const Loop& loop_;
  char** slots_;
  int64_t* offsets_;
  int first_tensor_ = 0;
  char* base_[kMaxTensors];
  int64_t row_[kMaxTensors];
  int64_t index_[kMaxRank] = {};
};

class LoopLaunch : public Launch {
 public:
  LoopLaunch(Loop loop, int threads) : loop_(std::move(loop)), layout_(loop_) {
    const LoopShape& s = loop_.shape;
    const bool wide = s.rows * s.inner >= kParallelElements;
    threads_ = wide ? static_cast<int>(std::min<int64_t>(std::max(threads, 1), std::max<int64_t>(1, s.blocks()))) : 1;
  }
  size_t workspace_bytes() const override { return static_cast<size_t>(layout_.bytes * threads_); }

  void run(const RunArgs& args) const override {
    const int64_t blocks = loop_.shape.blocks();
    const int64_t tasks = threads_ == 1 ? 1 : std::min(blocks, threads_ * kTasksPerThread);
    parallel(blocks ? tasks : 0, threads_, [&](int64_t task, int worker) {
      char* scratch = static_cast<char*>(args.workspace) + worker * layout_.bytes;
      Worker(loop_, layout_, scratch, args).run(blocks * task / tasks, blocks * (task + 1) / tasks);
    });
  }
  std::string config() const override {
    return cat(name(cpu_isa()), " steps ", loop_.micros.size(), " block ", loop_.shape.block_rows, "x",
               loop_.shape.chunk, " threads ", threads_);
  }

 private:
  Loop loop_;
  Layout layout_;
  int threads_ = 1;
};

}  // namespace

int64_t LoopShape::blocks() const {
  if (rows == 0 || inner == 0) return 0;
  if (block_rows > 1) return (rows + block_rows - 1) / block_rows;
  return rows * ((inner + chunk - 1) / chunk);
}

std::unique_ptr<Launch> make_loop(Loop loop, int threads) {
  return std::make_unique<LoopLaunch>(std::move(loop), threads);
}

const MicroTable& micro_table() {
  switch (cpu_isa()) {
#if defined(__x86_64__)
    case Isa::avx512bf16: return avx512bf16::kMicroTable;
    case Isa::avx512: return avx512::kMicroTable;
    case Isa::avx2: return avx2::kMicroTable;
#endif
    default: return generic::kMicroTable;
  }
}

}  // namespace kpt
