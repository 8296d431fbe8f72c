// SPDX-License-Identifier: Apache-2.0
#include "kpt/kernels/norm/norm_cuda.h"

#include <gtest/gtest.h>

#include "kpt/cuda/nvrtc.h"
#include "kpt/kernels/conformance.h"
#include "kpt/kernels/lib/cuda/work.h"

namespace kpt {
namespace {

// "threads a row, packs x elements a thread, threads a block" for a layer norm over the last dimension.
std::string shape(const TensorDesc& x, DType weight) {
  const int64_t width = x.sizes.back();
  Problem p;
  p.op = "aten.layer_norm";
  p.inputs = {x, TensorDesc::contiguous(weight, {width})};
  p.outputs = {TensorDesc::contiguous(x.dtype, x.sizes)};
  p.args = {In{0}, In{1}, None{}};
  p.kwargs = {{"normalized_shape", AttrList{width}}, {"eps", 1e-5}};
  p.gpu.multiprocessors = 132;
  Norm n;
  const Verdict v = read_norm(p, n);
  const CudaRowShape s = norm_shape(p, n);
  return v.ok ? cat(s.threads, ", ", s.packs, " x ", s.vec, ", ", s.block) : v.reason;
}
std::string shape(DType dtype, const Dims& sizes) { return shape(TensorDesc::contiguous(dtype, sizes), dtype); }

TEST(NormCuda, ThreadsHold64BytesOfARow) {
  EXPECT_EQ(shape(DType::bf16, {4096, 768}), "32, 3 x 8, 128");
  EXPECT_EQ(shape(DType::bf16, {4096, 4096}), "128, 4 x 8, 128");
  EXPECT_EQ(shape(DType::f32, {4096, 768}), "64, 3 x 4, 64");
  EXPECT_EQ(shape(DType::f32, {4096, 16384}), "512, 8 x 4, 512");
  EXPECT_EQ(shape(TensorDesc::contiguous(DType::bf16, {4096, 4096}), DType::f32), "256, 2 x 8, 256");
}

TEST(NormCuda, ShortRowsShareAWarp) {
  EXPECT_EQ(shape(DType::bf16, {100000, 128}), "16, 1 x 8, 128");
  EXPECT_EQ(shape(DType::f32, {100000, 1}), "1, 1 x 1, 128");
}

TEST(NormCuda, FewRowsTakeSmallBlocks) {
  EXPECT_EQ(shape(DType::bf16, {128, 256}), "32, 1 x 8, 32");
  EXPECT_EQ(shape(DType::bf16, {200, 256}), "32, 1 x 8, 64");
}

TEST(NormCuda, FewRowsAreSpreadOverIdleThreads) {
  EXPECT_EQ(shape(DType::bf16, {128, 768}), "128, 1 x 8, 128");
  EXPECT_EQ(shape(DType::bf16, {16, 4096}), "512, 1 x 8, 512");
  EXPECT_EQ(shape(DType::bf16, {1024, 1024}), "64, 2 x 8, 64");  // 65,536 of 132 x 512 threads
  EXPECT_EQ(shape(DType::bf16, {2048, 1024}), "32, 4 x 8, 128");
}

TEST(NormCuda, PacksDivideWidthAndStrides) {
  EXPECT_EQ(shape(DType::bf16, {8, 1002}), "512, 1 x 2, 512");
  EXPECT_EQ(shape(DType::bf16, {8, 1001}), "512, 2 x 1, 512");
  EXPECT_EQ(shape({DType::bf16, {8, 64}, {68, 1}}, DType::bf16), "16, 1 x 4, 32");
}

using conformance::Case;
using conformance::dense;

Case layer(DType d, int64_t rows, int64_t width, const GpuTraits& gpu) {
  Case c = conformance::make_case(
      cat("many ", d, " ", width), "aten.layer_norm", {dense(d, {rows, width}), dense(d, {width}), dense(d, {width})},
      {In{0}, In{1}, In{2}}, {{"normalized_shape", AttrList{width}}, {"eps", 1e-5}}, {dense(d, {rows, width})}, width);
  c.problem.gpu = gpu;
  return c;
}
std::shared_ptr<const Kernel> kernel_of(const Case& c) {
  for (const auto& k : kernel_registry().find(c.problem.op, "cuda"))
    if (k->work && k->supports(c.problem)) return k;
  return nullptr;
}
// Few rows are many for it.
GpuTraits one_multiprocessor(int arch) { return {arch, 1, 1 << 20, 232448}; }

TEST(NormCuda, BlocksStayForManyLongRows) {
  const auto file = [](Case c) { return kernel_of(c)->work(c.problem).calls[0].program.name; };
  const GpuTraits h200{90, 132, 60 << 20, 232448};
  EXPECT_EQ(file(layer(DType::bf16, 16384, 8192, h200)), "norm/norm_many.cu");
  EXPECT_EQ(file(layer(DType::bf16, 1024, 8192, h200)), "norm/norm.cu");
  EXPECT_EQ(file(layer(DType::bf16, 16384, 4096, h200)), "norm/norm.cu");
  EXPECT_EQ(file(layer(DType::f32, 16384, 8192, h200)), "norm/norm.cu");
  Case plain = layer(DType::bf16, 16384, 8192, h200);
  plain.problem.args[2] = None{};
  EXPECT_EQ(file(plain), "norm/norm.cu");
}

TEST(NormCuda, BlocksThatStayCompileWithoutSpills) {
  if (!nvrtc_here()) GTEST_SKIP() << "not checked: " << nvrtc_here().reason;
  for (const DType d : {DType::bf16, DType::f16}) {
    const Case c = layer(d, 50, 8192, one_multiprocessor(90));
    for (int arch : {80, 90, 100}) EXPECT_EQ(check_cuda_work(kernel_of(c)->work(c.problem), arch), "") << d << arch;
  }
}

TEST(NormCuda, OnAGpuBlocksThatStayAgreeWithTheReference) {
  if (!cuda_here()) GTEST_SKIP() << "not checked: " << cuda_here().reason;
  const CudaGuard guard(0);
  for (const DType d : {DType::bf16, DType::f16})
    for (int64_t width : {8192, 6152})
      for (int64_t rows : {48, 49, 50, 52}) {
        const Case c = layer(d, rows, width, one_multiprocessor(cuda_devices()[0].arch));
        ASSERT_EQ(kernel_of(c)->work(c.problem).calls[0].program.name, "norm/norm_many.cu");
        EXPECT_EQ(conformance::check(*kernel_of(c), c), "") << rows;
      }
}

TEST(NormCuda, OnAGpuBlocksThatStayTakeMemoryOffAPack) {
  if (!cuda_here()) GTEST_SKIP() << "not checked: " << cuda_here().reason;
  const CudaGuard guard(0);
  const Case c = layer(DType::bf16, 50, 6152, one_multiprocessor(cuda_devices()[0].arch));
  const std::vector<Tensor> host = conformance::make_inputs(c);
  std::vector<Tensor> want;
  ASSERT_EQ(conformance::run_reference(c.problem, host, want), "");
  Tensor got = Tensor::empty(DType::bf16, {50, 6152});
  const size_t room = got.desc.bytes() + 256;
  CUdeviceptr memory = 0;
  cuda_check(cuda().cuMemAlloc(&memory, 4 * room), "test");
  std::vector<const void*> inputs;
  for (size_t i = 0; i <= host.size(); ++i) {
    const CUdeviceptr at = memory + i * room + 2;
    inputs.push_back(reinterpret_cast<const void*>(at));
    if (i < host.size()) cuda_check(cuda().cuMemcpyHtoDAsync(at, host[i].data, host[i].desc.bytes(), nullptr), "test");
  }
  void* output = const_cast<void*>(inputs.back());
  const std::unique_ptr<Launch> launch = kernel_of(c)->make(c.problem);
  launch->prepare(Effort::timed);
  launch->run({inputs.data(), &output, nullptr});
  cuda_check(cuda().cuMemcpyDtoHAsync(got.data, reinterpret_cast<CUdeviceptr>(output), got.desc.bytes(), nullptr),
             "test");
  cuda_check(cuda().cuStreamSynchronize(nullptr), "test");
  cuda().cuMemFree(memory);
  EXPECT_EQ(conformance::compare(got, want[0], conformance::tolerance(DType::bf16, 6152), 0), "");
}

TEST(NormCuda, WiderRowsAreReadTwice) { EXPECT_EQ(shape(DType::bf16, {8, 16385}), "512, 0 x 1, 512"); }

}  // namespace
}  // namespace kpt
