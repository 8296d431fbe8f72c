// SPDX-License-Identifier: Apache-2.0
#pragma once
#include <cstring>

#include "kpt/cuda/function.h"
#include "kpt/kernels/kernel.h"

namespace kpt {

// A matrix that the copy engine moves in boxes (CUtensorMap, sm_90 on), swizzled in shared memory by 128 bytes. Columns
// are contiguous, row_step (elements) is a multiple of 16 bytes, a row of a box is 128 bytes. Its address must be a
// multiple of 16.
struct CudaMatrix {
  DType dtype = DType::bf16;  // of 16 bits
  int64_t rows = 0, columns = 0, row_step = 0;
  int box_rows = 0, box_columns = 0;
};

// One argument of a CUDA kernel, in the order of its parameters.
struct CudaParam {
  enum class Kind : uint8_t { input, output, workspace, value, input_matrix, output_matrix };
  Kind kind = Kind::value;
  int index = 0;            // input, output: position in Problem::inputs / outputs
  int64_t offset = 0;       // bytes behind the operand's or the workspace's start
  std::vector<char> bytes;  // value: as the kernel's parameter lies in memory
  CudaMatrix matrix{};
};
inline CudaParam in_param(int index, int64_t offset = 0) { return {CudaParam::Kind::input, index, offset, {}, {}}; }
inline CudaParam out_param(int index, int64_t offset = 0) { return {CudaParam::Kind::output, index, offset, {}, {}}; }
inline CudaParam work_param(int64_t offset = 0) { return {CudaParam::Kind::workspace, 0, offset, {}, {}}; }
inline CudaParam in_matrix_param(int index, const CudaMatrix& m) {
  return {CudaParam::Kind::input_matrix, index, 0, {}, m};
}
inline CudaParam out_matrix_param(int index, const CudaMatrix& m) {
  return {CudaParam::Kind::output_matrix, index, 0, {}, m};
}
// A number or a plain struct, by value; types must match the kernel's parameter exactly (int64_t for long long).
template <class T>
CudaParam value_param(const T& value) {
  static_assert(std::is_trivially_copyable_v<T>);
  CudaParam p;
  p.bytes.resize(sizeof(T));
  std::memcpy(p.bytes.data(), &value, sizeof(T));
  return p;
}
inline CudaParam null_param() { return value_param<const void*>(nullptr); }  // an absent operand

// One kernel launch: what to compile, how to launch it, with what.
struct CudaCall {
  CudaProgram program;
  CudaShape shape;
  std::vector<CudaParam> params;
};

// What a kernel of ours does for one problem: a pure value, made without a GPU. Empty calls: nothing to do (size 0).
struct CudaWork {
  std::vector<CudaCall> calls;  // in order, on one stream
  size_t workspace_bytes = 0;
  std::string config;  // for reports: "rows 4 x 128 threads, 16 bytes a load"
};

// The text of src/kpt/kernels/<path> ("norm/norm.cu"), its #include "kpt/kernels/..." lines replaced by those files,
// each once. Embedded at build time. Throws Error{internal} for an unknown path.
std::string cuda_text(const std::string& path);
// All embedded *.cu files, for the test that compiles every one.
std::vector<std::string> cuda_files();

using CudaPlanner = std::function<CudaWork(const Problem&)>;

// Registers a kernel of ours for device "cuda" under provider kpt, name "<folder>_cuda". The planner is pure: the CI
// test runs it without a GPU and compiles its programs for each architecture.
void add_cuda(KernelRegistry& registry, const std::string& op, const std::string& folder,
              std::function<Verdict(const Problem&)> supports, CudaPlanner plan, int priority = 0);

// A launch of that work on the current device.
std::unique_ptr<Launch> make_cuda_launch(CudaWork work);

// Compiles every program of the work for `arch` without a GPU; "" or what is wrong: the compiler's words, spills to
// local memory, a serialised WGMMA.
std::string check_cuda_work(const CudaWork& work, int arch);

// "__nv_bfloat16"-free names of element types in our device code: "f32", "bf16", "f16", "f64", "i64", "i32", "i16",
// "i8", "u8", "boolean": typedefs of lib/cuda/types.cuh.
std::string cuda_type(DType dtype);

}  // namespace kpt
