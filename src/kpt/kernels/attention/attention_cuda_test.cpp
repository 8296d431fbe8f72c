// SPDX-License-Identifier: Apache-2.0
// The plans for GPUs, and the CUDA kernels run lane by lane on the host (emulate.h) against the double reference: index
// arithmetic of fragments, masks, tails and the pipeline are held here even where there is no GPU.
#include "kpt/kernels/attention/attention_cuda.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <limits>
#include <set>

#include "kpt/base/threads.h"
#include "kpt/cuda/nvrtc.h"
#include "kpt/kernels/conformance.h"
#include "kpt/kernels/lib/cpu/test_util.h"
#include "kpt/kernels/lib/cuda/emulate.h"

namespace kpt {

struct Emulated {
  std::string entry;
  std::set<std::string> defines;
  std::function<void(void**)> run;
};
static std::vector<Emulated>& emulated() {
  static std::vector<Emulated> all;
  return all;
}
static bool add_emulated(const std::string& entry, std::set<std::string> defines, std::function<void(void**)> run) {
  emulated().push_back({entry, std::move(defines), std::move(run)});
  return true;
}

}  // namespace kpt

#pragma GCC diagnostic push
#pragma GCC diagnostic ignored "-Wunused-parameter"

#define KERNEL_NAMESPACE tile128_head64
#define ELEM bf16
#define HEAD 64
#define WARPS_M 4
#define WARPS_N 1
#define M_TILES 2
#define BLOCK_N 64
#define STAGES 2
#define MIN_BLOCKS 2
#define MASK 0
#define SPLIT 0
#include "kpt/kernels/attention/emulated.inc"

#define KERNEL_NAMESPACE tile128_head96
#define ELEM f16
#define HEAD 96
#define WARPS_M 4
#define WARPS_N 1
#define M_TILES 2
#define BLOCK_N 32
#define STAGES 2
#define MIN_BLOCKS 2
#define MASK 1
#define SPLIT 0
#include "kpt/kernels/attention/emulated.inc"

#define KERNEL_NAMESPACE tile64_head256
#define ELEM bf16
#define HEAD 256
#define WARPS_M 4
#define WARPS_N 1
#define M_TILES 1
#define BLOCK_N 32
#define STAGES 2
#define MIN_BLOCKS 1
#define MASK 0
#define SPLIT 0
#include "kpt/kernels/attention/emulated.inc"

#define KERNEL_NAMESPACE tile64_head32
#define ELEM bf16
#define HEAD 32
#define WARPS_M 4
#define WARPS_N 1
#define M_TILES 1
#define BLOCK_N 64
#define STAGES 2
#define MIN_BLOCKS 2
#define MASK 2
#define SPLIT 0
#include "kpt/kernels/attention/emulated.inc"

#define KERNEL_NAMESPACE tile32_head32
#define ELEM f16
#define HEAD 32
#define WARPS_M 2
#define WARPS_N 2
#define M_TILES 1
#define BLOCK_N 64
#define STAGES 2
#define MIN_BLOCKS 2
#define MASK 3
#define ADDED f32
#define SPLIT 0
#include "kpt/kernels/attention/emulated.inc"

#define KERNEL_NAMESPACE tile32_head64_alone
#define ELEM bf16
#define HEAD 64
#define WARPS_M 2
#define WARPS_N 4
#define M_TILES 1
#define BLOCK_N 128
#define STAGES 2
#define MIN_BLOCKS 1
#define MASK 1
#define SPLIT 0
#include "kpt/kernels/attention/emulated.inc"

#define KERNEL_NAMESPACE tile64_head128_alone
#define ELEM f16
#define HEAD 128
#define WARPS_M 4
#define WARPS_N 2
#define M_TILES 1
#define BLOCK_N 128
#define STAGES 2
#define MIN_BLOCKS 1
#define MASK 0
#define SPLIT 0
#include "kpt/kernels/attention/emulated.inc"

#define KERNEL_NAMESPACE tile128_head32_alone
#define ELEM bf16
#define HEAD 32
#define WARPS_M 8
#define WARPS_N 1
#define M_TILES 1
#define BLOCK_N 128
#define STAGES 2
#define MIN_BLOCKS 1
#define MASK 2
#define SPLIT 0
#include "kpt/kernels/attention/emulated.inc"

#define KERNEL_NAMESPACE tile16_head64
#define ELEM bf16
#define HEAD 64
#define WARPS_M 1
#define WARPS_N 4
#define M_TILES 1
#define BLOCK_N 64
#define STAGES 3
#define MIN_BLOCKS 2
#define MASK 0
#define SPLIT 0
#include "kpt/kernels/attention/emulated.inc"

#define KERNEL_NAMESPACE tile16_head128_split
#define ELEM bf16
#define HEAD 128
#define WARPS_M 1
#define WARPS_N 4
#define M_TILES 1
#define BLOCK_N 64
#define STAGES 3
#define MIN_BLOCKS 2
#define MASK 1
#define SPLIT 1
#include "kpt/kernels/attention/emulated.inc"

#define KERNEL_NAMESPACE tile16_head64_split
#define ELEM f16
#define HEAD 64
#define WARPS_M 1
#define WARPS_N 4
#define M_TILES 1
#define BLOCK_N 64
#define STAGES 3
#define MIN_BLOCKS 2
#define MASK 3
#define ADDED f16
#define SPLIT 1
#include "kpt/kernels/attention/emulated.inc"

#define KERNEL_NAMESPACE f32_64_head32
#define ELEM f32
#define HEAD 32
#define ROWS 64
#define BLOCK_N 64
#define STAGES 2
#define MIN_BLOCKS 2
#define MASK 1
#define SPLIT 0
#include "kpt/kernels/attention/emulated.inc"

#define KERNEL_NAMESPACE f32_32_head128
#define ELEM f32
#define HEAD 128
#define ROWS 32
#define BLOCK_N 32
#define STAGES 2
#define MIN_BLOCKS 1
#define MASK 2
#define SPLIT 0
#include "kpt/kernels/attention/emulated.inc"

#define KERNEL_NAMESPACE f32_16_head64
#define ELEM f32
#define HEAD 64
#define ROWS 16
#define BLOCK_N 64
#define STAGES 2
#define MIN_BLOCKS 2
#define MASK 3
#define SPLIT 0
#define ADDED f32
#include "kpt/kernels/attention/emulated.inc"

#define KERNEL_NAMESPACE f32_16_head64_split
#define ELEM f32
#define HEAD 64
#define ROWS 16
#define BLOCK_N 64
#define STAGES 3
#define MIN_BLOCKS 2
#define MASK 0
#define SPLIT 1
#include "kpt/kernels/attention/emulated.inc"

#define JOIN(SPACE, TYPE, TYPE_TEXT, ADDS_TEXT)                                                                    \
  inline const bool SPACE##_added =                                                                                \
      kpt::add_emulated("attention_join", {"ELEM=" TYPE_TEXT, "ADDS=" ADDS_TEXT}, [](void** p) {                   \
        SPACE::attention_join(*static_cast<const float**>(p[0]), *static_cast<const kpt::emulate::float2**>(p[1]), \
                              *static_cast<char**>(p[2]), *static_cast<int*>(p[3]),                                \
                              *static_cast<kpt::AttentionArguments*>(p[4]));                                       \
      });
#define ELEM bf16
#define ADDS 0
namespace join_bf16 {
using namespace kpt::emulate;
using kpt::AttentionArguments;
#include "kpt/kernels/attention/attention_join.cu"
}  // namespace join_bf16
#undef ELEM
#undef ADDS
#define ELEM f16
#define ADDS 1
namespace join_f16 {
using namespace kpt::emulate;
using kpt::AttentionArguments;
#include "kpt/kernels/attention/attention_join.cu"
}  // namespace join_f16
#undef ELEM
#undef ADDS
#define ELEM f32
#define ADDS 0
namespace join_f32 {
using namespace kpt::emulate;
using kpt::AttentionArguments;
#include "kpt/kernels/attention/attention_join.cu"
}  // namespace join_f32
#undef ELEM
#undef ADDS
JOIN(join_f32, f32, "f32", "0")
JOIN(join_bf16, bf16, "bf16", "0")
JOIN(join_f16, f16, "f16", "1")
#pragma GCC diagnostic pop

namespace kpt {
namespace {

using test::random;

constexpr double kLowest = std::numeric_limits<float>::lowest();
constexpr GpuTraits kH200{90, 132, 60 << 20, 232448};
constexpr GpuTraits kTiny{90, 1, 1 << 20, 232448};  // one multiprocessor: the largest tiles

class EmulatedLaunch final : public Launch {
 public:
  explicit EmulatedLaunch(CudaWork work) : work_(std::move(work)) {}
  size_t workspace_bytes() const override { return work_.workspace_bytes; }
  std::string config() const override { return work_.config; }
  void run(const RunArgs& args) const override {
    for (const CudaCall& call : work_.calls) {
      const Emulated& kernel = find(call.program);
      std::vector<const char*> pointers(call.params.size());
      std::vector<void*> addresses;
      for (size_t i = 0; i < call.params.size(); ++i) {
        const CudaParam& p = call.params[i];
        const auto index = static_cast<size_t>(p.index);
        switch (p.kind) {
          case CudaParam::Kind::input: pointers[i] = static_cast<const char*>(args.inputs[index]) + p.offset; break;
          case CudaParam::Kind::output: pointers[i] = static_cast<char*>(args.outputs[index]) + p.offset; break;
          case CudaParam::Kind::workspace: pointers[i] = static_cast<char*>(args.workspace) + p.offset; break;
          case CudaParam::Kind::value: break;
          case CudaParam::Kind::input_matrix:
          case CudaParam::Kind::output_matrix: throw_error(ErrorKind::internal, "test", "boxes are not emulated");
        }
        addresses.push_back(p.kind == CudaParam::Kind::value ? const_cast<char*>(p.bytes.data())
                                                             : static_cast<void*>(&pointers[i]));
      }
      emulate::Block::current().run(call.shape, 1, [&] { kernel.run(addresses.data()); });
    }
  }

 private:
  static const Emulated& find(const CudaProgram& program) {
    for (const Emulated& e : emulated()) {
      const bool all = std::all_of(program.defines.begin(), program.defines.end(), [&](const std::string& d) {
        return e.defines.count(d) || d.rfind("ADDED=", 0) == 0;
      });
      if (all && e.entry == program.entry) return e;
    }
    std::string text;
    for (const std::string& d : program.defines) text += " " + d;
    throw_error(ErrorKind::internal, "test", cat("no emulated ", program.entry, text));
  }
  CudaWork work_;
};

struct Case {
  DType dtype = DType::bf16;
  int64_t b = 1, h = 1, kv = 1, s = 1, t = 1, d = 64, e = 64;
  std::string kind = "none", layout = "bhsd";
  bool causal = false;
  DType added = DType::f32;
  GpuTraits gpu = kTiny;
  std::vector<int> order = {};  // of axes in memory
  int gap = 0;
  double keep = 0.7;
};

Problem problem_of(const Case& c, std::vector<Tensor>& inputs) {
  inputs = {random(c.dtype, {c.b, c.h, c.s, c.d}, 1, c.order, c.gap),
            random(c.dtype, {c.b, c.kv, c.t, c.d}, 2, c.order, c.gap),
            random(c.dtype, {c.b, c.kv, c.t, c.e}, 3, c.order, c.gap)};
  std::mt19937 engine(4);
  const auto bools = [&](const Dims& sizes) {
    Tensor t = Tensor::zeros(DType::boolean, sizes);
    for (int64_t i = 0; i < t.desc.numel(); ++i) t.set(i, engine() % 1000 < c.keep * 1000);
    return t;
  };
  if (c.kind == "key") inputs.push_back(bools({c.b, c.t}));
  if (c.kind == "bool") inputs.push_back(bools({c.b, 1, c.s, c.t}));
  if (c.kind == "add") inputs.push_back(random(c.added, {1, c.h, c.s, c.t}, 5));
  Problem p;
  p.op = "kpt.attention";
  for (size_t i = 0; i < 4; ++i)
    i < inputs.size() ? p.args.push_back(In{static_cast<int>(i)}) : p.args.push_back(None{});
  p.kwargs = {{"scale", 0.2}, {"causal", c.causal}, {"mask_kind", c.kind}, {"layout", c.layout}};
  p.inputs = test::descs(inputs);
  p.outputs = {
      TensorDesc::contiguous(c.dtype, c.layout == "bhsd" ? Dims{c.b, c.h, c.s, c.e} : Dims{c.b, c.s, c.h, c.e})};
  p.gpu = c.gpu;
  return p;
}

// The emulated kernel against the reference; the configuration begins with `config`.
void check(const Case& c, const std::string& config, const std::function<void(std::vector<Tensor>&)>& edit = nullptr) {
#ifdef __SANITIZE_THREAD__
  GTEST_SKIP() << "fibers are unknown to the thread sanitizer";
#endif
  std::vector<Tensor> inputs;
  const Problem p = problem_of(c, inputs);
  if (edit) edit(inputs);
  AttentionCall call, wide;
  ASSERT_EQ(attention_call(p, call).reason, "");
  ASSERT_EQ(attention_cuda_supports(call, c.gpu).reason, "");
  const EmulatedLaunch launch(attention_cuda_work(call, c.gpu));
  EXPECT_EQ(launch.config().rfind(config, 0), 0u) << launch.config() << ", want " << config;
  const Tensor got = test::run(launch, p, inputs)[0];
  const Problem wide_problem = test::widened(p);
  ASSERT_TRUE(attention_call(wide_problem, wide));
  const Tensor want = test::run(*make_attention_reference(wide), wide_problem, test::widened(inputs))[0];
  EXPECT_EQ(conformance::compare(got, want, conformance::tolerance(c.dtype, c.t + c.d), 0.5), "")
      << p.str() << " " << launch.config();
}

TEST(AttentionCuda, TilesOf128Rows) {
  Case c{.h = 2, .kv = 2, .s = 150, .t = 150};
  check(c, "head 64, tile 128x64, warps 4x1");
  c.layout = "bshd", c.causal = true;
  check(c, "head 64, tile 128x64, warps 4x1");
  c.order = {0, 2, 1, 3};  // as a projection leaves them
  c.kv = 1, c.t = 70;
  check(c, "head 64, tile 128x64, warps 4x1");
  c = {.s = 130, .t = 5, .d = 40, .e = 33};  // values element by element
  check(c, "head 64, tile 128x64, warps 4x1");
  c = {.s = 130, .t = 0};
  check(c, "head 64, tile 128x64, warps 4x1");
}

TEST(AttentionCuda, TilesOf128RowsWithAKeyMask) {
  Case c{.dtype = DType::f16, .b = 2, .s = 129, .t = 100, .d = 80, .e = 96, .kind = "key"};
  check(c, "head 96, tile 128x32, warps 4x1");
  c.causal = true;
  check(c, "head 96, tile 128x32, warps 4x1");
  c.keep = 0;
  check(c, "head 96, tile 128x32, warps 4x1");
  c.keep = 1, c.causal = false;
  for (int64_t e : {96, 95}) {  // by chunks, by elements
    c.e = e;
    check(c, "head 96, tile 128x32", [&](std::vector<Tensor>& in) {  // padding may hold anything
      for (int64_t t = 0; t < 100; ++t) {
        if (t >= 37 && t < 70 && t != 50) continue;
        in[3].set(t, 0);
        in[1].set(t * 80, test::kNaN);
        in[2].set(t * e, test::kNaN);
      }
    });
  }
}

TEST(AttentionCuda, TilesOf64Rows) {
  check({.s = 40, .t = 70, .d = 256, .e = 200}, "head 256, tile 64x32, warps 4x1");
  Case c{.b = 2, .h = 2, .kv = 2, .s = 50, .t = 90, .d = 32, .e = 32, .kind = "bool"};
  check(c, "head 32, tile 64x64, warps 4x1");
  c.t = 91, c.causal = true;  // rows of an odd length: no pairs
  check(c, "head 32, tile 64x64, warps 4x1", [](std::vector<Tensor>& in) {
    for (int64_t t = 0; t < 91; ++t) in[3].set(3 * 91 + t, 0);  // sees nothing: 0
  });
}

TEST(AttentionCuda, WarpsAlongTheKeys) {
  Case c{.dtype = DType::f16, .h = 2, .kv = 2, .s = 20, .t = 150, .d = 32, .e = 30, .kind = "add"};
  check(c, "head 32, tile 32x64, warps 2x2");
  c.t = 77, c.layout = "bshd";
  check(c, "head 32, tile 32x64, warps 2x2", [](std::vector<Tensor>& in) {
    for (int64_t t = 0; t < 77; ++t) in[3].set(3 * 77 + t, -test::kInf);  // NaN
    for (int64_t t = 0; t < 77; ++t) in[3].set(4 * 77 + t, kLowest);      // all keys alike
  });
  c = {.h = 2, .kv = 1, .s = 3, .t = 140, .gpu = {90, 1, 1 << 20, 232448}};
  check(c, "head 64, tile 16x64, warps 1x4, stages 3, heads 2 a tile, blocks 1");
  c.causal = true, c.order = {3, 2, 1, 0};
  check(c, "head 64, tile 16x64, warps 1x4, stages 3, heads 2 a tile, blocks 1");
}

TEST(AttentionCuda, EightWarpsWhereABlockIsAlone) {
  Case c{.h = 2, .kv = 2, .s = 70, .t = 150, .kind = "key", .gpu = kH200};
  check(c, "head 64, tile 32x128, warps 2x4, stages 2, blocks 6");
  c.causal = true, c.layout = "bshd", c.order = {0, 2, 1, 3};
  check(c, "head 64, tile 32x128, warps 2x4, stages 2, blocks 6");
  c = {.dtype = DType::f16, .h = 2, .kv = 1, .s = 80, .t = 140, .d = 100, .e = 128, .gpu = {90, 4, 1 << 20, 232448}};
  check(c, "head 128, tile 64x128, warps 4x2, stages 2, blocks 4");
  c.causal = true;
  check(c, "head 128, tile 64x128, warps 4x2, stages 2, blocks 4");
  c = {.h = 2, .kv = 2, .s = 130, .t = 131, .d = 32, .e = 32, .kind = "bool", .gpu = {90, 4, 1 << 20, 232448}};
  check(c, "head 32, tile 128x128, warps 8x1, stages 2, blocks 4");
}

TEST(AttentionCuda, TilesOfRealShapes) {
  const auto cut = [](const Case& c) {
    std::vector<Tensor> inputs;
    AttentionCall call;
    EXPECT_TRUE(attention_call(problem_of(c, inputs), call));
    const AttentionConfig a = attention_config(call, kH200);
    return cat(a.rows, "x", a.block_n, " ", a.warps_m, "x", a.warps_n, " splits ", a.splits);
  };
  EXPECT_EQ(cut({.h = 12, .kv = 12, .s = 64, .t = 64}), "16x64 1x4 splits 1");
  EXPECT_EQ(cut({.h = 16, .kv = 16, .s = 197, .t = 197}), "32x128 2x4 splits 1");
  EXPECT_EQ(cut({.h = 16, .kv = 16, .s = 384, .t = 384}), "64x128 4x2 splits 1");
  EXPECT_EQ(cut({.b = 8, .h = 12, .kv = 12, .s = 128, .t = 128}), "128x128 8x1 splits 1");
  EXPECT_EQ(cut({.b = 32, .h = 16, .kv = 16, .s = 128, .t = 128}), "128x64 4x1 splits 1");
  EXPECT_EQ(cut({.h = 8, .kv = 8, .s = 20, .t = 4096}), "16x64 1x4 splits 32");  // 16 blocks would read all keys
  EXPECT_EQ(cut({.h = 32, .kv = 1, .s = 1, .t = 2048}), "16x64 1x4 splits 16");
}

// Conformance's cases are small: few of them take the tiles of many blocks.
TEST(AttentionCuda, TilesOfManyBlocksCompileWithoutSpills) {
  if (!nvrtc_here()) GTEST_SKIP() << "not checked: " << nvrtc_here().reason;
  std::vector<std::pair<CudaWork, int>> works;
  std::set<std::string> tiles;
  for (const char* kind : {"none", "key", "bool"})
    for (int64_t head : {64, 128})
      for (int64_t rows : {128, 60, 30}) {
        const Case c{.b = 40, .h = 8, .kv = 8, .s = rows, .t = 70, .d = head, .e = head, .kind = kind, .gpu = kH200};
        std::vector<Tensor> inputs;
        AttentionCall call;
        ASSERT_TRUE(attention_call(problem_of(c, inputs), call));
        const AttentionConfig a = attention_config(call, kH200);
        tiles.insert(cat(a.rows, " ", a.warps_m, "x", a.warps_n));
        for (int arch : {80, 90, 100}) works.emplace_back(attention_cuda_work(call, kH200), arch);
      }
  EXPECT_EQ(tiles, (std::set<std::string>{"128 4x1", "64 4x1", "32 2x2"}));
  std::vector<std::string> faults(works.size());
  parallel(static_cast<int64_t>(works.size()), 2, [&](int64_t i, int) {
    const auto at = static_cast<size_t>(i);
    faults[at] = check_cuda_work(works[at].first, works[at].second);
  });
  for (const std::string& fault : faults) EXPECT_EQ(fault, "");
}

TEST(AttentionCuda, SplitKeys) {
  Case c{.b = 2, .h = 4, .kv = 2, .s = 1, .t = 400, .d = 128, .e = 128, .kind = "key", .gpu = kH200};
  check(c, "head 128, tile 16x64, warps 1x4, stages 3, heads 2 a tile, splits 3, blocks 12");
  c.keep = 0;
  check(c, "head 128, tile 16x64, warps 1x4");
  c = {.dtype = DType::f16,
       .h = 2,
       .kv = 2,
       .s = 9,
       .t = 500,
       .d = 64,
       .e = 60,
       .kind = "add",
       .added = DType::f16,
       .gpu = kH200};
  check(c, "head 64, tile 16x64, warps 1x4, stages 3, splits 3, blocks 6");
  c.causal = true;
  check(c, "head 64, tile 16x64, warps 1x4, stages 3, splits 3, blocks 6", [](std::vector<Tensor>& in) {
    for (int64_t t = 0; t < 500; ++t) in[3].set(3 * 500 + t, -test::kInf);  // NaN
  });
}

TEST(AttentionCuda, F32) {
  Case c{.dtype = DType::f32, .b = 2, .h = 2, .kv = 2, .s = 100, .t = 70, .d = 32, .e = 32, .kind = "key"};
  check(c, "head 32, tile 64x64");
  c.causal = true, c.layout = "bshd", c.order = {0, 2, 1, 3};
  check(c, "head 32, tile 64x64");
  c = {.dtype = DType::f32, .h = 2, .kv = 1, .s = 30, .t = 70, .d = 80, .e = 97, .kind = "bool"};
  check(c, "head 128, tile 32x32");
  c = {.dtype = DType::f32, .h = 2, .kv = 2, .s = 11, .t = 90, .kind = "add"};
  check(c, "head 64, tile 16x64, warps 4x1, stages 2, blocks 2", [](std::vector<Tensor>& in) {
    for (int64_t t = 0; t < 90; ++t) in[3].set(3 * 90 + t, -test::kInf);  // NaN
    for (int64_t t = 0; t < 90; ++t) in[3].set(4 * 90 + t, kLowest);      // all keys alike
  });
  c = {.dtype = DType::f32, .h = 4, .kv = 2, .s = 2, .t = 500, .gpu = kH200};
  check(c, "head 64, tile 16x64, warps 4x1, stages 3, heads 2 a tile, splits 3, blocks 6");
}

}  // namespace
}  // namespace kpt
