// SPDX-License-Identifier: Apache-2.0
// NVIDIA GPUs through the driver, opened at run time: kernels registered for device "cuda", the arena from torch's
// allocator or the driver's, CUDA graphs for shapes that repeat.
#include "kpt/backends/backend.h"
#include "kpt/cuda/driver.h"
#include "kpt/cuda/graph.h"
#include "kpt/cuda/memory.h"
#include "kpt/cuda/nvrtc.h"

namespace kpt {

namespace {

constexpr int kOldestArch = 80;  // bf16 products and asynchronous copies, which the kernels are written with

class CudaRecording final : public Recording {
 public:
  CudaRecording(int device, const std::vector<RecordedPlace>& inputs, const std::vector<RecordedPlace>& outputs,
                const RecordedWork& work)
      : graph_(device, places(inputs), places(outputs),
               {places(work.own), [&](size_t piece, CUstream stream) { work.run(piece, stream); }}) {}
  void replay(const std::vector<const void*>& inputs, const std::vector<void*>& outputs, void* stream) override {
    graph_.launch(inputs, outputs, static_cast<CUstream>(stream));
  }

 private:
  static std::vector<CudaGraphPlace> places(const std::vector<RecordedPlace>& all) {
    std::vector<CudaGraphPlace> out;
    for (const RecordedPlace& p : all) out.push_back({p.place, static_cast<size_t>(p.bytes)});
    return out;
  }
  CudaGraph graph_;
};

class NvidiaDevice final : public Device {
 public:
  explicit NvidiaDevice(int index) : index_(index) {
    const CudaDevice& d = cuda_devices()[static_cast<size_t>(index)];
    traits_ = {d.arch, d.multiprocessors, d.l2_bytes, d.shared_bytes};
  }
  GpuTraits traits() const override { return traits_; }
  std::shared_ptr<void> enter() const override { return std::make_shared<CudaGuard>(index_); }
  Memory allocate(int64_t bytes, void* stream) const override { return cuda_allocate(bytes, index_, stream); }
  void copy(void* to, const void* from, int64_t bytes, void* stream) const override {
    if (bytes == 0) return;
    cuda_check(cuda().cuMemcpyDtoDAsync(reinterpret_cast<CUdeviceptr>(to), reinterpret_cast<CUdeviceptr>(from),
                                        static_cast<size_t>(bytes), static_cast<CUstream>(stream)),
               "nvidia.copy");
  }
  void wait(void* stream) const override {
    cuda_check(cuda().cuStreamSynchronize(static_cast<CUstream>(stream)), "nvidia.wait");
  }
  std::optional<DeviceMemory> memory() const override {
    const CudaMemory now = cuda_memory(index_);
    return DeviceMemory{now.free_bytes, now.total_bytes};
  }
  std::string label() const override { return cat("cuda:", index_); }
  bool records() const override { return true; }
  std::unique_ptr<Recording> record(const std::vector<RecordedPlace>& inputs, const std::vector<RecordedPlace>& outputs,
                                    const RecordedWork& work) const override {
    return std::make_unique<CudaRecording>(index_, inputs, outputs, work);
  }

 private:
  int index_;
  GpuTraits traits_;
};

class NvidiaBackend final : public Backend {
 public:
  std::string_view device() const override { return "cuda"; }
  Verdict available() const override {
    if (Verdict driver = cuda_here(); !driver) return driver;
    return nvrtc_here();
  }
  std::vector<Candidate> candidates(const Node& node, const Problem& sample,
                                    const SelectOptions& options) const override {
    return registry_candidates("cuda", node, sample, options);
  }
  std::shared_ptr<const Device> open(int index) const override {
    cuda();  // throws where there is no driver
    if (Verdict compiler = nvrtc_here(); !compiler)
      throw_error(ErrorKind::library, "nvidia",
                  cat("got ", compiler.reason, ", want NVRTC 12 or newer, try its folder in KPT_CUDA_PATH"));
    const size_t count = cuda_devices().size();
    if (index < 0 || static_cast<size_t>(index) >= count)
      throw_error(ErrorKind::device, "nvidia",
                  cat("got device cuda:", index, ", want one of ", count, " devices, try cuda:0"));
    const int arch = cuda_devices()[static_cast<size_t>(index)].arch;
    if (arch < kOldestArch)
      throw_error(ErrorKind::capability, "nvidia",
                  cat("got cuda:", index, " of compute capability ", arch / 10, ".", arch % 10, ", want ",
                      kOldestArch / 10, ".", kOldestArch % 10, " or newer, try device cpu"));
    return std::make_shared<NvidiaDevice>(index);
  }
};

}  // namespace

void register_nvidia(BackendRegistry& registry) { registry.add(std::make_unique<NvidiaBackend>()); }

}  // namespace kpt
