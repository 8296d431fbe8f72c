// SPDX-License-Identifier: Apache-2.0
#include "kpt/base/error.h"

namespace kpt {

std::string_view name(ErrorKind kind) {
  switch (kind) {
    case ErrorKind::bad_input: return "bad_input";
    case ErrorKind::unsupported: return "unsupported";
    case ErrorKind::resource: return "resource";
    case ErrorKind::device: return "device";
    case ErrorKind::internal: return "internal";
    case ErrorKind::no_driver: return "no_driver";
    case ErrorKind::library: return "library";
    case ErrorKind::capability: return "capability";
    case ErrorKind::architecture: return "architecture";
    case ErrorKind::compile: return "compile";
    case ErrorKind::launch: return "launch";
    case ErrorKind::fault: return "fault";
  }
  return "unknown";
}

void throw_error(ErrorKind kind, std::string_view where, const std::string& message) {
  throw Error(kind, cat("[", where, "] ", message));
}

}  // namespace kpt
