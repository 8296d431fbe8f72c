// SPDX-License-Identifier: Apache-2.0
#pragma once
#include <array>
#include <cstdint>
#include <initializer_list>
#include <ostream>

#include "kpt/base/error.h"

namespace kpt {

constexpr int kMaxRank = 8;  // more than any op of the models we take; a higher rank goes to the aten provider

// Sizes or strides of one tensor, inline: a shape never allocates. Rank at most kMaxRank, else Error{unsupported}.
class Dims {
 public:
  Dims() = default;
  Dims(std::initializer_list<int64_t> values) {
    for (int64_t v : values) push_back(v);
  }
  template <class It>
  Dims(It first, It last) {
    for (; first != last; ++first) push_back(*first);
  }
  static Dims filled(int rank, int64_t value) {
    Dims d;
    for (int i = 0; i < rank; ++i) d.push_back(value);
    return d;
  }

  int rank() const { return rank_; }
  int64_t operator[](int i) const { return values_[static_cast<size_t>(i)]; }
  int64_t& operator[](int i) { return values_[static_cast<size_t>(i)]; }
  int64_t back() const { return values_[static_cast<size_t>(rank_ - 1)]; }
  const int64_t* begin() const { return values_.data(); }
  const int64_t* end() const { return values_.data() + rank_; }
  void push_back(int64_t v) {
    if (rank_ == kMaxRank) throw_error(ErrorKind::unsupported, "base.dims", cat("got rank above ", kMaxRank));
    values_[static_cast<size_t>(rank_++)] = v;
  }
  // 2^63 - 1 where the product is larger: no memory holds as many, and an allocation of them is refused.
  int64_t numel() const {
    int64_t n = 1;
    bool fits = true;
    for (int64_t v : *this) {
      if (v == 0) return 0;
      if (__builtin_mul_overflow(n, v, &n)) fits = false;
    }
    return fits ? n : INT64_MAX;
  }

  friend bool operator==(const Dims& a, const Dims& b) {
    if (a.rank_ != b.rank_) return false;
    for (int i = 0; i < a.rank_; ++i)
      if (a[i] != b[i]) return false;
    return true;
  }
  friend bool operator!=(const Dims& a, const Dims& b) { return !(a == b); }

 private:
  std::array<int64_t, kMaxRank> values_{};
  int rank_ = 0;
};

inline std::ostream& operator<<(std::ostream& os, const Dims& d) {
  os << '[';
  for (int i = 0; i < d.rank(); ++i) os << (i ? ", " : "") << d[i];
  return os << ']';
}

// Row-major strides, in elements; 2^63 - 1 where they are larger.
inline Dims contiguous_strides(const Dims& sizes) {
  Dims strides = Dims::filled(sizes.rank(), 1);
  for (int i = sizes.rank() - 2; i >= 0; --i)
    if (__builtin_mul_overflow(strides[i + 1], sizes[i + 1] ? sizes[i + 1] : 1, &strides[i])) strides[i] = INT64_MAX;
  return strides;
}

}  // namespace kpt
