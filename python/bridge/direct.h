// SPDX-License-Identifier: Apache-2.0
#pragma once
#include <cstdint>

struct _object;  // Python's PyObject

// Calls of a model as built-in functions of Python. The way through TorchScript's class methods takes longer: a call of
// a two-layer model 4.4 us instead of 1.4 (an EPYC, torch 2.11).
//
// A tuple of four functions that share the model, which they keep alive:
//   run(tensors)           list of tensors in, list out, both in graph order: Model.run.
//   call(args, kwargs)     the tuple and the dictionary of a call: its outputs, or None where the call goes another
//   way:
//                          its form was not taught or is not matched, an input wants a gradient, torch.jit traces, a
//                          watched dictionary has changed since seen(), or a line of the core's log waits.
//   teach(form)            (count of positional arguments, tuple of keyword names in the call's order, tuple of the
//                          places of the graph's inputs, tuple of (place, object)): places count positional arguments,
//                          then keywords. Matched where names and objects are the same objects. Eight are kept.
//   seen(changes)          kpt_dict_changes when the caller last looked. Until it was said, call() returns None.
// Errors are torch's translations; ValueError-like ones of teach and seen are RuntimeErrors "KPT:bad_input: ...". After
// a call during which lines of log were written, `hand_on()` is called.
//
// `model`: Model.address(). `probe`: any tensor, `probe_address` its `_cdata`: they prove that this Python and this
// torch are read rightly. None where a symbol is missing or the proof fails: use Model.run. Called with the
// interpreter's lock held (ctypes.PyDLL), which guards all of it.
extern "C" __attribute__((visibility("default"))) _object* kpt_direct_calls(int64_t model, _object* probe,
                                                                            int64_t probe_address, _object* hand_on);
