// SPDX-License-Identifier: Apache-2.0
// What leaf folders share around their loops: a launch made of a function, walking rows, plain access for references.
#pragma once
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <utility>

#include "kpt/kernels/kernel.h"
#include "kpt/kernels/lib/cpu/act.h"

namespace kpt {

// A Launch from a function. The function is called from many threads at once: it may only read what it holds.
std::unique_ptr<Launch> make_launch(std::function<void(const RunArgs&)> run, size_t workspace_bytes = 0,
                                    std::string config = "");

// Registers a kernel for device "cpu" under provider "kpt" or "reference"; name: the leaf folder's plus suffix.
void add_cpu(KernelRegistry& registry, const std::string& op, const std::string& folder,
             std::function<Verdict(const Problem&)> supports,
             std::function<std::unique_ptr<Launch>(const Problem&)> make);
void add_reference(KernelRegistry& registry, const std::string& op, const std::string& folder,
                   std::function<Verdict(const Problem&)> supports,
                   std::function<std::unique_ptr<Launch>(const Problem&)> make);

// Element offset of row r of some leading dimensions, row-major; neighbouring ones are merged where strides allow.
class RowMap {
 public:
  RowMap() = default;
  RowMap(const TensorDesc& desc, int leading);  // the first `leading` dimensions
  int64_t rows() const { return rows_; }
  int64_t offset(int64_t row) const;

 private:
  Dims sizes_, strides_;
  int64_t rows_ = 1;
};

// True where the trailing dimensions from `first` on lie in memory like one dense run.
bool dense_from(const TensorDesc& desc, int first);

// f32, bf16, f16; none for the others.
std::optional<Elem> elem_of(DType dtype);

// dim in [-rank, rank) to [0, rank); -1 where it is out of range. Rank 0 counts as rank 1, as in PyTorch.
int normal_dim(int64_t dim, int rank);

// Strided access by index, for references and paths that are not hot.
class Elements {
 public:
  Elements(const TensorDesc& desc, const void* data)
      : desc_(desc), data_(static_cast<char*>(const_cast<void*>(data))) {}
  double get(const Dims& index) const { return load_as_double(desc_.dtype, at(index)); }
  void set(const Dims& index, double value) const { store_from_double(desc_.dtype, at(index), value); }
  char* at(const Dims& index) const {
    int64_t offset = 0;
    for (int i = 0; i < index.rank(); ++i) offset += index[i] * desc_.strides[i];
    return data_ + offset * static_cast<int64_t>(size_of(desc_.dtype));
  }

 private:
  const TensorDesc& desc_;
  char* data_;
};

// f(index) for every index, row-major.
template <class F>
void each_index(const Dims& sizes, F&& f) {
  if (sizes.numel() == 0) return;
  Dims index = Dims::filled(sizes.rank(), 0);
  while (true) {
    f(static_cast<const Dims&>(index));
    int d = sizes.rank() - 1;
    for (; d >= 0 && ++index[d] == sizes[d]; --d) index[d] = 0;
    if (d < 0) return;
  }
}

// Byte address `elements` behind p.
inline const char* shifted(const void* p, int64_t elements, DType dtype) {
  return static_cast<const char*>(p) + elements * static_cast<int64_t>(size_of(dtype));
}
inline char* shifted(void* p, int64_t elements, DType dtype) {
  return static_cast<char*>(p) + elements * static_cast<int64_t>(size_of(dtype));
}

// Threads and tasks for work over `units` of `cost` bytes (or similar) each: one thread below 128 KiB, where a wake-up
// of about 5 us would show; four tasks for each thread above.
struct Split {
  int threads = 1;
  int64_t tasks = 1;
  Split(int64_t units, int64_t cost, int threads);
  int64_t begin(int64_t task, int64_t units) const { return units * task / tasks; }
};

}  // namespace kpt
