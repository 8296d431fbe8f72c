// SPDX-License-Identifier: Apache-2.0
// The cut as a pure function, the kernel lane by lane on the host (emulate.h), and on a GPU against the reference.
#include "kpt/kernels/lib/cuda/gemm_small.h"

#include <gtest/gtest.h>

#include "kpt/cuda/nvrtc.h"
#include "kpt/kernels/conformance.h"
#include "kpt/kernels/lib/cpu/act_reference.h"
#include "kpt/kernels/lib/cuda/emulate.h"

#pragma GCC diagnostic push
#pragma GCC diagnostic ignored "-Wunused-parameter"
#pragma GCC diagnostic ignored "-Wunused-function"

namespace emulated {
using namespace kpt::emulate;
using kpt::SmallGemmArguments;
inline float activated(int act, float x) {
  return static_cast<float>(kpt::activate(static_cast<kpt::Act>(act), static_cast<double>(x)));
}
namespace rows {
#define ELEM bf16
#define BM 64
#define BN 64
#define STAGES 4
#define SPLIT 1
#define W_ROWS 1
#include "kpt/kernels/lib/cuda/gemm_small.cu"
}  // namespace rows
#undef W_ROWS
#undef BM
#define BM 128
#define W_ROWS 0
namespace columns {
#include "kpt/kernels/lib/cuda/gemm_small.cu"
}
#undef ELEM
#undef BM
#undef BN
#undef STAGES
#undef SPLIT
#undef W_ROWS
}  // namespace emulated

#pragma GCC diagnostic pop

namespace kpt {
namespace {

GpuTraits ampere() { return {80, 108, 40 << 20, 164 << 10}; }
GpuTraits hopper() { return {90, 132, 50 << 20, 227 << 10}; }

struct Product {
  int64_t m, n, k;
  bool w_rows, bias, residual;
  Act act = Act::none;
};

// y, x, w, bias, residual as kpt.linear has them.
conformance::Case case_of(const Product& p, DType d = DType::bf16) {
  using conformance::dense;
  std::vector<TensorDesc> inputs = {dense(d, {p.m, p.k}), dense(d, {p.n, p.k})};
  if (!p.w_rows) inputs[1].strides = {1, p.n};
  AttrList args = {In{0}, In{1}, None{}, None{}};
  if (p.bias) {
    args[2] = In{2};
    inputs.push_back(dense(d, {p.n}));
  }
  if (p.residual) {
    args[3] = In{static_cast<int>(inputs.size())};
    inputs.push_back(dense(d, {p.m, p.n}));
  }
  conformance::Case c =
      conformance::make_case(cat("small ", p.m, " ", p.n, " ", p.k, p.w_rows), "kpt.linear", inputs, args,
                             {{"act", p.act == Act::gelu ? "gelu" : "none"}}, {dense(d, {p.m, p.n})}, p.k);
  c.ranges = {{-1, 1}, {-1, 1}, {-1, 1}, {-1, 1}};
  c.scale = 1;
  return c;
}

GemmCall call_of(const Product& p, DType d = DType::bf16) {
  GemmCall call;
  call.dtype = d;
  GemmProblem& g = call.product;
  g.elem = d == DType::f16 ? Elem::f16 : Elem::bf16;
  g.m = p.m, g.n = p.n, g.k = p.k, g.x_m = p.k, g.y_m = p.n;
  g.w_n = p.w_rows ? p.k : 1, g.w_k = p.w_rows ? 1 : p.n;
  g.has_bias = p.bias, g.has_residual = p.residual, g.residual_m = p.n, g.act = p.act;
  call.at = {0, 1, p.bias ? 2 : -1, p.residual ? (p.bias ? 3 : 2) : -1};
  return call;
}

TEST(SmallGemm, CutsTheDepthWhereTilesAreFew) {
  SmallGemm g;
  ASSERT_TRUE(small_gemm(call_of({128, 1024, 1024, true, true, false}), hopper(), 64, g));
  EXPECT_EQ(g.tiles, 32);
  EXPECT_EQ(g.split, 4);
  EXPECT_EQ(g.arguments.k_part, 256);
  ASSERT_TRUE(small_gemm(call_of({128, 4096, 1024, true, true, false}), hopper(), 64, g));
  EXPECT_EQ(g.split, 1);
  ASSERT_TRUE(small_gemm(call_of({128, 1024, 1024, true, true, false}), ampere(), 64, g));
  EXPECT_EQ(g.split, 1);  // no clusters
  ASSERT_TRUE(small_gemm(call_of({128, 768, 1000, true, true, false}), hopper(), 128, g));
  EXPECT_EQ(g.arguments.k_part % 64, 0);
  EXPECT_GE(g.arguments.k_part * g.split, 1000);
  EXPECT_FALSE(small_gemm(call_of({16, 1024, 1024, true, true, false}), hopper(), 64, g));
  EXPECT_FALSE(small_gemm(call_of({128, 1023, 1024, true, true, false}), hopper(), 64, g));
  EXPECT_FALSE(small_gemm(call_of({128, 1024, 1024, true, true, false}, DType::f32), hopper(), 64, g));
}

TEST(SmallGemm, AgreesLaneByLane) {
  for (const Product& p :
       {Product{70, 520, 136, true, true, true}, Product{130, 264, 264, false, true, true},
        Product{64, 320, 328, true, false, false}, Product{200, 264, 256, false, true, false, Act::gelu}}) {
    SmallGemm g;
    const Verdict v = small_gemm(call_of(p), ampere(), p.w_rows ? 64 : 128, g);
    ASSERT_TRUE(v) << v.reason;
    for (int early : {0, 1}) {
      g.arguments.early = early;
      const CudaShape shape = plan_small_gemm(g).calls[0].shape;
      Kernel kernel{"kpt.linear",
                    "kpt",
                    "cpu",
                    "emulated",
                    0,
                    [](const Problem&) { return yes(); },
                    [&](const Problem&) -> std::unique_ptr<Launch> {
                      class Run final : public Launch {
                       public:
                        Run(const SmallGemm& gemm, const CudaShape& s) : gemm_(gemm), shape_(s) {}
                        void run(const RunArgs& args) const override {
                          const auto at = [&](int i) {
                            return i < 0 ? nullptr : static_cast<const char*>(args.inputs[i]);
                          };
                          const GemmOperands& of = gemm_.call.at;
                          emulate::Block::current().run(shape_, 7, [&] {
                            (gemm_.w_rows ? emulated::rows::gemm_small : emulated::columns::gemm_small)(
                                at(of.x), at(of.w), reinterpret_cast<const emulate::bf16*>(at(of.bias)),
                                at(of.residual), static_cast<char*>(args.outputs[0]), gemm_.arguments);
                          });
                        }

                       private:
                        SmallGemm gemm_;
                        CudaShape shape_;
                      };
                      return std::make_unique<Run>(g, shape);
                    }};
      EXPECT_EQ(conformance::check(kernel, case_of(p)), "") << p.m << " x " << p.n << " x " << p.k;
    }
  }
}

TEST(SmallGemm, CompilesWithoutSpills) {
  if (!nvrtc_here()) GTEST_SKIP() << "not checked: " << nvrtc_here().reason;
  for (bool w_rows : {true, false})
    for (int rows : {64, 128})
      for (int arch : {80, 90, 100}) {
        SmallGemm g;
        ASSERT_TRUE(
            small_gemm(call_of({128, 1024, 1024, w_rows, true, true}), arch >= 90 ? hopper() : ampere(), rows, g));
        EXPECT_EQ(check_cuda_work(plan_small_gemm(g), arch), "") << rows << " rows, split " << g.split;
      }
}

TEST(SmallGemm, OnAGpuAgreesWithTheReference) {
  if (!cuda_here()) GTEST_SKIP() << "not checked: " << cuda_here().reason;
  const CudaGuard guard(0);
  for (const DType d : {DType::bf16, DType::f16})
    for (const Product& p :
         {Product{70, 520, 136, true, true, true}, Product{130, 264, 264, false, true, true},
          Product{128, 768, 768, true, true, false, Act::gelu}, Product{128, 1024, 4096, true, true, true},
          Product{197, 1024, 1024, false, false, true}, Product{256, 3072, 768, false, true, false}})
      for (int rows : {64, 128}) {
        Kernel kernel{"kpt.linear",
                      "kpt",
                      "cuda",
                      "small",
                      0,
                      [](const Problem&) { return yes(); },
                      [&](const Problem& problem) {
                        SmallGemm g;
                        const Verdict v = small_gemm(call_of(p, d), problem.gpu, rows, g);
                        KPT_CHECK(v.ok, "test", v.reason);
                        return make_cuda_launch(plan_small_gemm(g));
                      }};
        EXPECT_EQ(conformance::check(kernel, case_of(p, d)), "") << p.m << " x " << p.n << " x " << p.k << " " << rows;
      }
}

}  // namespace
}  // namespace kpt
