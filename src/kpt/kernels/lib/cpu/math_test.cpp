// SPDX-License-Identifier: Apache-2.0
#include <cmath>
#include <cstring>
#include <string>

#include "kpt/kernels/lib/cpu/isa.h"
#include "kpt/kernels/lib/cpu/math_probe.h"
#include "kpt/kernels/lib/cpu/test_util.h"

namespace kpt {
namespace {

using Probe = bool (*)(const char*, const float*, float*, size_t);

Probe probe(Isa isa) {
#define KPT_PROBE_ENTRY(isa) isa::math_probe
  static const Probe table[] = KPT_ISA_TABLE(KPT_PROBE_ENTRY);
#undef KPT_PROBE_ENTRY
  return table[static_cast<size_t>(isa)];
}

// Floats of every exponent, finely around 0, in the given range.
std::vector<float> points(float low, float high) {
  std::vector<float> x;
  for (uint64_t u = 0; u < 0x100000000ull; u += 9973) {
    const auto bits = static_cast<uint32_t>(u);
    float f;
    std::memcpy(&f, &bits, 4);
    if (f >= low && f <= high) x.push_back(f);
  }
  for (double d = std::max(-110.f, low); d < std::min(110.f, high); d += 1e-3) x.push_back(static_cast<float>(d));
  return x;
}

struct Function {
  const char* name;
  double (*reference)(double);
  float low, high;  // where the bound holds
  double ulps;      // the bound of math.h
};

// One unit in the last place of the float result `want`, at least the smallest subnormal.
double unit(double want) {
  const auto f = static_cast<float>(want);
  return f == 0 ? 0x1p-149 : std::ldexp(1.0, std::max(-149, std::ilogb(f) - 23));
}

constexpr float kMost = 3.4e38f;
const Function kFunctions[] = {
    {"exp", [](double x) { return std::exp(x); }, -kMost, kMost, 2},
    {"exp2_low", [](double x) { return std::exp2(x); }, -kMost, 127, 2},
    {"expm1", [](double x) { return std::expm1(x); }, -kMost, kMost, 2},
    {"log", [](double x) { return std::log(x); }, 0, kMost, 1},
    {"log1p", [](double x) { return std::log1p(x); }, -0.9999999f, kMost, 2},
    {"tanh", [](double x) { return std::tanh(x); }, -kMost, kMost, 6},
    {"erf", [](double x) { return std::erf(x); }, -kMost, kMost, 7},
    {"sigmoid", [](double x) { return 1 / (1 + std::exp(-x)); }, -87, kMost, 3},
    {"silu", [](double x) { return x / (1 + std::exp(-x)); }, -87, kMost, 3},
    {"gelu_tanh", [](double x) { return x / (1 + std::exp(-2 * std::sqrt(2 / M_PI) * (x + 0.044715 * x * x * x))); },
     -2.5, kMost, 8},
};

TEST(Math, WithinTheirUlpsOnEveryInstructionSet) {
  for (const Function& f : kFunctions) {
    const std::vector<float> x = points(f.low, f.high);
    std::vector<float> y(x.size());
    for (Isa isa : isas_of_this_machine()) {
      ASSERT_TRUE(probe(isa)(f.name, x.data(), y.data(), x.size())) << f.name;
      double worst = 0;
      float at = 0;
      for (size_t i = 0; i < x.size(); ++i) {
        const double want = f.reference(x[i]);
        if (std::isinf(static_cast<float>(want)) && static_cast<double>(y[i]) == static_cast<float>(want)) continue;
        const double error = std::fabs(y[i] - want) / unit(want);
        if (!(error <= worst)) worst = error, at = x[i];
      }
      EXPECT_LE(worst, f.ulps) << f.name << "(" << at << ") on " << name(isa);
    }
  }
}

TEST(Math, GeluErrorIsThatOfOneCancellation) {
  const std::vector<float> x = points(-1e30f, 1e30f);
  std::vector<float> y(x.size());
  for (Isa isa : isas_of_this_machine()) {
    ASSERT_TRUE(probe(isa)("gelu_erf", x.data(), y.data(), x.size()));
    for (size_t i = 0; i < x.size(); ++i) {
      const double want = x[i] * 0.5 * std::erfc(-x[i] / std::sqrt(2.0));
      ASSERT_LE(std::fabs(y[i] - want), 0x1p-22 * std::fabs(x[i]) + 0x1p-149)
          << "gelu(" << x[i] << ") on " << name(isa);
    }
  }
}

TEST(Math, NanStaysNanAndInfinitiesHaveTheirLimits) {
  const float in[] = {test::kNaN, -test::kNaN, test::kInf, -test::kInf, 0.f, -1.f, 1e-45f, 3e38f};
  struct Want {
    const char* name;
    float inf, minus_inf, zero;
  };
  const float nan = test::kNaN, inf = test::kInf;
  for (Isa isa : isas_of_this_machine())
    for (const Want& w : {Want{"exp", inf, 0, 1},
                          {"exp2_low", inf, 0, 1},
                          {"expm1", inf, -1, 0},
                          {"log", inf, nan, -inf},
                          {"log1p", inf, nan, 0},
                          {"tanh", 1, -1, 0},
                          {"erf", 1, -1, 0},
                          {"sigmoid", 1, 0, 0.5f},
                          {"silu", inf, nan, 0},
                          {"gelu_erf", inf, nan, 0},
                          {"gelu_tanh", inf, nan, 0},
                          {"relu", inf, 0, 0}}) {
      float y[8];
      ASSERT_TRUE(probe(isa)(w.name, in, y, 8));
      const std::string where = cat(w.name, " on ", name(isa));
      EXPECT_TRUE(std::isnan(y[0]) && std::isnan(y[1])) << where;
      if (std::string(w.name) != "exp2_low") {  // taken up to 127 only
        EXPECT_EQ(y[2], w.inf) << where;
      }
      EXPECT_TRUE(std::isnan(w.minus_inf) ? std::isnan(y[3]) : y[3] == w.minus_inf) << where << " got " << y[3];
      EXPECT_EQ(y[4], w.zero) << where;
    }
  for (Isa isa : isas_of_this_machine()) {
    float y[8];
    probe(isa)("log", in, y, 8);
    EXPECT_TRUE(std::isnan(y[5]));
    EXPECT_NEAR(y[6], -103.2789, 1e-3) << "subnormals are not flushed";
  }
}

TEST(Math, RoundingFunctionsAreExact) {
  std::vector<float> x = points(-1e30f, 1e30f), y(x.size());
  for (float f = -4; f <= 4; f += 0.25f) x.push_back(f);
  y.resize(x.size());
  for (Isa isa : isas_of_this_machine())
    for (const auto& [name, exact] : {std::pair<const char*, float (*)(float)>{"floor", std::floor},
                                      {"ceil", std::ceil},
                                      {"trunc", std::trunc},
                                      {"round_even", std::nearbyint}}) {
      ASSERT_TRUE(probe(isa)(name, x.data(), y.data(), x.size()));
      for (size_t i = 0; i < x.size(); ++i) {
        ASSERT_EQ(y[i], exact(x[i])) << name << "(" << x[i] << ")";
        ASSERT_EQ(std::signbit(y[i]), std::signbit(exact(x[i]))) << name << "(" << x[i] << ")";
      }
    }
}

TEST(Math, HalfTypesRoundAsTensorsDo) {
  std::vector<float> x = points(-3e38f, 3e38f);
  x.insert(x.end(), {test::kNaN, test::kInf, -test::kInf, 65519.f, 65520.f, 6e-8f, 2.9e-8f, 0x1.004p0f, 0x1.00cp0f});
  std::vector<float> y(x.size());
  for (Isa isa : isas_of_this_machine()) {
    ASSERT_TRUE(probe(isa)("bf16", x.data(), y.data(), x.size()));
    for (size_t i = 0; i < x.size(); ++i) {
      const float want = bf16_to_f32(f32_to_bf16(x[i]));
      ASSERT_TRUE(std::isnan(want) ? std::isnan(y[i]) : y[i] == want) << x[i] << " on " << name(isa);
    }
    ASSERT_TRUE(probe(isa)("f16", x.data(), y.data(), x.size()));
    for (size_t i = 0; i < x.size(); ++i) {
      const float want = f16_to_f32(f32_to_f16(x[i]));
      ASSERT_TRUE(std::isnan(want) ? std::isnan(y[i]) : y[i] == want) << x[i] << " on " << name(isa);
    }
  }
}

}  // namespace
}  // namespace kpt
