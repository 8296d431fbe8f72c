// SPDX-License-Identifier: Apache-2.0
// Python's C functions are of its stable ABI, torch's are those that pybind's casts of tensors call. All are looked up
// by name in the running process: no headers of Python, and one library for all its versions.
#include "direct.h"

#include <dlfcn.h>

#include <exception>

#include "guarded.h"
#include "model.h"

namespace kpt::bridge {
namespace {

using PyObject = _object;
using PyFunction = PyObject* (*)(PyObject*, PyObject*);

// PyMethodDef of the stable ABI.
struct MethodDef {
  const char* name;
  PyFunction function;
  int flags;
  const char* doc;
};
constexpr int kOneArgument = 0x0008;  // METH_O

struct Symbols {
  // Python
  ptrdiff_t (*list_size)(PyObject*);
  PyObject* (*list_get)(PyObject*, ptrdiff_t);  // borrowed
  PyObject* (*list_new)(ptrdiff_t);
  int (*list_set)(PyObject*, ptrdiff_t, PyObject*);  // takes the reference
  PyObject* (*function_new)(MethodDef*, PyObject*, PyObject*);
  PyObject* (*capsule_new)(void*, const char*, void (*)(PyObject*));
  void* (*capsule_get)(PyObject*, const char*);
  void* (*release_lock)();
  void (*take_lock)(void*);
  void (*add_reference)(PyObject*);
  void (*drop_reference)(PyObject*);
  PyObject* none;
  // torch: pybind's caster of tensors (its one member is the tensor), and the errors of its bindings
  bool (*load)(at::Tensor*, PyObject*, bool);
  PyObject* (*wrap)(const at::TensorBase&);
  bool (*translate)(const std::exception_ptr&);
  bool complete = true;

  Symbols() {
    void* const torch = dlopen("libtorch_python.so", RTLD_LAZY | RTLD_NOLOAD);
    find(list_size, RTLD_DEFAULT, "PyList_Size");
    find(list_get, RTLD_DEFAULT, "PyList_GetItem");
    find(list_new, RTLD_DEFAULT, "PyList_New");
    find(list_set, RTLD_DEFAULT, "PyList_SetItem");
    find(function_new, RTLD_DEFAULT, "PyCFunction_NewEx");
    find(capsule_new, RTLD_DEFAULT, "PyCapsule_New");
    find(capsule_get, RTLD_DEFAULT, "PyCapsule_GetPointer");
    find(release_lock, RTLD_DEFAULT, "PyEval_SaveThread");
    find(take_lock, RTLD_DEFAULT, "PyEval_RestoreThread");
    find(add_reference, RTLD_DEFAULT, "Py_IncRef");
    find(drop_reference, RTLD_DEFAULT, "Py_DecRef");
    find(none, RTLD_DEFAULT, "_Py_NoneStruct");
    find(load, torch, "_ZN8pybind116detail11type_casterIN2at6TensorEvE4loadENS_6handleEb");
    find(wrap, torch, "_Z16THPVariable_WrapRKN2at10TensorBaseE");
    find(translate, torch, "_ZN5torch29translate_exception_to_pythonERKNSt15__exception_ptr13exception_ptrE");
  }

 private:
  template <class T>
  void find(T*& symbol, void* library, const char* name) {
    symbol = library || library == RTLD_DEFAULT ? reinterpret_cast<T*>(dlsym(library, name)) : nullptr;
    complete = complete && symbol;
  }
};

const Symbols& symbols() {
  static const Symbols found;
  return found;
}

constexpr const char* kCapsule = "kernel_pytorch.Model";
using ModelPtr = c10::intrusive_ptr<TorchModel>;

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

// Null with Python's error set where `list` is no list.
PyObject* run(PyObject* capsule, PyObject* list) {
  const Symbols& py = symbols();
  auto* const model = static_cast<TorchModel*>(py.capsule_get(capsule, kCapsule));
  const ptrdiff_t count = model ? py.list_size(list) : -1;
  if (count < 0) return nullptr;
  std::vector<at::Tensor> tensors(static_cast<size_t>(count));
  for (ptrdiff_t i = 0; i < count; ++i)
    if (!py.load(&tensors[static_cast<size_t>(i)], py.list_get(list, i), false))
      guarded([&] { throw_error(ErrorKind::bad_input, "bridge", cat("input ", i, " is no tensor")); });
  {
    const Unlocked unlocked;
    tensors = guarded([&] { return model->run(std::move(tensors)); });
  }
  Owned out{py.list_new(static_cast<ptrdiff_t>(tensors.size()))};
  for (size_t i = 0; out.object && i < tensors.size(); ++i) {
    PyObject* const wrapped = py.wrap(tensors[i]);
    if (!wrapped) return nullptr;
    py.list_set(out.object, static_cast<ptrdiff_t>(i), wrapped);
  }
  return out.hand_on();
}

PyObject* run_or_raise(PyObject* capsule, PyObject* list) {
  try {
    return run(capsule, list);
  } catch (...) {  // nothing is swallowed: torch's own translation makes a Python error of whatever it is
    symbols().translate(std::current_exception());
    return nullptr;
  }
}

void let_go(PyObject* capsule) {
  ModelPtr::reclaim(static_cast<TorchModel*>(symbols().capsule_get(capsule, kCapsule)));
}

bool reads(PyObject* probe, int64_t address) {
  at::Tensor tensor;
  if (!symbols().load(&tensor, probe, false) || reinterpret_cast<int64_t>(tensor.unsafeGetTensorImpl()) != address)
    return false;
  const Owned again{symbols().wrap(tensor)};
  return again.object == probe;
}

}  // namespace
}  // namespace kpt::bridge

_object* kpt_direct_run(int64_t model, _object* probe, int64_t probe_address) {
  using namespace kpt::bridge;
  static MethodDef method{"run", run_or_raise, kOneArgument, "Outputs for a list of inputs, both in graph order."};
  const Symbols& py = symbols();
  if (!py.complete || !reads(probe, probe_address)) {
    if (py.none && py.add_reference) py.add_reference(py.none);
    return py.none;
  }
  Owned capsule{
      py.capsule_new(ModelPtr::reclaim_copy(reinterpret_cast<TorchModel*>(model)).release(), kCapsule, let_go)};
  return capsule.object ? py.function_new(&method, capsule.object, nullptr) : nullptr;
}
