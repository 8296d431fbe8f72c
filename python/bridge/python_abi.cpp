// SPDX-License-Identifier: Apache-2.0
#include "python_abi.h"

#include <dlfcn.h>

namespace kpt::bridge {

template <class T>
void Symbols::find(T*& symbol, void* library, const char* name) {
  symbol = library || library == RTLD_DEFAULT ? reinterpret_cast<T*>(dlsym(library, name)) : nullptr;
  complete = complete && symbol;
}

Symbols::Symbols() {
  void* const torch = dlopen("libtorch_python.so", RTLD_LAZY | RTLD_NOLOAD);
  find(list_size, RTLD_DEFAULT, "PyList_Size");
  find(list_get, RTLD_DEFAULT, "PyList_GetItem");
  find(list_new, RTLD_DEFAULT, "PyList_New");
  find(list_set, RTLD_DEFAULT, "PyList_SetItem");
  find(function_new, RTLD_DEFAULT, "PyCFunction_NewEx");
  find(capsule_new, RTLD_DEFAULT, "PyCapsule_New");
  find(capsule_get, RTLD_DEFAULT, "PyCapsule_GetPointer");
  find(tuple_size, RTLD_DEFAULT, "PyTuple_Size");
  find(tuple_get, RTLD_DEFAULT, "PyTuple_GetItem");
  find(tuple_pack, RTLD_DEFAULT, "PyTuple_Pack");
  find(dict_size, RTLD_DEFAULT, "PyDict_Size");
  find(dict_next, RTLD_DEFAULT, "PyDict_Next");
  find(as_size, RTLD_DEFAULT, "PyLong_AsSsize_t");
  find(as_u64, RTLD_DEFAULT, "PyLong_AsUnsignedLongLong");
  find(error, RTLD_DEFAULT, "PyErr_Occurred");
  find(call, RTLD_DEFAULT, "PyObject_CallObject");
  find(release_lock, RTLD_DEFAULT, "PyEval_SaveThread");
  find(take_lock, RTLD_DEFAULT, "PyEval_RestoreThread");
  find(add_reference, RTLD_DEFAULT, "Py_IncRef");
  find(drop_reference, RTLD_DEFAULT, "Py_DecRef");
  find(none, RTLD_DEFAULT, "_Py_NoneStruct");
  find(load, torch, "_ZN8pybind116detail11type_casterIN2at6TensorEvE4loadENS_6handleEb");
  find(wrap, torch, "_Z16THPVariable_WrapRKN2at10TensorBaseE");
  find(translate, torch, "_ZN5torch29translate_exception_to_pythonERKNSt15__exception_ptr13exception_ptrE");
}

const Symbols& symbols() {
  static const Symbols found;
  return found;
}

}  // namespace kpt::bridge
