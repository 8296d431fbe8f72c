// SPDX-License-Identifier: Apache-2.0
#include "kpt/kernels/lib/cpu/math_probe.h"

#include "kpt/kernels/lib/cpu/math.h"

namespace kpt::KPT_ISA {
namespace {

struct Entry {
  const char* name;
  void (*apply)(const float*, float*, size_t);
};

template <class F>
KPT_INLINE void each(const float* x, float* y, size_t n, F f) {
  for (size_t i = 0; i < n; i += kLanes) {
    const int count = n - i < kLanes ? static_cast<int>(n - i) : kLanes;
    store_n(y + i, f(load_n(x + i, count)), count);
  }
}

#define KPT_PROBE(f)                                                                           \
  {                                                                                            \
#f, [](const float* x, float* y, size_t n) { each(x, y, n, [](VecF v) { return f(v); }); } \
  }
const Entry kEntries[] = {
    KPT_PROBE(exp),
    KPT_PROBE(exp2_low),
    KPT_PROBE(expm1),
    KPT_PROBE(log),
    KPT_PROBE(log1p),
    KPT_PROBE(tanh),
    KPT_PROBE(erf),
    KPT_PROBE(sigmoid),
    KPT_PROBE(silu),
    KPT_PROBE(gelu_erf),
    KPT_PROBE(gelu_tanh),
    KPT_PROBE(relu),
    KPT_PROBE(round_even),
    KPT_PROBE(floor),
    KPT_PROBE(ceil),
    KPT_PROBE(trunc),
    {"bf16",
     [](const float* x, float* y, size_t n) { each(x, y, n, [](VecF v) { return bf16_to_float(float_to_bf16(v)); }); }},
    {"f16",
     [](const float* x, float* y, size_t n) { each(x, y, n, [](VecF v) { return f16_to_float(float_to_f16(v)); }); }},
};
#undef KPT_PROBE

}  // namespace

bool math_probe(const char* name, const float* x, float* y, size_t n) {
  for (const Entry& e : kEntries)
    if (__builtin_strcmp(e.name, name) == 0) {
      e.apply(x, y, n);
      return true;
    }
  return false;
}

}  // namespace kpt::KPT_ISA
