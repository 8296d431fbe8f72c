// SPDX-License-Identifier: Apache-2.0
#include "kpt/kernels/lib/program/evaluate.h"

#include <algorithm>
#include <cmath>
#include <limits>

namespace kpt {
namespace {

double nan_max(double x, double y) { return std::isnan(x) || x > y ? x : y; }
double nan_min(double x, double y) { return std::isnan(x) || x < y ? x : y; }
double sigmoid(double x) { return 1 / (1 + std::exp(-x)); }
double softplus(double x) { return x > 20 ? x : std::log1p(std::exp(x)); }
double bits(double x, double y, Fn fn) {
  const int64_t a = static_cast<int64_t>(x), b = static_cast<int64_t>(y);
  return static_cast<double>(fn == Fn::bit_and ? a & b : fn == Fn::bit_or ? a | b : a ^ b);
}

// x mod y with the sign of y; q such that x = q y + mod.
double python_rem(double x, double y) {
  const double m = std::fmod(x, y);
  return m != 0 && (y < 0) != (m < 0) ? m + y : m;
}
double python_div(double x, double y) {
  if (y == 0) return x / y;
  const double m = std::fmod(x, y);
  double q = (x - m) / y;
  if (m != 0 && (y < 0) != (m < 0)) q -= 1;
  if (q == 0) return std::copysign(0.0, x / y);
  return q - std::floor(q) > 0.5 ? std::floor(q) + 1 : std::floor(q);
}
double power(const Step& s, double x, double y) {
  // PyTorch's choice for these numbers; it differs from pow at -inf.
  if (is_float(s.at) && s.arg[1].is_number() && std::fabs(y) == 0.5) return y > 0 ? std::sqrt(x) : 1 / std::sqrt(x);
  if (is_float(s.at)) return std::pow(x, y);
  if (y < 0) return x == 1 ? 1 : x == -1 ? (std::fmod(y, 2) != 0 ? -1 : 1) : 0;
  return std::pow(x, y);
}

double unary(const Step& s, double x) {
  switch (s.fn) {
    case Fn::neg: return -x;
    case Fn::abs: return std::fabs(x);
    case Fn::sign: return (x > 0) - (x < 0);
    case Fn::exp: return std::exp(x);
    case Fn::exp2: return std::exp2(x);
    case Fn::expm1: return std::expm1(x);
    case Fn::log: return std::log(x);
    case Fn::log2: return std::log2(x);
    case Fn::log1p: return std::log1p(x);
    case Fn::sqrt: return std::sqrt(x);
    case Fn::rsqrt: return 1 / std::sqrt(x);
    case Fn::recip: return 1 / x;
    case Fn::sin: return std::sin(x);
    case Fn::cos: return std::cos(x);
    case Fn::tan: return std::tan(x);
    case Fn::tanh: return std::tanh(x);
    case Fn::sigmoid: return sigmoid(x);
    case Fn::erf: return std::erf(x);
    case Fn::floor: return std::floor(x);
    case Fn::ceil: return std::ceil(x);
    case Fn::round: return std::nearbyint(x);
    case Fn::trunc: return std::trunc(x);
    case Fn::relu: return x < 0 ? 0 : x;
    case Fn::relu6: return nan_min(x < 0 ? 0 : x, 6);
    case Fn::gelu_erf: return 0.5 * x * (1 + std::erf(x / std::sqrt(2.0)));
    case Fn::gelu_tanh: return 0.5 * x * (1 + std::tanh(std::sqrt(2 / M_PI) * (x + 0.044715 * x * x * x)));
    case Fn::silu: return x / (1 + std::exp(-x));
    case Fn::mish: return x * std::tanh(softplus(x));
    case Fn::elu: return x <= 0 ? s.params[0] * s.params[1] * std::expm1(x * s.params[2]) : s.params[1] * x;
    case Fn::leaky_relu: return x > 0 ? x : x * s.params[0];
    case Fn::hardtanh: return nan_min(nan_max(x, s.params[0]), s.params[1]);
    case Fn::hardswish: return x * nan_min(nan_max(x + 3, 0), 6) / 6;
    case Fn::hardsigmoid: return nan_min(nan_max(x + 3, 0), 6) / 6;
    case Fn::softplus: return x * s.params[0] > s.params[1] ? x : std::log1p(std::exp(x * s.params[0])) / s.params[0];
    case Fn::log_sigmoid: return nan_min(x, 0) - std::log1p(std::exp(-std::fabs(x)));
    case Fn::logical_not: return x == 0;
    case Fn::bit_not: return s.at == DType::boolean ? x == 0 : static_cast<double>(~static_cast<int64_t>(x));
    case Fn::isnan: return std::isnan(x);
    case Fn::isinf: return std::isinf(x);
    default: return x;  // cast: the result's dtype does it
  }
}

}  // namespace

double evaluate(const Step& s, double x, double y, double z) {
  const bool integer = !is_float(s.at);
  switch (s.fn) {
    case Fn::add: return x + y;
    case Fn::sub: return x - y;
    case Fn::mul: return x * y;
    case Fn::div: return x / y;
    case Fn::div_floor: return integer ? std::floor(x / y) : python_div(x, y);
    case Fn::div_trunc: return std::trunc(x / y);
    case Fn::pow: return power(s, x, y);
    case Fn::max: return nan_max(x, y);
    case Fn::min: return nan_min(x, y);
    case Fn::rem: return python_rem(x, y);
    case Fn::atan2: return std::atan2(x, y);
    case Fn::eq: return x == y;
    case Fn::ne: return x != y;
    case Fn::lt: return x < y;
    case Fn::le: return x <= y;
    case Fn::gt: return x > y;
    case Fn::ge: return x >= y;
    case Fn::logical_and: return x != 0 && y != 0;
    case Fn::logical_or: return x != 0 || y != 0;
    case Fn::logical_xor: return (x != 0) != (y != 0);
    case Fn::bit_and:
    case Fn::bit_or:
    case Fn::bit_xor: return bits(x, y, s.fn);
    case Fn::where: return x != 0 ? y : z;
    case Fn::masked_fill: return y != 0 ? z : x;
    case Fn::swiglu: return x / (1 + std::exp(-x)) * y;
    case Fn::clamp: {
      if (s.arg[1].kind != Arg::Kind::none) x = nan_max(x, y);
      if (s.arg[2].kind != Arg::Kind::none) x = nan_min(x, z);
      return x;
    }
    default: return unary(s, x);
  }
}

namespace {

// A value as its dtype keeps it. Arithmetic on f16 and bf16 is not rounded: only casts and outputs are.
double kept(const Step& s, double v) {
  if (is_float(s.result) && s.fn != Fn::cast) return v;
  unsigned char buffer[8];
  store_from_double(s.result, buffer, v);
  return load_as_double(s.result, buffer);
}

double reduce(Fn fn, const std::vector<double>& row) {
  double r = fn == Fn::row_max   ? -std::numeric_limits<double>::infinity()
             : fn == Fn::row_min ? std::numeric_limits<double>::infinity()
                                 : 0;
  for (double v : row) r = fn == Fn::row_max ? nan_max(r, v) : fn == Fn::row_min ? nan_min(r, v) : r + v;
  return fn == Fn::row_mean ? r / static_cast<double>(row.size()) : r;
}

int64_t offset(const TensorDesc& d, const Dims& sizes, int64_t row, int64_t column) {
  int64_t at = 0;
  const int shift = sizes.rank() - d.sizes.rank();
  for (int i = sizes.rank() - 1; i >= 0; --i) {
    int64_t index = column;
    if (i != sizes.rank() - 1) {
      index = row % sizes[i];
      row /= sizes[i];
    }
    if (i >= shift && d.sizes[i - shift] != 1) at += index * d.strides[i - shift];
  }
  return at;
}

}  // namespace

ProgramReference::ProgramReference(const Problem& problem, Program program)
    : problem_(problem), program_(std::move(program)) {
  std::vector<Dims> all;
  for (int i : program_.inputs) all.push_back(problem_.inputs[static_cast<size_t>(i)].sizes);
  for (const TensorDesc& d : problem_.outputs) all.push_back(d.sizes);
  int rank = 0;
  for (const Dims& d : all) rank = std::max(rank, d.rank());
  sizes_ = Dims::filled(rank, 1);
  for (const Dims& d : all)
    for (int i = 0; i < d.rank(); ++i)
      if (d[i] != 1) sizes_[rank - d.rank() + i] = d[i];
  width_ = rank ? sizes_.back() : 1;
}

void ProgramReference::run(const RunArgs& args) const {
  if (sizes_.numel() == 0) return;
  const int64_t rows = sizes_.numel() / width_;
  std::vector<std::vector<double>> values(program_.steps.size());
  for (int64_t row = 0; row < rows; ++row) {
    const auto at = [&](const Arg& a, int64_t column) {
      if (a.kind == Arg::Kind::input) {
        const int k = program_.inputs[static_cast<size_t>(a.index)];
        const TensorDesc& d = problem_.inputs[static_cast<size_t>(k)];
        const int64_t bytes = offset(d, sizes_, row, column) * static_cast<int64_t>(size_of(d.dtype));
        return load_as_double(d.dtype, static_cast<const char*>(args.inputs[k]) + bytes);
      }
      if (a.kind == Arg::Kind::step) return values[static_cast<size_t>(a.index)][static_cast<size_t>(column)];
      return a.number;
    };
    for (size_t i = 0; i < program_.steps.size(); ++i) {
      const Step& s = program_.steps[i];
      std::vector<double>& out = values[i];
      out.assign(static_cast<size_t>(width_), 0);
      for (int64_t c = 0; c < width_; ++c)
        out[static_cast<size_t>(c)] = kept(s, evaluate(s, at(s.arg[0], c), at(s.arg[1], c), at(s.arg[2], c)));
      if (s.fn >= Fn::row_sum) std::fill(out.begin(), out.end(), kept(s, reduce(s.fn, out)));
    }
    for (size_t o = 0; o < program_.outputs.size(); ++o) {
      const TensorDesc& d = problem_.outputs[o];
      const int64_t width = d.sizes.rank() ? d.sizes.back() : 1;
      for (int64_t c = 0; c < width; ++c) {
        const int64_t bytes = offset(d, sizes_, row, c) * static_cast<int64_t>(size_of(d.dtype));
        store_from_double(d.dtype, static_cast<char*>(args.outputs[o]) + bytes, at(program_.outputs[o], c));
      }
    }
  }
}

}  // namespace kpt
