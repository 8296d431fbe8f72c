// SPDX-License-Identifier: Apache-2.0
#pragma once
#include <string>
#include <vector>

#include "kpt/base/error.h"

namespace kpt {

// A shared library opened at run time and never closed.
struct OpenLibrary {
  void* handle = nullptr;
  Verdict verdict = no("not opened");
  void* symbol(const char* name) const;  // null where it lacks it
};

// Tries, in this order: a library of one of these names that the process has loaded already (torch's own, so that there
// is one copy of its state), the folders of the setting cuda_path, the loader's path. `names`: "libcublasLt.so.13", ...
KPT_API OpenLibrary open_library(const std::vector<std::string>& names);

}  // namespace kpt
