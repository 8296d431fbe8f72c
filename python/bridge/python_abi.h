// SPDX-License-Identifier: Apache-2.0
#pragma once
#include <ATen/core/Tensor.h>

#include <cstdint>
#include <exception>
#include <utility>

struct _object;

namespace kpt::bridge {

// Python's C functions of its stable ABI, and those of torch that pybind's casts of tensors call, looked up by name in
// the running process: no headers of Python, and one library for all its versions. All but take_lock want the
// interpreter's lock held.
using PyObject = _object;

struct MethodDef {  // PyMethodDef
  const char* name;
  void* function;
  int flags;
  const char* doc;
};
constexpr int kOneArgument = 0x0008;  // METH_O: PyObject* (*)(PyObject* self, PyObject*)
constexpr int kFast = 0x0080;         // METH_FASTCALL: PyObject* (*)(PyObject* self, PyObject* const*, ptrdiff_t)

struct Symbols {
  // Python
  ptrdiff_t (*list_size)(PyObject*);
  PyObject* (*list_get)(PyObject*, ptrdiff_t);  // borrowed
  PyObject* (*list_new)(ptrdiff_t);
  int (*list_set)(PyObject*, ptrdiff_t, PyObject*);  // takes the reference
  PyObject* (*function_new)(MethodDef*, PyObject*, PyObject*);
  PyObject* (*capsule_new)(void*, const char*, void (*)(PyObject*));
  void* (*capsule_get)(PyObject*, const char*);
  ptrdiff_t (*tuple_size)(PyObject*);
  PyObject* (*tuple_get)(PyObject*, ptrdiff_t);  // borrowed
  PyObject* (*tuple_pack)(ptrdiff_t, ...);
  ptrdiff_t (*dict_size)(PyObject*);
  int (*dict_next)(PyObject*, ptrdiff_t*, PyObject**, PyObject**);  // borrowed
  ptrdiff_t (*as_size)(PyObject*);                                  // -1 with an error set where it is no such number
  uint64_t (*as_u64)(PyObject*);                                    // all ones likewise
  PyObject* (*error)();                                             // borrowed; null: none is set
  PyObject* (*call)(PyObject*, PyObject*);
  void* (*release_lock)();
  void (*take_lock)(void*);
  void (*add_reference)(PyObject*);
  void (*drop_reference)(PyObject*);
  PyObject* none;
  // torch: pybind's caster of tensors (its one member is the tensor), and the errors of its bindings
  bool (*load)(at::Tensor*, PyObject*, bool);
  PyObject* (*wrap)(const at::TensorBase&);
  bool (*translate)(const std::exception_ptr&);
  bool complete = true;  // all were found

  Symbols();

 private:
  template <class T>
  void find(T*& symbol, void* library, const char* name);
};

const Symbols& symbols();

// Without the interpreter's lock for as long as it lives.
struct Unlocked {
  void* thread = symbols().release_lock();
  ~Unlocked() { symbols().take_lock(thread); }
};

// Drops a reference unless it is handed on.
struct Owned {
  PyObject* object;
  ~Owned() {
    if (object) symbols().drop_reference(object);
  }
  PyObject* hand_on() { return std::exchange(object, nullptr); }
};

// None, with a reference of its own.
inline PyObject* none() {
  symbols().add_reference(symbols().none);
  return symbols().none;
}

}  // namespace kpt::bridge
