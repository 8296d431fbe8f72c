// SPDX-License-Identifier: Apache-2.0
#include "kpt/kernels/lib/launch.h"

#include <algorithm>

namespace kpt {

namespace {

class FunctionLaunch : public Launch {
 public:
  FunctionLaunch(std::function<void(const RunArgs&)> run, size_t workspace_bytes, std::string config)
      : run_(std::move(run)), workspace_bytes_(workspace_bytes), config_(std::move(config)) {}
  size_t workspace_bytes() const override { return workspace_bytes_; }
  void run(const RunArgs& args) const override { run_(args); }
  std::string config() const override { return config_; }

 private:
  std::function<void(const RunArgs&)> run_;
  size_t workspace_bytes_;
  std::string config_;
};

}  // namespace

std::unique_ptr<Launch> make_launch(std::function<void(const RunArgs&)> run, size_t workspace_bytes,
                                    std::string config) {
  return std::make_unique<FunctionLaunch>(std::move(run), workspace_bytes, std::move(config));
}

void add_cpu(KernelRegistry& registry, const std::string& op, const std::string& folder,
             std::function<Verdict(const Problem&)> supports,
             std::function<std::unique_ptr<Launch>(const Problem&)> make) {
  registry.add({op, "kpt", "cpu", folder + "_cpu", 0, std::move(supports), std::move(make)});
}

void add_reference(KernelRegistry& registry, const std::string& op, const std::string& folder,
                   std::function<Verdict(const Problem&)> supports,
                   std::function<std::unique_ptr<Launch>(const Problem&)> make) {
  registry.add({op, "reference", "cpu", folder + "_reference", 0, std::move(supports), std::move(make)});
}

RowMap::RowMap(const TensorDesc& desc, int leading) {
  for (int d = 0; d < leading; ++d) {
    rows_ *= desc.sizes[d];
    if (desc.sizes[d] == 1) continue;
    const int last = sizes_.rank() - 1;
    if (last >= 0 && strides_[last] == desc.strides[d] * desc.sizes[d]) {
      sizes_[last] *= desc.sizes[d];
      strides_[last] = desc.strides[d];
    } else {
      sizes_.push_back(desc.sizes[d]);
      strides_.push_back(desc.strides[d]);
    }
  }
}

int64_t RowMap::offset(int64_t row) const {
  if (sizes_.rank() == 1) return row * strides_[0];
  int64_t at = 0;
  for (int d = sizes_.rank() - 1; d >= 0; --d) {
    at += row % sizes_[d] * strides_[d];
    row /= sizes_[d];
  }
  return at;
}

bool dense_from(const TensorDesc& desc, int first) {
  TensorDesc tail{desc.dtype, {}, {}};
  for (int d = first; d < desc.sizes.rank(); ++d) {
    tail.sizes.push_back(desc.sizes[d]);
    tail.strides.push_back(desc.strides[d]);
  }
  return tail.is_contiguous();
}

std::optional<Elem> elem_of(DType dtype) {
  switch (dtype) {
    case DType::f32: return Elem::f32;
    case DType::bf16: return Elem::bf16;
    case DType::f16: return Elem::f16;
    default: return std::nullopt;
  }
}

int normal_dim(int64_t dim, int rank) {
  const int64_t r = std::max(rank, 1);
  if (dim < -r || dim >= r) return -1;
  return static_cast<int>(dim < 0 ? dim + r : dim);
}

Split::Split(int64_t units, int64_t cost, int most) {
  if (most <= 1 || units <= 1 || units * cost < 131072) return;
  threads = static_cast<int>(std::min<int64_t>(most, units));
  tasks = std::min<int64_t>(units, threads * 4);
}

}  // namespace kpt
