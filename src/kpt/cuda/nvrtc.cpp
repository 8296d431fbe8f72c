// SPDX-License-Identifier: Apache-2.0
#include "kpt/cuda/nvrtc.h"

#include <nvrtc.h>

#include <algorithm>

#include "kpt/base/counters.h"
#include "kpt/cuda/library.h"

namespace kpt {
namespace {

// Breaks lists of macros anew each time.
// clang-format off
#define KPT_NVRTC_FUNCTIONS(X)                                                                               \
  X(nvrtcVersion) X(nvrtcGetErrorString) X(nvrtcCreateProgram) X(nvrtcDestroyProgram) X(nvrtcCompileProgram) \
  X(nvrtcGetCUBINSize) X(nvrtcGetCUBIN) X(nvrtcGetProgramLogSize) X(nvrtcGetProgramLog)                      \
  X(nvrtcGetNumSupportedArchs) X(nvrtcGetSupportedArchs)
// clang-format on

struct Nvrtc {
#define KPT_DECLARE(name) decltype(&::name) name = nullptr;
  KPT_NVRTC_FUNCTIONS(KPT_DECLARE)
#undef KPT_DECLARE
  Verdict verdict;
  int version = 0;
  std::vector<int> archs;  // that it compiles for, ascending
};

Nvrtc open_nvrtc() {
  Nvrtc out;
  const OpenLibrary library = open_library({"libnvrtc.so.13", "libnvrtc.so.12", "libnvrtc.so"});
  out.verdict = library.verdict;
  if (!out.verdict) return out;
#define KPT_LOAD(name)                                                    \
  out.name = reinterpret_cast<decltype(out.name)>(library.symbol(#name)); \
  if (!out.name) {                                                        \
    out.verdict = no("NVRTC lacks ", #name, ", want CUDA 12 or newer");   \
    return out;                                                           \
  }
  KPT_NVRTC_FUNCTIONS(KPT_LOAD)
#undef KPT_LOAD
  int major = 0, minor = 0;
  out.nvrtcVersion(&major, &minor);
  out.version = major * 1000 + minor * 10;
  int count = 0;
  if (out.nvrtcGetNumSupportedArchs(&count) == NVRTC_SUCCESS && count > 0) {
    out.archs.resize(static_cast<size_t>(count));
    if (out.nvrtcGetSupportedArchs(out.archs.data()) != NVRTC_SUCCESS) out.archs.clear();
  }
  return out;
}

const Nvrtc& nvrtc() {
  static const Nvrtc value = open_nvrtc();
  return value;
}

void check_arch(const Nvrtc& n, int arch) {
  if (n.archs.empty() || std::find(n.archs.begin(), n.archs.end(), arch) != n.archs.end()) return;
  const char* attempt = arch > n.archs.back() ? "a newer NVRTC (package nvidia-cuda-nvrtc)" : "device cpu";
  throw_error(
      ErrorKind::architecture, "cuda.nvrtc",
      cat("got compute capability ", arch / 10, ".", arch % 10, ", want one that NVRTC ", n.version / 1000, ".",
          n.version % 1000 / 10, " compiles for (", n.archs.front(), " to ", n.archs.back(), "), try ", attempt));
}

}  // namespace

Verdict nvrtc_here() { return nvrtc().verdict; }
int nvrtc_version() { return nvrtc().version; }

std::string cuda_arch_name(int arch) { return cat("sm_", arch, arch >= 90 ? "a" : ""); }

CudaBinary nvrtc_compile(const std::string& name, const std::string& source, const std::vector<std::string>& defines,
                         int arch) {
  static SpanCounters compiles("cuda.nvrtc");
  const Span span(compiles);
  const Nvrtc& n = nvrtc();
  if (!n.verdict) throw_error(ErrorKind::library, "cuda.nvrtc", n.verdict.reason);
  check_arch(n, arch);
  nvrtcProgram program = nullptr;
  const auto check = [&](nvrtcResult result, const char* what) {
    if (result != NVRTC_SUCCESS)
      throw_error(ErrorKind::compile, "cuda.nvrtc", cat(what, " of ", name, ": ", n.nvrtcGetErrorString(result)));
  };
  check(n.nvrtcCreateProgram(&program, source.c_str(), name.c_str(), 0, nullptr, nullptr), "nvrtcCreateProgram");
  struct Destroy {
    const Nvrtc& n;
    nvrtcProgram* program;
    ~Destroy() { n.nvrtcDestroyProgram(program); }
  } destroy{n, &program};

  std::vector<std::string> options = {"--gpu-architecture=" + cuda_arch_name(arch), "--std=c++17", "--ptxas-options=-v",
                                      "-default-device"};
  for (const std::string& define : defines) options.push_back("-D" + define);
  std::vector<const char*> pointers;
  for (const std::string& option : options) pointers.push_back(option.c_str());
  const nvrtcResult result = n.nvrtcCompileProgram(program, static_cast<int>(pointers.size()), pointers.data());
  CudaBinary out;
  size_t bytes = 0;
  check(n.nvrtcGetProgramLogSize(program, &bytes), "nvrtcGetProgramLogSize");
  out.log.resize(bytes);
  check(n.nvrtcGetProgramLog(program, out.log.data()), "nvrtcGetProgramLog");
  while (!out.log.empty() && out.log.back() == '\0') out.log.pop_back();
  if (result != NVRTC_SUCCESS)
    throw_error(ErrorKind::compile, "cuda.nvrtc",
                cat("cannot compile ", name, " for ", cuda_arch_name(arch), ":\n", out.log));
  check(n.nvrtcGetCUBINSize(program, &bytes), "nvrtcGetCUBINSize");
  out.cubin.resize(bytes);
  check(n.nvrtcGetCUBIN(program, out.cubin.data()), "nvrtcGetCUBIN");
  return out;
}

}  // namespace kpt
