// SPDX-License-Identifier: Apache-2.0
#pragma once
#include <string>
#include <vector>

#include "kpt/base/error.h"

namespace kpt {

// Opens NVRTC once (torch's own pip package, a toolkit, the loader's path). Needs no GPU: CI compiles every kernel for
// architectures that are not there.
KPT_API Verdict nvrtc_here();
KPT_API int nvrtc_version();  // 13000 for 13.0; 0 where it is not here

struct CudaBinary {
  std::string cubin;
  std::string log;  // ptxas' report: registers, shared memory, spills, serialised WGMMA
};

// "sm_90a" for 90, "sm_100a" for 100, "sm_80" for 80: the variant with that chip's own instructions where there is one.
KPT_API std::string cuda_arch_name(int arch);

// Compiles CUDA C++ to machine code. `name` shows in messages. `defines`: "WIDTH=64". No host headers are found:
// sources carry all they need. Thread-safe. Throws Error{internal} with the compiler's log, Error{device} without
// NVRTC.
KPT_API CudaBinary nvrtc_compile(const std::string& name, const std::string& source,
                                 const std::vector<std::string>& defines, int arch);

}  // namespace kpt
