// SPDX-License-Identifier: Apache-2.0
#include "kpt/kernels/lib/cuda/row_program.h"

#include <algorithm>

#include "kpt/kernels/lib/cuda/generate.h"
#include "kpt/kernels/lib/cuda/rows.h"
#include "kpt/kernels/lib/program/loop.h"

namespace kpt {
namespace {

constexpr size_t kMaxTensors = 32;  // RowWalk is then 2.4 KiB of the 4 KiB of parameters
constexpr int64_t kMostThreads = 512, kSmallBlock = 128;
constexpr int64_t kHeld = 64;      // registers of the 128 that 512 threads may have, for what a row keeps
constexpr int64_t kMostPacks = 4;  // of VEC elements in a thread

bool is_row_fn(Fn fn) { return fn >= Fn::row_sum; }

struct RowPlan {
  Program program;
  Loop loop;
  std::vector<DType> dtypes;
  std::vector<bool> single_input, single_step;  // one value a row
  int64_t width = 1, vec = 1, packs = 1, group = 1, block = kSmallBlock;
  bool looped = false;
  size_t inputs() const { return program.inputs.size(); }
  bool single(const Arg& a) const {
    if (a.kind == Arg::Kind::input) return single_input[static_cast<size_t>(a.index)];
    return a.kind != Arg::Kind::step || single_step[static_cast<size_t>(a.index)];
  }
};

void find_singles(RowPlan& p) {
  for (size_t i = 0; i < p.inputs(); ++i) p.single_input.push_back(p.loop.tensors[i].inner_stride == 0);
  for (const Step& s : p.program.steps) {
    bool all = true;
    for (int i = 0; i < s.operands; ++i) all = all && p.single(s.arg[static_cast<size_t>(i)]);
    p.single_step.push_back(is_row_fn(s.fn) || all);
  }
}

// Registers for one element of a row: the values that are used behind a row instruction that follows them.
int64_t kept_registers(const RowPlan& p) {
  const auto& steps = p.program.steps;
  const auto registers = [](DType d) -> int64_t { return size_of(lane_of(d)) == 8 ? 2 : 1; };
  // The last row instruction before step u; -1 for none.
  const auto row_before = [&](size_t u) {
    int at = -1;
    for (size_t j = 0; j < std::min(u, steps.size()); ++j)
      if (is_row_fn(steps[j].fn)) at = static_cast<int>(j);
    return at;
  };
  const auto used_behind = [&](Arg::Kind kind, int index, int defined) {
    const auto is = [&](const Arg& a) { return a.kind == kind && a.index == index; };
    for (size_t u = 0; u < steps.size(); ++u)
      for (int i = 0; i < steps[u].operands; ++i)
        if (is(steps[u].arg[static_cast<size_t>(i)]) && row_before(u) > defined) return true;
    for (const Arg& a : p.program.outputs)
      if (is(a) && row_before(steps.size()) > defined) return true;
    return false;
  };
  int64_t sum = 0;
  for (size_t i = 0; i < p.inputs(); ++i)
    if (!p.single_input[i]) sum += registers(p.dtypes[i]);
  for (size_t i = 0; i < steps.size(); ++i)
    if (!p.single_step[i] && used_behind(Arg::Kind::step, static_cast<int>(i), static_cast<int>(i)))
      sum += registers(steps[i].result);
  return std::max<int64_t>(sum, 1);
}

void choose_shape(RowPlan& p) {
  int64_t widest = 1;
  for (size_t t = 0; t < p.dtypes.size(); ++t)
    if (p.loop.tensors[t].inner_stride != 0) widest = std::max(widest, static_cast<int64_t>(size_of(p.dtypes[t])));
  const int64_t most = std::max<int64_t>(1, kHeld / kept_registers(p));
  p.vec = std::min<int64_t>(8, 16 / widest);
  while (p.vec > most) p.vec /= 2;
  const int64_t units = (p.width + p.vec - 1) / p.vec;
  const int64_t packs = std::clamp<int64_t>(most / p.vec, 1, kMostPacks);
  while (p.packs * 2 <= packs && units > 32 * p.packs) p.packs *= 2;
  p.group = std::min(kMostThreads, power_of_two((units + p.packs - 1) / p.packs));
  p.block = std::max(p.group, kSmallBlock);
  if (p.group > 32) p.block = p.group;
  p.looped = units > p.group * p.packs;
  if (p.looped) p.packs = 1;
}

// --- text ----------------------------------------------------------------------------------------------------------

class RowText {
 public:
  explicit RowText(const RowPlan& p) : p_(p) {}

  Verdict write(std::string& out) {
    if (Verdict v = head(); !v) return v;
    for (size_t i = 0; i < p_.program.steps.size(); ++i)
      if (Verdict v = step(i); !v) return v;
    if (Verdict v = outputs(); !v) return v;
    out = text_ + "}\n";
    return yes();
  }

 private:
  CudaOperand operand(const Arg& a) const {
    const auto i = static_cast<size_t>(a.index);
    if (a.kind == Arg::Kind::input) return {cat("x", i), lane_of(p_.dtypes[i])};
    return {cat("v", i), lane_of(p_.program.steps[i].result)};
  }
  std::string type(size_t tensor) const { return cuda_type(p_.dtypes[tensor]); }

  Verdict head() {
    const size_t n = p_.inputs();
    text_ = cat("extern \"C\" __global__ void __launch_bounds__(", kMostThreads,
                ") row_program(const __grid_constant__ RowWalk w");
    for (size_t i = 0; i < n; ++i) text_ += cat(", const ", type(i), "* i", i);
    for (size_t o = n; o < p_.dtypes.size(); ++o) text_ += cat(", ", type(o), "* o", o - n);
    text_ +=
        ") {\n"
        "  grid_release();\n"
        "  grid_wait();\n"
        "  const u32 here = threadIdx.x % w.group;\n"
        "  u32 row = blockIdx.x * (blockDim.x / w.group) + threadIdx.x / w.group;\n"
        "  const bool active = row < w.rows;\n"
        "  if (!active) row = w.rows - 1;\n"
        "  i64 at[TENSORS];\n"
        "  row_starts(w, row, at);\n";
    for (size_t i = 0; i < n; ++i) {
      text_ += cat("  i", i, " += at[", i, "];\n");
      if (p_.single_input[i])
        text_ += cat("  const ", cuda_lane(lane_of(p_.dtypes[i])), " x", i, " = lane(*i", i, ");\n");
    }
    for (size_t o = n; o < p_.dtypes.size(); ++o) text_ += cat("  o", o - n, " += at[", o, "];\n");
    if (p_.looped) return yes();
    for (size_t i = 0; i < n; ++i)
      if (!p_.single_input[i]) text_ += cat("  ", type(i), " r", i, "[PACKS][VEC];\n");
    text_ += "#pragma unroll\n  for (int k = 0; k < PACKS; ++k) {\n" + column();
    for (size_t i = 0; i < n; ++i)
      if (!p_.single_input[i])
        text_ += cat("    load_part(r", i, "[k], i", i, ", w.inner[", i, "], column, w.width);\n");
    text_ += "  }\n";
    return yes();
  }
  static std::string column() { return "    const u32 column = (k * w.group + here) * VEC;\n"; }

  // Opens a pass over the row's elements; inside, x and v of whole rows are known for steps below `end`.
  Verdict open(size_t end) {
    if (p_.looped) {
      text_ += "#pragma unroll 1\n  for (u32 column = here * VEC; column < w.width; column += w.group * VEC) {\n";
      for (size_t i = 0; i < p_.inputs(); ++i)
        if (!p_.single_input[i])
          text_ += cat("    ", type(i), " r", i, "[VEC];\n    load_part(r", i, ", i", i, ", w.inner[", i,
                       "], column, w.width);\n");
    } else {
      text_ += "#pragma unroll\n  for (int k = 0; k < PACKS; ++k) {\n" + column();
    }
    for (size_t o = 0; end == p_.program.steps.size() && o < p_.program.outputs.size(); ++o)
      if (whole(o)) text_ += cat("    ", type(p_.inputs() + o), " q", o, "[VEC];\n");
    text_ += "#pragma unroll\n    for (int e = 0; e < VEC; ++e) {\n";
    for (size_t i = 0; i < p_.inputs(); ++i)
      if (!p_.single_input[i])
        text_ += cat("      const ", cuda_lane(lane_of(p_.dtypes[i])), " x", i, " = lane(r", i, p_.looped ? "" : "[k]",
                     "[e]);\n");
    for (size_t i = 0; i < end; ++i)
      if (!p_.single_step[i])
        if (Verdict v = plain(i, "      "); !v) return v;
    return yes();
  }

  Verdict plain(size_t i, std::string_view indent) {
    const Step& s = p_.program.steps[i];
    std::string expression;
    if (Verdict v = cuda_expression(
            s, [this](const Arg& a) { return operand(a); }, expression);
        !v)
      return v;
    text_ += cat(indent, "const ", cuda_lane(lane_of(s.result)), " v", i, " = ", expression, ";\n");
    return yes();
  }

  Verdict step(size_t i) {
    const Step& s = p_.program.steps[i];
    if (!p_.single_step[i]) return yes();
    if (!is_row_fn(s.fn)) return plain(i, "  ");
    const CudaOperand value = cuda_row_argument(s, [this](const Arg& a) { return operand(a); });
    const std::string lane = cuda_lane(value.lane);
    const char* op = s.fn == Fn::row_max ? "RowMax" : s.fn == Fn::row_min ? "RowMin" : "RowSum";
    text_ += cat("  ", lane, " a", i, " = ", op, "::first<", lane, ">();\n");
    if (Verdict v = open(i); !v) return v;
    text_ += cat("      a", i, " = column + e < w.width ? ", op, "::f<", lane, ">(a", i, ", ", value.text, ") : a", i,
                 ";\n    }\n  }\n  a", i, " = over_row<", op, ", ", lane, ">(a", i, ", w.group);\n");
    const std::string all = s.fn == Fn::row_mean ? cat("a", i, " / (", lane, ")w.width") : cat("a", i);
    const Lane made = lane_of(s.result);
    text_ += cat("  const ", cuda_lane(made), " v", i, " = ", cuda_as({all, value.lane}, made), ";\n");
    return yes();
  }

  bool whole(size_t o) const { return p_.loop.tensors[p_.inputs() + o].inner_stride != 0; }
  std::string value_of(size_t o) const {
    const Arg& a = p_.program.outputs[o];
    const Lane lane = lane_of(p_.dtypes[p_.inputs() + o]);
    return a.is_number() ? cuda_number(a.number, lane) : cuda_as(operand(a), lane);
  }

  Verdict outputs() {
    const size_t n = p_.program.outputs.size();
    bool any = false;
    for (size_t o = 0; o < n; ++o) {
      any = any || whole(o);
      if (!whole(o) && !p_.single(p_.program.outputs[o])) return no("a whole row for an output of one element a row");
    }
    if (any) {
      if (Verdict v = open(p_.program.steps.size()); !v) return v;
      for (size_t o = 0; o < n; ++o)
        if (whole(o)) text_ += cat("      put(q", o, "[e], ", value_of(o), ");\n");
      text_ += "    }\n";
      for (size_t o = 0; o < n; ++o)
        if (whole(o))
          text_ +=
              cat("    if (active) store_part(o", o, ", q", o, ", w.inner[", p_.inputs() + o, "], column, w.width);\n");
      text_ += "  }\n";
    }
    // An output of one element a row may be the buffer of such an input, which all threads of the row read.
    text_ += "  __syncthreads();\n";
    for (size_t o = 0; o < n; ++o)
      if (!whole(o)) text_ += cat("  if (active && here == 0) put(*o", o, ", ", value_of(o), ");\n");
    return yes();
  }

  const RowPlan& p_;
  std::string text_;
};

Verdict plan(const Problem& problem, RowPlan& p, std::string& text) {
  if (Verdict v = program_of(problem, p.program); !v) return v;
  p.dtypes = program_dtypes(problem, p.program);
  if (p.dtypes.size() > kMaxTensors) return no("got ", p.dtypes.size(), " tensors, want at most ", kMaxTensors);
  if (Verdict v = shape_loop(problem, p.program, p.loop); !v) return v;
  p.width = p.loop.shape.inner;
  if (p.loop.shape.rows > kCudaMostUnits || p.width > (kCudaMostUnits >> 4))
    return no(p.loop.shape.rows, " rows of ", p.width, ": too many");
  find_singles(p);
  choose_shape(p);
  return RowText(p).write(text);
}

template <class T>
void append(CudaParam& param, const T& value) {
  const size_t at = param.bytes.size();
  param.bytes.resize(at + sizeof value);
  std::memcpy(param.bytes.data() + at, &value, sizeof value);
}

// As row_walk.cuh's RowWalk.
CudaParam walk_of(const RowPlan& p) {
  const Dims& sizes = p.loop.shape.outer;
  CudaParam w;
  append(w, static_cast<uint32_t>(p.loop.shape.rows));
  append(w, static_cast<uint32_t>(p.width));
  append(w, static_cast<uint32_t>(p.group));
  append(w, static_cast<int32_t>(sizes.rank()));
  for (int d = 0; d < kMaxRank; ++d) append(w, cuda_divider(d < sizes.rank() ? sizes[d] : 1));
  for (const LoopTensor& t : p.loop.tensors)
    for (int d = 0; d < kMaxRank; ++d) append(w, d < sizes.rank() ? t.outer_strides[d] : int64_t{0});
  for (const LoopTensor& t : p.loop.tensors) append(w, t.inner_stride);
  return w;
}

}  // namespace

Verdict cuda_row_supports(const Problem& problem) {
  RowPlan p;
  std::string text;
  return plan(problem, p, text);
}

CudaWork cuda_row_work(const Problem& problem) {
  RowPlan p;
  std::string text;
  const Verdict v = plan(problem, p, text);
  KPT_CHECK(v.ok, "kernels.row", "got ", problem.str(), ": ", v.reason);
  CudaWork work;
  if (p.loop.shape.rows == 0) return work;
  CudaCall call;
  call.program.name = "row";
  call.program.entry = "row_program";
  call.program.text = cat("#define VEC ", p.vec, "\n#define PACKS ", p.packs, "\n#define TENSORS ", p.dtypes.size(),
                          "\n", cuda_text("lib/cuda/row_walk.cuh"), text);
  call.shape.grid[0] = cuda_blocks(p.loop.shape.rows, p.block / p.group);
  call.shape.block[0] = static_cast<uint32_t>(p.block);
  call.shape.overlap = true;
  call.params.push_back(walk_of(p));
  for (int i : p.program.inputs) call.params.push_back(in_param(i));
  for (size_t o = 0; o < problem.outputs.size(); ++o) call.params.push_back(out_param(static_cast<int>(o)));
  work.config = cat(p.group, " threads a row, ", p.looped ? "read for each pass" : cat(p.vec, " elements x ", p.packs));
  work.calls.push_back(std::move(call));
  return work;
}

}  // namespace kpt
