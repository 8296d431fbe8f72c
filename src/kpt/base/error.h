// SPDX-License-Identifier: Apache-2.0
#pragma once
#include <sstream>
#include <stdexcept>
#include <string>
#include <string_view>
#include <utility>

#define KPT_API __attribute__((visibility("default")))

namespace kpt {

// Joins its arguments into one string by operator<<. Used for every message: std::format needs GCC 13.
template <class... Args>
std::string cat(const Args&... args) {
  std::ostringstream os;
  (os << ... << args);
  return os.str();
}

// What kind of fault an Error reports; Python maps each to a subclass of KernelPyTorchError.
enum class ErrorKind {
  bad_input,
  unsupported,
  resource,  // memory, disk
  device,    // a device that is not there, or a call of its driver that failed
  internal,
  no_driver,     // none on this machine, or one too old
  library,       // a library of the vendor is missing or too old
  capability,    // the GPU is older than what the kernels are written for
  architecture,  // the GPU is newer than the compiler in hand
  compile,       // a kernel's source was refused by the compiler
  launch,        // a kernel was refused by the driver; nothing ran
  fault,         // a kernel failed while it ran: the device's context is lost
};

KPT_API std::string_view name(ErrorKind kind);

// The one exception of the core. Thrown only when the call cannot go on; "not here" is a Verdict.
// Message: "[where] got X, want Y, try Z".
class KPT_API Error : public std::runtime_error {
 public:
  Error(ErrorKind kind, const std::string& message) : std::runtime_error(message), kind_(kind) {}
  ErrorKind kind() const { return kind_; }

 private:
  ErrorKind kind_;
};

// The answer to "can you?". A `no` always carries its reason, so that fallback, partition and explain can show why.
struct Verdict {
  bool ok = true;
  std::string reason;
  explicit operator bool() const { return ok; }
};

inline Verdict yes() { return {}; }

template <class... Args>
Verdict no(const Args&... args) {
  return {false, cat(args...)};
}

[[noreturn]] KPT_API void throw_error(ErrorKind kind, std::string_view where, const std::string& message);

}  // namespace kpt

// A fault of the caller: always on. KPT_CHECK(cond, "ir.parse", "got ", x, ", want ...").
#define KPT_CHECK(cond, where, ...)                                                               \
  do {                                                                                            \
    if (!(cond)) ::kpt::throw_error(::kpt::ErrorKind::bad_input, where, ::kpt::cat(__VA_ARGS__)); \
  } while (0)

// A fault of ours. On in every build: the checks stand outside hot loops.
#define KPT_ASSERT(cond, where, ...)                                                                                  \
  do {                                                                                                                \
    if (!(cond))                                                                                                      \
      ::kpt::throw_error(::kpt::ErrorKind::internal, where, ::kpt::cat("assertion " #cond " failed: ", __VA_ARGS__)); \
  } while (0)
