// SPDX-License-Identifier: Apache-2.0
#include "direct.h"

#include <algorithm>
#include <exception>

#include "guarded.h"
#include "log.h"
#include "model.h"
#include "python_abi.h"
#include "watch.h"

namespace torch::jit::tracer {
struct TracingState;
// Of torch/csrc/jit/frontend/tracer.h, which brings TorchScript's graphs with it.
TORCH_API const std::shared_ptr<TracingState>& getTracingState();
}  // namespace torch::jit::tracer

namespace kpt::bridge {
namespace {

constexpr const char* kCapsule = "kernel_pytorch.Calls";
constexpr size_t kForms = 8, kMostArguments = 64;

// A call's structure, and where the graph's inputs stand in it. Places count positional arguments, then keywords.
struct Form {
  size_t positional = 0;
  std::vector<PyObject*> names;  // owned
  std::vector<size_t> inputs;
  std::vector<std::pair<size_t, PyObject*>> constants;  // owned

  Form() = default;
  Form(Form&&) = default;  // leaves nothing to drop
  ~Form() {
    for (PyObject* name : names) symbols().drop_reference(name);
    for (const auto& [place, object] : constants) symbols().drop_reference(object);
  }
  size_t size() const { return positional + names.size(); }
};

struct Calls {
  c10::intrusive_ptr<TorchModel> model;
  Owned hand_on;
  std::vector<Form> forms;  // never moves: taking a tensor may let another thread teach
  uint64_t seen = UINT64_MAX;
};

Calls* calls_of(PyObject* capsule) { return static_cast<Calls*>(symbols().capsule_get(capsule, kCapsule)); }

// Null with Python's error set where that is what failed.
PyObject* run(TorchModel& model, std::vector<at::Tensor> tensors) {
  const Symbols& py = symbols();
  {
    const Unlocked unlocked;
    tensors = guarded([&] { return model.run(std::move(tensors)); });
  }
  Owned out{py.list_new(static_cast<ptrdiff_t>(tensors.size()))};
  for (size_t i = 0; out.object && i < tensors.size(); ++i) {
    PyObject* const wrapped = py.wrap(tensors[i]);
    if (!wrapped) return nullptr;
    py.list_set(out.object, static_cast<ptrdiff_t>(i), wrapped);
  }
  return out.hand_on();
}

PyObject* run_list(Calls& calls, PyObject* list) {
  const Symbols& py = symbols();
  const ptrdiff_t count = py.list_size(list);
  if (count < 0) return nullptr;
  std::vector<at::Tensor> tensors(static_cast<size_t>(count));
  for (ptrdiff_t i = 0; i < count; ++i)
    if (!py.load(&tensors[static_cast<size_t>(i)], py.list_get(list, i), false))
      guarded([&] { throw_error(ErrorKind::bad_input, "bridge", cat("input ", i, " is no tensor")); });
  return run(*calls.model, std::move(tensors));
}

// The arguments of a call, in order: positional ones, then keywords. Borrowed.
struct Arguments {
  size_t positional = 0, count = 0;
  PyObject* values[kMostArguments];
  PyObject* names[kMostArguments];

  // False where there are too many, or these are no tuple and dictionary (with Python's error set).
  bool read(PyObject* args, PyObject* kwargs) {
    const Symbols& py = symbols();
    const ptrdiff_t first = py.tuple_size(args), rest = first < 0 ? -1 : py.dict_size(kwargs);
    if (rest < 0 || static_cast<size_t>(first + rest) > kMostArguments) return false;
    positional = static_cast<size_t>(first);
    for (; count < positional; ++count) values[count] = py.tuple_get(args, static_cast<ptrdiff_t>(count));
    ptrdiff_t at = 0;
    while (py.dict_next(kwargs, &at, &names[count], &values[count])) ++count;
    return true;
  }
  bool is(const Form& form) const {
    return form.positional == positional && form.size() == count &&
           std::equal(form.names.begin(), form.names.end(), names + positional) &&
           std::all_of(form.constants.begin(), form.constants.end(),
                       [this](const auto& c) { return values[c.first] == c.second; });
  }
};

PyObject* call(Calls& calls, PyObject* args, PyObject* kwargs) {
  const Symbols& py = symbols();
  if (__atomic_load_n(&kpt_dict_changes, __ATOMIC_ACQUIRE) != calls.seen || kpt_log_pending) return none();
  Arguments given;
  if (!given.read(args, kwargs)) return py.error() ? nullptr : none();
  const auto form = std::find_if(calls.forms.begin(), calls.forms.end(), [&](const Form& f) { return given.is(f); });
  if (form == calls.forms.end() || torch::jit::tracer::getTracingState()) return none();
  std::vector<at::Tensor> tensors(form->inputs.size());
  const bool grad = at::GradMode::is_enabled();
  for (size_t i = 0; i < tensors.size(); ++i) {
    if (!py.load(&tensors[i], given.values[form->inputs[i]], false)) return none();
    if (grad && tensors[i].requires_grad()) return none();
  }
  Owned outputs{run(*calls.model, std::move(tensors))};
  if (!outputs.object || !__atomic_load_n(&kpt_log_pending, __ATOMIC_RELAXED)) return outputs.hand_on();
  const Owned done{py.call(calls.hand_on.object, nullptr)};
  return done.object ? outputs.hand_on() : nullptr;
}

// Throws Error{bad_input} where the tuple is no form.
Form read_form(PyObject* from) {
  const Symbols& py = symbols();
  const auto part = [&](ptrdiff_t i) { return py.tuple_get(from, i); };
  const auto want = [&](bool good, const char* what) {
    KPT_CHECK(good && !py.error(), "bridge", "got a form whose ", what);
  };
  want(py.tuple_size(from) == 4, "size is not four");
  Form form;
  const ptrdiff_t positional = py.as_size(part(0)), names = py.tuple_size(part(1)), inputs = py.tuple_size(part(2)),
                  constants = py.tuple_size(part(3));
  want(positional >= 0 && names >= 0 && inputs >= 0 && constants >= 0, "parts are not a count and three tuples");
  want(static_cast<size_t>(positional + names) <= kMostArguments, "arguments are more than 64");
  form.positional = static_cast<size_t>(positional);
  const auto own = [&](PyObject* object) {
    py.add_reference(object);
    return object;
  };
  const auto place = [&](PyObject* number) {
    const ptrdiff_t at = py.as_size(number);
    want(at >= 0 && at < positional + names, "places are not its arguments'");
    return static_cast<size_t>(at);
  };
  for (ptrdiff_t i = 0; i < names; ++i) form.names.push_back(own(py.tuple_get(part(1), i)));
  for (ptrdiff_t i = 0; i < inputs; ++i) form.inputs.push_back(place(py.tuple_get(part(2), i)));
  for (ptrdiff_t i = 0; i < constants; ++i) {
    PyObject* const pair = py.tuple_get(part(3), i);
    want(py.tuple_size(pair) == 2, "constants are not pairs");
    const size_t at = place(py.tuple_get(pair, 0));
    form.constants.emplace_back(at, own(py.tuple_get(pair, 1)));
  }
  return form;
}

PyObject* teach(Calls& calls, PyObject* form) {
  Form read = guarded([&] { return read_form(form); });
  if (calls.forms.size() < kForms) calls.forms.push_back(std::move(read));
  return none();
}

PyObject* seen(Calls& calls, PyObject* changes) {
  const uint64_t value = symbols().as_u64(changes);
  if (symbols().error()) return nullptr;
  calls.seen = value;
  return none();
}

template <class F>
PyObject* or_raise(PyObject* capsule, F&& f) {
  Calls* const calls = calls_of(capsule);
  if (!calls) return nullptr;
  try {
    return f(*calls);
  } catch (...) {  // nothing is swallowed: torch's own translation makes a Python error of whatever it is
    symbols().translate(std::current_exception());
    return nullptr;
  }
}

PyObject* py_run(PyObject* capsule, PyObject* list) {
  return or_raise(capsule, [&](Calls& calls) { return run_list(calls, list); });
}
PyObject* py_call(PyObject* capsule, PyObject* const* arguments, ptrdiff_t count) {
  return or_raise(capsule, [&](Calls& calls) {
    guarded([&] { KPT_CHECK(count == 2, "bridge", "got ", count, " arguments, want a tuple and a dictionary"); });
    return call(calls, arguments[0], arguments[1]);
  });
}
PyObject* py_teach(PyObject* capsule, PyObject* form) {
  return or_raise(capsule, [&](Calls& calls) { return teach(calls, form); });
}
PyObject* py_seen(PyObject* capsule, PyObject* changes) {
  return or_raise(capsule, [&](Calls& calls) { return seen(calls, changes); });
}

void let_go(PyObject* capsule) { delete calls_of(capsule); }

bool reads(PyObject* probe, int64_t address) {
  at::Tensor tensor;
  if (!symbols().load(&tensor, probe, false) || reinterpret_cast<int64_t>(tensor.unsafeGetTensorImpl()) != address)
    return false;
  const Owned again{symbols().wrap(tensor)};
  return again.object == probe;
}

MethodDef methods[] = {
    {"run", reinterpret_cast<void*>(py_run), kOneArgument, "Outputs for a list of inputs, both in graph order."},
    {"call", reinterpret_cast<void*>(py_call), kFast, "Outputs of a call, or None where it goes another way."},
    {"teach", reinterpret_cast<void*>(py_teach), kOneArgument, "One more form of calls."},
    {"seen", reinterpret_cast<void*>(py_seen), kOneArgument, "The count of changes that was looked at."},
};

}  // namespace
}  // namespace kpt::bridge

_object* kpt_direct_calls(int64_t model, _object* probe, int64_t probe_address, _object* hand_on) {
  using namespace kpt::bridge;
  const Symbols& py = symbols();
  if (!py.complete || !reads(probe, probe_address)) {
    if (py.none && py.add_reference) py.add_reference(py.none);
    return py.none;
  }
  py.add_reference(hand_on);
  auto* const calls =
      new Calls{c10::intrusive_ptr<TorchModel>::reclaim_copy(reinterpret_cast<TorchModel*>(model)), Owned{hand_on}, {}};
  calls->forms.reserve(kForms);
  const Owned capsule{py.capsule_new(calls, kCapsule, let_go)};
  if (!capsule.object) {
    delete calls;
    return nullptr;
  }
  PyObject* made[std::size(methods)] = {};
  for (size_t i = 0; i < std::size(methods); ++i) made[i] = py.function_new(&methods[i], capsule.object, nullptr);
  const Owned run{made[0]}, call{made[1]}, teach{made[2]}, seen{made[3]};
  if (std::find(std::begin(made), std::end(made), nullptr) != std::end(made)) return nullptr;
  return py.tuple_pack(4, run.object, call.object, teach.object, seen.object);
}
