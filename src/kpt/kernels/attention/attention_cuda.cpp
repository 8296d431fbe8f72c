// SPDX-License-Identifier: Apache-2.0
#include "kpt/kernels/attention/attention_cuda.h"

#include <algorithm>
#include <array>
#include <limits>

#include "kpt/kernels/attention/attention_timed.h"

namespace kpt {
namespace {

constexpr double kLog2E = 1.4426950408889634;
constexpr int kHeads[] = {32, 64, 96, 128, 256};  // padded sizes: few, since each is compiled
constexpr int kHeadsF32[] = {32, 64, 128};
constexpr int64_t kFewQueries = 8;    // up to here the query heads of one key head share a tile
constexpr int64_t kLeastSplit = 128;  // keys that are worth a block

// 0: accumulators of larger heads would not fit the registers.
int head_class(DType dtype, const AttentionProblem& p) {
  const int64_t size = std::max(p.d, p.e);
  const auto least = [&](const auto& heads) {
    for (int head : heads)
      if (size <= head) return head;
    return 0;
  };
  return dtype == DType::f32 ? least(kHeadsF32) : least(kHeads);
}

// A mask that is one row for all heads and queries is a key mask; strides of axes of size 1 do not count.
AttentionProblem plain(AttentionProblem p) {
  if (p.b == 1) p.q_b = p.k_b = p.v_b = p.mask_b = 0;
  if (p.h == 1) p.q_h = p.mask_h = 0;
  if (p.kv_heads == 1) p.k_h = p.v_h = 0;
  if (p.s == 1) p.q_s = p.mask_s = 0;
  if (p.t == 1) p.k_t = p.v_t = 0;
  if (p.d <= 1) p.q_d = p.k_d = 1;
  if (p.e <= 1) p.v_e = 1;
  if (p.mask == MaskKind::boolean && p.mask_h == 0 && p.mask_s == 0) p.mask = MaskKind::key;
  return p;
}

int mask_number(MaskKind kind) {
  switch (kind) {
    case MaskKind::none: return 0;
    case MaskKind::key: return 1;
    case MaskKind::boolean: return 2;
    case MaskKind::add: break;
  }
  return 3;
}

// Each thread reads a mask of its own rows: registers for less else.
bool per_row(const AttentionProblem& p) { return p.mask == MaskKind::boolean || p.mask == MaskKind::add; }

void set_shared_bytes(DType dtype, const AttentionProblem& p, AttentionConfig& c) {
  const int64_t pitch = c.head * static_cast<int64_t>(size_of(dtype)) + 16;
  const int64_t pipeline = (c.rows + 2 * c.stages * c.block_n) * pitch;
  const int64_t weights = dtype == DType::f32 ? 4 * c.rows * (c.block_n + 4) : 0;
  const int64_t bits = p.mask == MaskKind::key ? 4 * ((p.t + 31) / 32 + c.block_n / 32) : 0;
  const int64_t meeting = static_cast<int64_t>(c.warps_n) * c.rows * (8 + 4 * (c.head + 4));
  c.shared_bytes = std::max(pipeline + weights + bits, c.warps_n > 1 ? meeting : 0);
}

AttentionConfig cut_f32(const AttentionProblem& p, int rows) {
  AttentionConfig c;
  c.head = head_class(DType::f32, p);
  c.rows = rows;
  c.block_n = c.head > 64 ? 32 : 64;
  c.min_blocks = c.head > 64 ? 1 : 2;
  return c;
}

// Tiles of `rows`, with what registers allow (ptxas -v for sm_80, sm_90a and sm_100a: no spills). 32 rows a warp read
// each key once for two products, which halves the traffic of shared memory.
AttentionConfig cut(DType dtype, const AttentionProblem& p, int rows) {
  if (dtype == DType::f32) return cut_f32(p, rows);
  AttentionConfig c;
  c.head = head_class(dtype, p);
  c.rows = rows;
  c.block_n = c.head > 128 ? 32 : 64;
  c.min_blocks = c.head > 128 ? 1 : 2;
  if (rows == 128) {
    if (c.head > 64 || per_row(p) || (c.head > 32 && p.mask != MaskKind::none)) c.block_n = 32;
  } else if (rows == 32) {
    c.warps_m = c.warps_n = 2;
  } else if (rows == 16) {
    c.warps_m = 1;
    c.warps_n = 4;
    c.block_n = 64;
  }
  return c;
}

bool allowed(DType dtype, const AttentionProblem& p, int rows) {
  if (rows != 128) return true;
  return dtype != DType::f32 && head_class(dtype, p) <= (per_row(p) ? 64 : 128);
}

int64_t ceil_div(int64_t a, int64_t b) { return (a + b - 1) / b; }

void set_tiles(const AttentionProblem& p, int64_t pack, AttentionConfig& c) {
  c.pack = static_cast<int>(pack);
  c.tiles = ceil_div(p.s * pack, c.rows);
  c.blocks = p.b * (p.h / pack) * c.tiles;
}

// No more blocks than multiprocessors: the time is that of one block, whose keys eight warps share, 128 at a time. On
// an H200, 16 heads of 64: 128 keys took 3.3 us in 32 rows, 5.1 in tiles of four warps; 197 keys 4.7 and 7.3; 512 keys
// in 64 rows 8.5 and 15.3; 96 heads and 128 keys in 128 rows 5.6 and 6.7. Up to 64 keys, where one block of them is
// all, smaller tiles were faster.
void cut_alone(const AttentionCall& call, const AttentionProblem& p, const GpuTraits& gpu, int64_t pack,
               AttentionConfig& out) {
  AttentionConfig c;
  c.head = head_class(call.dtype, p);
  if (call.dtype == DType::f32 || c.head > 128 || p.s * pack <= 16 || p.t <= 64) return;
  c.block_n = 128;
  c.split_keys = p.t;
  for (const auto& [rows, warps_m, warps_n] : {std::array{32, 2, 4}, std::array{64, 4, 2}, std::array{128, 8, 1}}) {
    c.rows = rows, c.warps_m = warps_m, c.warps_n = warps_n;
    set_tiles(p, pack, c);
    set_shared_bytes(call.dtype, p, c);
    if (c.blocks > gpu.multiprocessors || c.shared_bytes + 64 > gpu.shared_bytes) continue;
    out = c;
    return;
  }
}

constexpr int64_t kStart = 64;  // of a block, in keys

// Time in units of one key's work in a block: rounds of blocks, each of `keys` and a start, and the join.
int64_t set_splits(const AttentionProblem& p, const GpuTraits& gpu, AttentionConfig& c) {
  const int64_t whole = p.b * (p.h / c.pack) * c.tiles;
  const int64_t fit = std::clamp<int64_t>(gpu.shared_bytes / std::max<int64_t>(c.shared_bytes, 1), 1, 4);
  const int64_t slots = std::max(gpu.multiprocessors, 1) * fit;
  int64_t best = std::numeric_limits<int64_t>::max();
  for (int64_t n = 1; n <= std::max<int64_t>(1, p.t / kLeastSplit); ++n) {
    const int64_t keys = ceil_div(ceil_div(p.t, n), c.block_n) * c.block_n;
    const int64_t parts = ceil_div(p.t, keys);
    const int64_t cost = ceil_div(whole * parts, slots) * (keys + kStart) + (parts > 1 ? 128 + 2 * parts : 0);
    if (cost >= best) continue;
    best = cost;
    c.splits = static_cast<int>(parts);
    c.split_keys = keys;
  }
  return best;
}

struct Named {
  const char* name;
  int64_t bytes;
};

}  // namespace

AttentionConfig attention_config(const AttentionCall& call, const GpuTraits& gpu) {
  const AttentionProblem p = plain(call.p);
  const int64_t group = std::max<int64_t>(1, p.h / p.kv_heads);
  const int64_t pack = p.s <= kFewQueries ? group : 1, rows = p.s * pack;
  // Three quarters of the multiprocessors at work beat smaller tiles, which read all keys again.
  const int64_t enough = std::max(gpu.multiprocessors, 1) * 3 / 4;
  AttentionConfig c;
  for (int height : {128, 64, 32, 16}) {
    if (height > 16 && (!allowed(call.dtype, p, height) || rows <= height / 2)) continue;
    c = cut(call.dtype, p, height);
    set_tiles(p, pack, c);
    if (c.blocks >= enough) break;
  }
  c.split_keys = p.t;
  set_shared_bytes(call.dtype, p, c);
  int64_t time = std::numeric_limits<int64_t>::max();
  if (c.rows == 16) {
    if (p.t > 2 * c.block_n && c.head * static_cast<int>(size_of(call.dtype)) <= 256) c.stages = 3;
    set_shared_bytes(call.dtype, p, c);
    time = set_splits(p, gpu, c);
    c.blocks *= c.splits;
  }
  if (p.t / 2 + kStart <= time) cut_alone(call, p, gpu, pack, c);  // twice the warps
  return c;
}

Verdict attention_cuda_supports(const AttentionCall& call, const GpuTraits& gpu) {
  const AttentionProblem p = plain(call.p);
  if (gpu.arch != 0 && gpu.arch < 80) return no("got compute capability ", gpu.arch, ", want 80 or newer");
  if (call.dtype == DType::f64) return no("got f64, want f32, bf16 or f16: scores are f32");
  if (p.mask == MaskKind::add && call.mask_dtype == DType::f64) return no("got a mask of f64: scores are f32");
  if (head_class(call.dtype, p) == 0)
    return no("got heads of ", std::max(p.d, p.e), ", want at most ", call.dtype == DType::f32 ? 128 : 256);
  if (!(p.scale > 0)) return no("got scale ", p.scale, ", want a positive one: the maximum is taken before it");
  constexpr int64_t kMost = std::numeric_limits<int32_t>::max();
  const auto size = static_cast<int64_t>(size_of(call.dtype));
  for (const Named& n : {Named{"key stride", p.k_t * size}, Named{"value stride", p.v_t * size},
                         Named{"element stride", std::max({p.q_d, p.k_d, p.v_e}) * size},
                         Named{"length", 2 * std::max(p.s * p.h, p.t)}, Named{"batch", p.b * p.h}})
    if (n.bytes > kMost) return no("got a ", n.name, " of ", n.bytes, ", want 32 bits");
  if (p.b * p.h * p.s * p.e == 0) return yes();
  const AttentionConfig c = attention_config(call, gpu);
  if (c.blocks > kMost) return no("got ", c.blocks, " blocks, want 32 bits");
  if (c.shared_bytes + 64 > gpu.shared_bytes)
    return no("got ", p.t, " keys: ", c.shared_bytes, " bytes of shared memory, want ", gpu.shared_bytes);
  return yes();
}

namespace {

bool multiples_of_16(std::initializer_list<int64_t> bytes) {
  return std::all_of(bytes.begin(), bytes.end(), [](int64_t n) { return n % 16 == 0; });
}

AttentionArguments arguments(const AttentionCall& call, const AttentionConfig& c) {
  const AttentionProblem p = plain(call.p);
  const auto size = static_cast<int64_t>(size_of(call.dtype));
  const auto narrow = [](int64_t n) { return static_cast<int>(n); };
  AttentionArguments a{};
  a.q_b = p.q_b * size, a.q_h = p.q_h * size, a.q_s = p.q_s * size, a.q_d = narrow(p.q_d * size);
  a.k_b = p.k_b * size, a.k_h = p.k_h * size, a.k_t = narrow(p.k_t * size), a.k_d = narrow(p.k_d * size);
  a.v_b = p.v_b * size, a.v_h = p.v_h * size, a.v_t = narrow(p.v_t * size), a.v_e = narrow(p.v_e * size);
  a.y_b = p.y_b * size, a.y_h = p.y_h * size, a.y_s = p.y_s * size;
  a.mask_b = p.mask_b, a.mask_h = p.mask_h, a.mask_s = p.mask_s, a.mask_t = p.mask_t;
  a.s = narrow(p.s), a.t = narrow(p.t), a.d = narrow(p.d), a.e = narrow(p.e);
  a.group = narrow(p.h / p.kv_heads), a.pack = c.pack, a.units = narrow(p.h / c.pack);
  a.rows = narrow(p.s * c.pack), a.tiles = narrow(c.tiles);
  a.splits = c.splits, a.split_keys = narrow(c.split_keys);
  a.units_total = narrow(p.b * a.units);
  a.causal = p.causal;
  a.scale = static_cast<float>(p.scale * kLog2E);
  const int64_t lane = 16 / size;  // elements
  a.q_wide = p.q_d == 1 && p.d % lane == 0 && multiples_of_16({a.q_b, a.q_h, a.q_s});
  a.k_wide = p.k_d == 1 && p.d % lane == 0 && multiples_of_16({a.k_b, a.k_h, a.k_t});
  a.v_wide = p.v_e == 1 && p.e % lane == 0 && multiples_of_16({a.v_b, a.v_h, a.v_t});
  a.y_wide = multiples_of_16({a.y_b, a.y_h, a.y_s}) && p.e % lane == 0;
  a.mask_pairs = p.mask_t == 1 && (p.mask_b | p.mask_h | p.mask_s | p.t) % 2 == 0;
  return a;
}

CudaCall main_call(const AttentionCall& call, const AttentionConfig& c, const AttentionArguments& a) {
  const AttentionProblem p = plain(call.p);
  CudaCall out;
  const bool f32 = call.dtype == DType::f32;
  out.program.name = f32 ? "attention/attention_f32.cu" : "attention/attention.cu";
  out.program.text = cuda_text(out.program.name);
  out.program.entry = "attention";
  out.program.defines = {cat("ELEM=", cuda_type(call.dtype)), cat("HEAD=", c.head),
                         cat("BLOCK_N=", c.block_n),          cat("STAGES=", c.stages),
                         cat("MIN_BLOCKS=", c.min_blocks),    cat("MASK=", mask_number(p.mask)),
                         cat("SPLIT=", c.splits > 1 ? 1 : 0)};
  std::vector<std::string>& defines = out.program.defines;
  if (f32)
    defines.push_back(cat("ROWS=", c.rows));
  else
    for (const std::string& d :
         {cat("WARPS_M=", c.warps_m), cat("WARPS_N=", c.warps_n), cat("M_TILES=", c.rows / (16 * c.warps_m))})
      defines.push_back(d);
  if (p.mask == MaskKind::add) defines.push_back(cat("ADDED=", cuda_type(call.mask_dtype)));
  out.shape.grid = {static_cast<uint32_t>(c.blocks), 1, 1};
  out.shape.block = {static_cast<uint32_t>(c.threads()), 1, 1};
  out.shape.shared_bytes = static_cast<uint32_t>(c.shared_bytes);
  out.shape.overlap = true;
  out.params = {in_param(call.q), in_param(call.k), in_param(call.v),
                call.mask < 0 ? null_param() : in_param(call.mask)};
  if (c.splits > 1) {
    const int64_t rows = static_cast<int64_t>(c.splits) * a.units_total * a.rows;
    out.params.push_back(work_param());
    out.params.push_back(work_param(rows * c.head * 4));
  } else {
    out.params.push_back(out_param(0));
    out.params.push_back(null_param());
  }
  out.params.push_back(value_param(a));
  return out;
}

CudaCall join_call(const AttentionCall& call, const AttentionConfig& c, const AttentionArguments& a) {
  const int64_t rows = static_cast<int64_t>(a.units_total) * a.rows;
  CudaCall out;
  out.program.name = "attention/attention_join.cu";
  out.program.text = cuda_text(out.program.name);
  out.program.entry = "attention_join";
  out.program.defines = {cat("ELEM=", cuda_type(call.dtype)), cat("ADDS=", call.p.mask == MaskKind::add ? 1 : 0)};
  out.shape.grid = {static_cast<uint32_t>(ceil_div(rows * (c.head / 4), 128)), 1, 1};
  out.shape.block = {128, 1, 1};
  out.shape.overlap = true;
  out.params = {work_param(), work_param(c.splits * rows * c.head * 4), out_param(0), value_param(c.head),
                value_param(a)};
  return out;
}

}  // namespace

CudaWork attention_cuda_work(const AttentionCall& call, const GpuTraits& gpu) {
  CudaWork work;
  const AttentionProblem& p = call.p;
  if (p.b * p.h * p.s * p.e == 0) return work;
  const AttentionConfig c = attention_config(call, gpu);
  const AttentionArguments a = arguments(call, c);
  work.calls.push_back(main_call(call, c, a));
  if (c.splits > 1) {
    const int64_t rows = static_cast<int64_t>(c.splits) * a.units_total * a.rows;
    work.workspace_bytes = static_cast<size_t>(rows * (c.head * 4 + 8));
    work.calls.push_back(join_call(call, c, a));
  }
  work.config = cat("head ", c.head, ", tile ", c.rows, "x", c.block_n, ", warps ", c.warps_m, "x", c.warps_n,
                    ", stages ", c.stages, c.pack > 1 ? cat(", heads ", c.pack, " a tile") : "",
                    c.splits > 1 ? cat(", splits ", c.splits) : "", ", blocks ", c.blocks);
  return work;
}

namespace {

Verdict supports(const Problem& problem) {
  AttentionCall call;
  if (Verdict v = attention_call(problem, call); !v) return v;
  return attention_cuda_supports(call, problem.gpu);
}

CudaWork work(const Problem& problem) {
  AttentionCall call;
  const Verdict v = attention_call(problem, call);
  KPT_CHECK(v.ok, "kernels.attention", v.reason);
  return attention_cuda_work(call, problem.gpu);
}

}  // namespace

void register_attention_cuda(KernelRegistry& registry) {
  add_cuda(registry, "kpt.attention", "attention", supports, work);
  register_attention_timed(registry);
}

}  // namespace kpt
