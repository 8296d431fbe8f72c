// SPDX-License-Identifier: Apache-2.0
#include "tensors.h"

namespace kpt::bridge {

std::optional<DType> from_torch(at::ScalarType type) {
  switch (type) {
    case at::kDouble: return DType::f64;
    case at::kFloat: return DType::f32;
    case at::kHalf: return DType::f16;
    case at::kBFloat16: return DType::bf16;
    case at::kLong: return DType::i64;
    case at::kInt: return DType::i32;
    case at::kShort: return DType::i16;
    case at::kChar: return DType::i8;
    case at::kByte: return DType::u8;
    case at::kBool: return DType::boolean;
    default: return std::nullopt;
  }
}

at::ScalarType to_torch(DType dtype) {
  switch (dtype) {
    case DType::f64: return at::kDouble;
    case DType::f32: return at::kFloat;
    case DType::f16: return at::kHalf;
    case DType::bf16: return at::kBFloat16;
    case DType::i64: return at::kLong;
    case DType::i32: return at::kInt;
    case DType::i16: return at::kShort;
    case DType::i8: return at::kChar;
    case DType::u8: return at::kByte;
    case DType::boolean: return at::kBool;
  }
  throw_error(ErrorKind::internal, "bridge", "unknown dtype");
}

Tensor borrow(const at::Tensor& tensor, const std::string& what, at::Device device, bool keep) {
  if (!tensor.defined() || tensor.layout() != at::kStrided)
    throw_error(ErrorKind::unsupported, "bridge", cat(what, " is no dense tensor, try .to_dense()"));
  if (tensor.device() != device)
    throw_error(
        ErrorKind::bad_input, "bridge",
        cat(what, " is on ", tensor.device().str(), ", want ", device.str(), ", try .to(\"", device.str(), "\")"));
  const auto dtype = from_torch(tensor.scalar_type());
  if (!dtype || tensor.is_quantized())
    throw_error(ErrorKind::unsupported, "bridge",
                cat(what, " has dtype ", at::toString(tensor.scalar_type()), ", want a real one"));
  if (tensor.is_neg() || tensor.is_conj())
    throw_error(ErrorKind::unsupported, "bridge", cat(what, " is a lazy view, try .resolve_neg()"));
  const auto sizes = tensor.sizes(), strides = tensor.strides();
  Tensor result;
  result.desc = {*dtype, Dims(sizes.begin(), sizes.end()), Dims(strides.begin(), strides.end())};
  if (!tensor.has_storage() || (!tensor.storage().data() && tensor.numel()))
    throw_error(ErrorKind::bad_input, "bridge", cat(what, " has no memory: a fake tensor, or one inside vmap or grad"));
  result.data = const_cast<void*>(tensor.const_data_ptr());
  if (keep) result.owner = std::make_shared<c10::Storage>(tensor.storage());
  return result;
}

at::Tensor wrap(const TensorDesc& desc, void* data, at::Device device) {
  const at::IntArrayRef sizes(desc.sizes.begin(), static_cast<size_t>(desc.sizes.rank()));
  const at::IntArrayRef strides(desc.strides.begin(), static_cast<size_t>(desc.strides.rank()));
  return at::for_blob(data, sizes)
      .strides(strides)
      .options(at::TensorOptions(to_torch(desc.dtype)).device(device))
      .target_device(device)
      .make_tensor();
}

at::Tensor give(const Tensor& tensor, at::Device device) {
  const TensorDesc& desc = tensor.desc;
  const at::IntArrayRef sizes(desc.sizes.begin(), static_cast<size_t>(desc.sizes.rank()));
  const at::IntArrayRef strides(desc.strides.begin(), static_cast<size_t>(desc.strides.rank()));
  auto owner = tensor.owner;
  return at::for_blob(tensor.data, sizes)
      .strides(strides)
      .deleter([owner](void*) {})
      .options(at::TensorOptions(to_torch(desc.dtype)).device(device))
      .target_device(device)
      .make_tensor();
}

}  // namespace kpt::bridge
