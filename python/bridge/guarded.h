// SPDX-License-Identifier: Apache-2.0
#pragma once
#include <new>
#include <stdexcept>
#include <string>

#include "kpt/base/error.h"

namespace kpt::bridge {

// f(), with errors of the core as RuntimeErrors "KPT:<kind>: <message>", which _native.py turns into the package's own.
template <class F>
auto guarded(F&& f) -> decltype(f()) {
  try {
    return f();
  } catch (const Error& e) {
    throw std::runtime_error(cat("KPT:", name(e.kind()), ": ", e.what()));
  } catch (const std::bad_alloc&) {
    throw std::runtime_error(cat("KPT:", name(ErrorKind::resource), ": [bridge] out of memory"));
  }
}

}  // namespace kpt::bridge
