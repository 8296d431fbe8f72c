// SPDX-License-Identifier: Apache-2.0
#include "kpt/cuda/function.h"

#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <filesystem>
#include <fstream>
#include <future>
#include <mutex>
#include <sstream>
#include <unordered_map>

#include "kpt/base/counters.h"
#include "kpt/base/log.h"
#include "kpt/base/sha256.h"
#include "kpt/cuda/cache.h"
#include "kpt/cuda/nvrtc.h"

namespace kpt {
namespace {

namespace fs = std::filesystem;

std::string digest(const std::string& bytes) {
  Sha256 hash;
  hash.add(bytes.data(), bytes.size());
  return hash.hex();
}

std::string key_of(const CudaProgram& program, int arch) {
  Sha256 hash;
  hash.add_field(program.text);
  for (const std::string& define : program.defines) hash.add_field(define);
  hash.add_field(cuda_arch_name(arch));
  hash.add_number(static_cast<uint64_t>(nvrtc_version()));
  return hash.hex();
}

// A file is 64 digits of checksum, then the machine code. "" where there is none or it is damaged.
std::string read_cached(const fs::path& file) {
  std::ifstream in(file, std::ios::binary);
  if (!in) return "";
  std::stringstream all;
  all << in.rdbuf();
  const std::string text = all.str();
  if (text.size() > 64 && digest(text.substr(64)) == text.substr(0, 64)) return text.substr(64);
  log(LogLevel::warn, "cuda.cache", "event=cache_damaged file=\"", file.string(), '"');
  return "";
}

void write_cached(const fs::path& file, const std::string& cubin) {
  std::error_code failed;
  fs::create_directories(file.parent_path(), failed);
  const fs::path draft = file.string() + cat(".", getpid(), ".new");
  {
    std::ofstream out(draft, std::ios::binary);
    out << digest(cubin) << cubin;
    out.flush();
    if (!out) {
      log(LogLevel::info, "cuda.cache", "event=cache_not_written file=\"", draft.string(), '"');
      fs::remove(draft, failed);
      return;
    }
  }
  fs::rename(draft, file, failed);
}

fs::path file_of(const CudaProgram& program, int arch) {
  const fs::path folder = cuda_cache_folder("cubin");
  return folder.empty() ? fs::path() : folder / (key_of(program, arch) + ".cubin");
}

std::string machine_code(const CudaProgram& program, int arch) {
  const fs::path file = file_of(program, arch);
  if (!file.empty())
    if (std::string cubin = read_cached(file); !cubin.empty()) return cubin;
  std::string cubin = nvrtc_compile(program.name, program.text, program.defines, arch).cubin;
  if (!file.empty()) write_cached(file, cubin);
  return cubin;
}

CudaFunction load(const std::string& cubin, const CudaProgram& program) {
  static Counter& loads = counter("cuda.cubin_loads");
  loads.add();
  const CudaDriver& d = cuda();
  CUmodule module = nullptr;
  cuda_check(d.cuModuleLoadData(&module, cubin.data()), cat("cuda.load ", program.name));
  CudaFunction out;
  cuda_check(d.cuModuleGetFunction(&out.handle, module, program.entry.c_str()),
             cat("cuda.load ", program.name, " ", program.entry));
  cuda_check(d.cuFuncGetAttribute(&out.registers, CU_FUNC_ATTRIBUTE_NUM_REGS, out.handle), "cuda.load");
  cuda_check(d.cuFuncGetAttribute(&out.local_bytes, CU_FUNC_ATTRIBUTE_LOCAL_SIZE_BYTES, out.handle), "cuda.load");
  cuda_check(d.cuFuncGetAttribute(&out.shared_bytes, CU_FUNC_ATTRIBUTE_SHARED_SIZE_BYTES, out.handle), "cuda.load");
  const int room =
      cuda_devices()[static_cast<size_t>(current_cuda_device())].shared_bytes > 0
          ? static_cast<int>(cuda_devices()[static_cast<size_t>(current_cuda_device())].shared_bytes) - out.shared_bytes
          : 0;
  cuda_check(d.cuFuncSetAttribute(out.handle, CU_FUNC_ATTRIBUTE_MAX_DYNAMIC_SHARED_SIZE_BYTES, room),
             cat("cuda.load ", program.name));
  // Else the first launch would load it, milliseconds into somebody's call.
  if (d.cuFuncLoad) cuda_check(d.cuFuncLoad(out.handle), cat("cuda.load ", program.name));
  return out;
}

// One program on one device. Found by a cheap hash and told apart by the whole text: a new shape of a model asks for
// hundreds of functions, and SHA-256 of each text would cost more than all the rest.
struct Entry {
  int device;
  CudaProgram program;
  std::once_flag once;
  CudaFunction function;
  std::atomic<bool> ready{false};
  Entry(int on, const CudaProgram& of) : device(on), program(of) {}
  bool is(int on, const CudaProgram& of) const {
    return device == on && program.entry == of.entry && program.defines == of.defines && program.text == of.text;
  }
};

Entry& entry_of(const CudaProgram& program, int device) {
  static std::mutex mutex;
  static std::unordered_multimap<size_t, std::unique_ptr<Entry>> entries;
  const std::hash<std::string> hash;
  size_t key = hash(program.text) * 31 + hash(program.entry) + static_cast<size_t>(device);
  for (const std::string& define : program.defines) key = key * 31 + hash(define);
  const std::lock_guard<std::mutex> lock(mutex);
  const auto [first, last] = entries.equal_range(key);
  for (auto it = first; it != last; ++it)
    if (it->second->is(device, program)) return *it->second;
  return *entries.emplace(key, std::make_unique<Entry>(device, program))->second;
}

}  // namespace

const CudaFunction& cuda_function(const CudaProgram& program, int device) {
  Entry& entry = entry_of(program, device);
  std::call_once(entry.once, [&] {
    const std::string cubin = machine_code(program, cuda_devices().at(static_cast<size_t>(device)).arch);
    const CudaGuard guard(device);
    entry.function = load(cubin, program);
    entry.ready = true;
  });
  return entry.function;
}

void cuda_functions(const std::vector<CudaProgram>& programs, int device) {
  std::vector<Entry*> entries;
  for (const CudaProgram& program : programs) {
    Entry& entry = entry_of(program, device);
    if (!entry.ready && std::find(entries.begin(), entries.end(), &entry) == entries.end()) entries.push_back(&entry);
  }
  std::vector<std::future<void>> others;
  for (size_t i = 1; i < entries.size(); ++i)
    others.push_back(std::async(std::launch::async, [&, i] { cuda_function(entries[i]->program, device); }));
  if (!entries.empty()) cuda_function(entries[0]->program, device);
  for (std::future<void>& other : others) other.get();
}

bool cuda_function_compiled(const CudaProgram& program, int device) {
  if (entry_of(program, device).ready) return true;
  const fs::path file = file_of(program, cuda_devices().at(static_cast<size_t>(device)).arch);
  std::error_code failed;
  return !file.empty() && fs::exists(file, failed);
}

void cuda_launch(const CudaFunction& function, const CudaShape& shape, void** params, CUstream stream,
                 std::string_view where) {
  CUlaunchConfig config{};
  config.gridDimX = shape.grid[0];
  config.gridDimY = shape.grid[1];
  config.gridDimZ = shape.grid[2];
  config.blockDimX = shape.block[0];
  config.blockDimY = shape.block[1];
  config.blockDimZ = shape.block[2];
  config.sharedMemBytes = shape.shared_bytes;
  config.hStream = stream;
  CUlaunchAttribute attributes[2] = {};
  config.attrs = attributes;
  if (shape.overlap) {
    CUlaunchAttribute& attribute = attributes[config.numAttrs++];
    attribute.id = CU_LAUNCH_ATTRIBUTE_PROGRAMMATIC_STREAM_SERIALIZATION;
    attribute.value.programmaticStreamSerializationAllowed = 1;
  }
  if (shape.cluster > 1) {
    CUlaunchAttribute& attribute = attributes[config.numAttrs++];
    attribute.id = CU_LAUNCH_ATTRIBUTE_CLUSTER_DIMENSION;
    attribute.value.clusterDim = {shape.cluster, 1, 1};
  }
  cuda_check(cuda().cuLaunchKernelEx(&config, function.handle, params, nullptr), where, ErrorKind::launch);
}

}  // namespace kpt
