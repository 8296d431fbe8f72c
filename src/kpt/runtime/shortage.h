// SPDX-License-Identifier: Apache-2.0
#pragma once
#include <cstdint>

#include "kpt/backends/backend.h"

namespace kpt {

// Executors that live in this process. What they hold idle (arenas, recordings) is the first to go where memory is
// short, whichever model asks. Thread-safe.
class Holder {
 public:
  Holder() = default;
  virtual ~Holder() = default;
  Holder(const Holder&) = delete;
  Holder& operator=(const Holder&) = delete;
  virtual int64_t trim() = 0;  // frees what no call uses now; the bytes it held

 protected:
  void join();   // called last by the constructor of a final class: from then on trim() may be called by any thread
  void leave();  // called first by its destructor: from then on it is not
};

// trim() of every holder; the bytes that were given back.
KPT_API int64_t trim_idle();

namespace shortage {
int64_t first(const Device& device, int64_t bytes, const char* what, const Error& error);  // frees; how many bytes
[[noreturn]] void second(const Device& device, int64_t bytes, const char* what, int64_t freed, const Error& error);
}  // namespace shortage

// Runs `take`. Where it throws Error{resource}: frees what is idle and runs it once more; a second shortage is thrown
// with what was asked for, what was freed and what the device has. `bytes`: what is asked for, 0 if not known.
template <class F>
void with_room(const Device& device, int64_t bytes, const char* what, F&& take) {
  int64_t freed = 0;
  try {
    take();
    return;
  } catch (const Error& e) {
    if (e.kind() != ErrorKind::resource) throw;
    freed = shortage::first(device, bytes, what, e);
  }
  try {
    take();
  } catch (const Error& e) {
    if (e.kind() != ErrorKind::resource) throw;
    shortage::second(device, bytes, what, freed, e);
  }
}

}  // namespace kpt
