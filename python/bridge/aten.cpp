// SPDX-License-Identifier: Apache-2.0
#include "aten.h"

#include <ATen/ScalarOps.h>
#include <ATen/autocast_mode.h>
#include <ATen/core/dispatch/Dispatcher.h>
#include <ATen/core/stack.h>
#include <c10/core/DeviceGuard.h>
#include <c10/core/InferenceMode.h>
#include <c10/core/impl/LocalDispatchKeySet.h>
#include <c10/core/impl/VirtualGuardImpl.h>

#include "tensors.h"

namespace kpt::bridge {
namespace {

using c10::IValue;
using c10::TypeKind;

// Where a tensor of the problem goes in the call: stack slot, and element of a list or -1.
struct Slot {
  size_t argument;
  int element;
  size_t input;
};

// A call with everything but its tensors filled in. Immutable after make_call.
struct Call {
  c10::OperatorHandle op;
  std::vector<IValue> arguments;
  std::vector<Slot> slots;
};

// Their result depends on the strides of their input. The planner chooses strides of its own, so they get the row-major
// input that the captured sizes describe.
bool reads_strides(const std::string& op) {
  return op == "aten.view" || op == "aten.view.dtype" || op == "aten.as_strided";
}

// kpt.copy is written by the planner into any graph, so graphs that torch alone runs need it, too. Products of experts
// in f64, which torch has none of, go to the twin in ops.cpp.
std::string torch_name(const Problem& problem) {
  if (problem.op == "kpt.copy") return "aten.clone";
  const bool f64 = !problem.inputs.empty() && problem.inputs[0].dtype == DType::f64;
  return problem.op == "aten._grouped_mm" && f64 ? "kernel_pytorch.grouped_mm" : problem.op;
}

std::optional<c10::OperatorHandle> find_operator(const std::string& op) {
  const size_t dot = op.find('.');
  if (dot == std::string::npos) return std::nullopt;
  const size_t second = op.find('.', dot + 1);
  const std::string name =
      cat(op.substr(0, dot), "::", op.substr(dot + 1, second == std::string::npos ? second : second - dot - 1));
  return c10::Dispatcher::singleton().findSchema({name, second == std::string::npos ? "" : op.substr(second + 1)});
}

bool is_tensor_kind(const c10::TypePtr& type) {
  switch (type->kind()) {
    case TypeKind::TensorType: return true;
    case TypeKind::OptionalType: return is_tensor_kind(type->castRaw<c10::OptionalType>()->getElementType());
    case TypeKind::ListType: return is_tensor_kind(type->castRaw<c10::ListType>()->getElementType());
    default: return false;
  }
}

[[noreturn]] void unfit(const c10::Argument& argument, const char* what) {
  throw_error(ErrorKind::unsupported, "aten",
              cat("argument ", argument.name(), " of type ", argument.real_type()->str(), ": ", what));
}

int64_t integer(const Attr& attr, const c10::Argument& argument) {
  if (attr.is<Sym>() && attr.as<Sym>().is_const()) return attr.as<Sym>().value();
  if (attr.is<bool>()) return attr.as<bool>();
  unfit(argument, "want an integer");
}

double real(const Attr& attr, const c10::Argument& argument) {
  return attr.is<double>() ? attr.as<double>() : static_cast<double>(integer(attr, argument));
}

at::Scalar scalar(const Attr& attr, const c10::Argument& argument) {
  if (attr.is<double>()) return attr.as<double>();
  if (attr.is<bool>()) return attr.as<bool>();
  return integer(attr, argument);
}

int64_t layout_or_format(const Attr& attr, TypeKind kind, const c10::Argument& argument) {
  static const std::map<std::string, c10::MemoryFormat> formats = {
      {"contiguous_format", c10::MemoryFormat::Contiguous},
      {"preserve_format", c10::MemoryFormat::Preserve},
      {"channels_last", c10::MemoryFormat::ChannelsLast},
      {"channels_last_3d", c10::MemoryFormat::ChannelsLast3d}};
  if (!attr.is<std::string>()) unfit(argument, "want a name");
  const std::string& text = attr.as<std::string>();
  if (kind == TypeKind::LayoutType) {
    if (text != "strided") unfit(argument, "want the layout strided");
    return static_cast<int64_t>(c10::Layout::Strided);
  }
  const auto it = formats.find(text);
  if (it == formats.end()) unfit(argument, "unknown memory format");
  return static_cast<int64_t>(it->second);
}

IValue list_value(const Attr& attr, const c10::ListType& type, const c10::Argument& argument) {
  AttrList items;
  if (attr.is<AttrList>())
    items = attr.as<AttrList>();
  else
    items.assign(static_cast<size_t>(argument.N().value_or(1)), attr);  // int[2] given as one number
  switch (type.getElementType()->kind()) {
    case TypeKind::SymIntType:
    case TypeKind::IntType: {
      c10::List<int64_t> list;
      for (const Attr& a : items) list.push_back(integer(a, argument));
      return list;
    }
    case TypeKind::FloatType: {
      c10::List<double> list;
      for (const Attr& a : items) list.push_back(real(a, argument));
      return list;
    }
    case TypeKind::BoolType: {
      c10::List<bool> list;
      for (const Attr& a : items) list.push_back(integer(a, argument) != 0);
      return list;
    }
    default: unfit(argument, "lists of this type are not known here");
  }
}

// One argument that is no tensor, by its type in the schema.
IValue plain_value(const Attr& attr, const c10::Type& type, const c10::Argument& argument, at::Device device) {
  if (type.kind() == TypeKind::OptionalType)
    return attr.is_none() ? IValue()
                          : plain_value(attr, *type.castRaw<c10::OptionalType>()->getElementType(), argument, device);
  switch (type.kind()) {
    case TypeKind::SymIntType:
    case TypeKind::IntType: return integer(attr, argument);
    case TypeKind::FloatType: return real(attr, argument);
    case TypeKind::BoolType:
    case TypeKind::SymBoolType: return integer(attr, argument) != 0;
    case TypeKind::NumberType: return scalar(attr, argument);
    case TypeKind::StringType:
      if (!attr.is<std::string>()) unfit(argument, "want a string");
      return attr.as<std::string>();
    case TypeKind::ScalarTypeType:
      if (!attr.is<DType>()) unfit(argument, "want a dtype");
      return static_cast<int64_t>(to_torch(attr.as<DType>()));
    case TypeKind::LayoutType:
    case TypeKind::MemoryFormatType: return layout_or_format(attr, type.kind(), argument);
    case TypeKind::DeviceObjType:  // a graph has one device: that of its model
      if (!attr.is<std::string>()) unfit(argument, "want a device");
      return device;
    case TypeKind::ListType: return list_value(attr, *type.castRaw<c10::ListType>(), argument);
    default: unfit(argument, "arguments of this type are not known here");
  }
}

// A tensor argument: filled now if it is a number or absent, else noted in the slots.
IValue tensor_value(const Attr& attr, const c10::Type& type, const c10::Argument& argument, size_t at, int element,
                    Call& call) {
  if (type.kind() == TypeKind::OptionalType) {
    if (attr.is_none()) return IValue();
    return tensor_value(attr, *type.castRaw<c10::OptionalType>()->getElementType(), argument, at, element, call);
  }
  if (type.kind() == TypeKind::ListType) {
    if (!attr.is<AttrList>()) unfit(argument, "want a list of tensors");
    const c10::TypePtr of = type.castRaw<c10::ListType>()->getElementType();
    c10::impl::GenericList list(of);
    int i = 0;
    for (const Attr& a : attr.as<AttrList>()) {
      IValue item = tensor_value(a, *of, argument, at, i++, call);
      list.push_back(item.isNone() && of->kind() == TypeKind::TensorType ? IValue(at::Tensor()) : item);
    }
    return list;
  }
  if (attr.is<In>()) {
    call.slots.push_back({at, element, static_cast<size_t>(attr.as<In>().index)});
    return IValue(at::Tensor());
  }
  if (attr.is_none()) unfit(argument, "want a tensor");
  const at::Scalar number = scalar(attr, argument);
  at::Tensor tensor = at::scalar_to_tensor(number);
  tensor.unsafeGetTensorImpl()->set_wrapped_number(true);  // so that it does not promote the other operand
  return tensor;
}

Call make_call(const Problem& problem, at::Device device) {
  const auto op = find_operator(torch_name(problem));
  if (!op) throw_error(ErrorKind::unsupported, "aten", cat("the dispatcher has no operator ", problem.op));
  Call call{*op, {}, {}};
  size_t position = 0, named = 0;
  const auto& arguments = op->schema().arguments();
  for (size_t i = 0; i < arguments.size(); ++i) {
    const c10::Argument& argument = arguments[i];
    if (argument.alias_info() && argument.alias_info()->isWrite()) unfit(argument, "in-place operators are not run");
    const Attr* attr = nullptr;
    const bool tensor = is_tensor_kind(argument.type());
    if (tensor)
      attr = position < problem.args.size() ? &problem.args[position++] : nullptr;
    else if ((attr = find(problem.kwargs, argument.name())))
      ++named;
    if (!attr && argument.default_value())
      call.arguments.push_back(*argument.default_value());
    else if (!attr && argument.type()->kind() == TypeKind::OptionalType)
      call.arguments.emplace_back();
    else if (!attr)
      unfit(argument, "is missing");
    else if (tensor)
      call.arguments.push_back(tensor_value(*attr, *argument.type(), argument, i, -1, call));
    else
      call.arguments.push_back(plain_value(*attr, *argument.real_type(), argument, device));
  }
  if (position != problem.args.size() || named != problem.kwargs.size())
    throw_error(ErrorKind::unsupported, "aten",
                cat("got ", problem.str(), ", want the arguments of ", op->schema().name()));
  return call;
}

// The device whose kernel this is; for cuda the one that is current.
at::Device device_of(const std::string& kind) {
  if (kind == "cpu") return at::kCPU;
  return {at::kCUDA, c10::impl::VirtualGuardImpl(at::kCUDA).getDevice().index()};
}

Verdict supports(const Problem& problem, const std::string& kind) {
  if (problem.op.rfind("kpt.", 0) == 0 && problem.op != "kpt.copy") return no("operators kpt.* are not torch's");
  try {
    make_call(problem, kind == "cpu" ? at::kCPU : at::Device(at::kCUDA, 0));
  } catch (const Error& e) {
    return no(e.what());
  }
  return yes();
}

class AtenLaunch final : public Launch {
 public:
  AtenLaunch(const Problem& problem, at::Device device)
      : call_(make_call(problem, device)),
        device_(device),
        op_(problem.op),
        inputs_(problem.inputs),
        outputs_(problem.outputs),
        row_major_(reads_strides(problem.op)),
        copies_(problem.op == "aten._to_copy" || problem.op == "kpt.copy") {}

  void run(const RunArgs& args) const override {
    // Below autograd, and without the caller's autocast: the graph's dtypes already say what is computed.
    const c10::InferenceMode guard;
    const c10::impl::ExcludeDispatchKeyGuard no_autocast(c10::autocast_dispatch_keyset);
    const c10::OptionalDeviceGuard on(device_.is_cpu() ? std::nullopt : std::optional(device_));
    if (copies_) {  // straight into the planned memory, without a tensor between: half the time of the judge's casts
      wrap(outputs_[0], args.outputs[0], device_).copy_(wrap(inputs_[0], const_cast<void*>(args.inputs[0]), device_));
      return;
    }
    torch::jit::Stack stack(call_.arguments);
    for (const Slot& slot : call_.slots) fill(stack, slot, args);
    try {
      call_.op.callBoxed(stack);
      store(stack, args);
    } catch (const c10::OutOfMemoryError& e) {
      throw_error(ErrorKind::resource, "aten", cat(op_, ": ", e.what_without_backtrace()));
    } catch (const c10::IndexError& e) {
      throw_error(ErrorKind::bad_input, "aten", cat(op_, ": ", e.what_without_backtrace()));
    } catch (const c10::Error& e) {
      throw_error(ErrorKind::internal, "aten", cat(op_, ": ", e.what_without_backtrace()));
    }
  }
  std::string config() const override { return "dispatcher"; }
  bool recordable() const override { return false; }  // torch allocates as it goes

 private:
  void fill(torch::jit::Stack& stack, const Slot& slot, const RunArgs& args) const {
    at::Tensor tensor = wrap(inputs_[slot.input], const_cast<void*>(args.inputs[slot.input]), device_);
    if (row_major_) tensor = tensor.contiguous();
    if (slot.element < 0) {
      stack[slot.argument] = std::move(tensor);
      return;
    }
    // The first element of a list: the template's list is shared by all runs, so take a copy.
    IValue& value = stack[slot.argument];
    if (value.internalToPointer() == call_.arguments[slot.argument].internalToPointer())
      value = IValue(value.toList().copy());
    value.toList().set(static_cast<size_t>(slot.element), std::move(tensor));
  }

  void store(const torch::jit::Stack& stack, const RunArgs& args) const {
    size_t index = 0;
    for (const IValue& value : stack) {
      if (value.isTensor()) {
        store_one(value.toTensor(), index++, args);
      } else if (value.isTensorList()) {
        for (const at::Tensor& t : value.toTensorVector()) store_one(t, index++, args);
      } else {
        throw_error(ErrorKind::internal, "aten", cat(op_, " gave a ", value.tagKind(), ", want tensors"));
      }
    }
    if (index != outputs_.size())
      throw_error(ErrorKind::internal, "aten", cat(op_, " gave ", index, " tensors, want ", outputs_.size()));
  }

  void store_one(const at::Tensor& result, size_t index, const RunArgs& args) const {
    if (index >= outputs_.size()) return;  // counted, and reported by store
    const TensorDesc& want = outputs_[index];
    if (!result.defined() && want.numel() == 0) return;
    const auto dtype = result.defined() ? from_torch(result.scalar_type()) : std::nullopt;
    const at::IntArrayRef sizes(want.sizes.begin(), static_cast<size_t>(want.sizes.rank()));
    if (!dtype || *dtype != want.dtype || result.sizes() != sizes)
      throw_error(
          ErrorKind::internal, "aten",
          cat(op_, " gave output ", index, " as ", result.toString(), c10::str(result.sizes()), ", want ", want));
    wrap(want, args.outputs[index], device_).copy_(result);
  }

  Call call_;
  at::Device device_;
  std::string op_;
  std::vector<TensorDesc> inputs_, outputs_;
  bool row_major_;
  bool copies_;
};

}  // namespace

Kernel aten_kernel(const std::string& device) {
  Kernel kernel{"*", "aten", device, "aten", 0, nullptr, nullptr};
  kernel.supports = [device](const Problem& p) { return supports(p, device); };
  kernel.make = [device](const Problem& p) -> std::unique_ptr<Launch> {
    return std::make_unique<AtenLaunch>(p, device_of(device));
  };
  return kernel;
}

}  // namespace kpt::bridge
