// SPDX-License-Identifier: Apache-2.0
#pragma once
#include <filesystem>
#include <string_view>

#include "kpt/base/error.h"

namespace kpt {

// The folder for what this machine's GPU work keeps between processes ("cubin", "gemm"): below the setting cache_dir,
// else $XDG_CACHE_HOME/kernel_pytorch, else ~/.cache/kernel_pytorch. Empty where there is no home: nothing is kept.
KPT_API std::filesystem::path cuda_cache_folder(std::string_view kind);

}  // namespace kpt
