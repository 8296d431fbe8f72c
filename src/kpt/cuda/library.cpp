// SPDX-License-Identifier: Apache-2.0
#include "kpt/cuda/library.h"

#include <dlfcn.h>

#include "kpt/base/settings.h"

namespace kpt {

void* OpenLibrary::symbol(const char* name) const { return handle ? dlsym(handle, name) : nullptr; }

OpenLibrary open_library(const std::vector<std::string>& names) {
  std::string reason;
  const auto attempt = [&](const std::string& path, int flags) {
    void* handle = dlopen(path.c_str(), flags);
    if (!handle && !(flags & RTLD_NOLOAD)) {
      const char* why = dlerror();
      reason = why ? why : path;  // the last one: of the loader's own path
    }
    return handle;
  };
  for (const std::string& name : names)
    if (void* handle = attempt(name, RTLD_NOW | RTLD_NOLOAD)) return {handle, yes()};
  for (const std::string& folder : setting_list("cuda_path"))
    for (const std::string& name : names)
      if (void* handle = attempt(folder + "/" + name, RTLD_NOW | RTLD_GLOBAL)) return {handle, yes()};
  for (const std::string& name : names)
    if (void* handle = attempt(name, RTLD_NOW | RTLD_GLOBAL)) return {handle, yes()};
  return {nullptr, no("cannot open ", names.front(), ": ", reason)};
}

}  // namespace kpt
