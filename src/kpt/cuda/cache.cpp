// SPDX-License-Identifier: Apache-2.0
#include "kpt/cuda/cache.h"

#include <cstdlib>

#include "kpt/base/settings.h"

namespace kpt {

std::filesystem::path cuda_cache_folder(std::string_view kind) {
  namespace fs = std::filesystem;
  const std::string folder = setting_text("cache_dir");
  if (!folder.empty()) return fs::path(folder) / kind;
  const char* xdg = std::getenv("XDG_CACHE_HOME");
  const char* home = std::getenv("HOME");
  if (xdg && *xdg) return fs::path(xdg) / "kernel_pytorch" / kind;
  if (home && *home) return fs::path(home) / ".cache" / "kernel_pytorch" / kind;
  return {};
}

}  // namespace kpt
