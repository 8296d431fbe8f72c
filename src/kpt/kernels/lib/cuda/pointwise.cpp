// SPDX-License-Identifier: Apache-2.0
#include "kpt/kernels/lib/cuda/pointwise.h"

#include <algorithm>
#include <cmath>

#include "kpt/kernels/lib/cuda/generate.h"
#include "kpt/kernels/lib/cuda/rows.h"
#include "kpt/kernels/lib/program/loop.h"

namespace kpt {
namespace {

constexpr int kMaxTensors = 32;  // the Walk of 64-bit offsets is then 2.6 KiB of the 4 KiB of parameters
constexpr int64_t kMostThreads = 256;
constexpr int64_t kFullBlocks = 8;                // blocks of 256 threads that fill a multiprocessor
constexpr int64_t kNarrow = (1ll << 31) - 65536;  // below: 31-bit offsets, with room for the last block's overhang

enum Kind : int64_t { kFlat, kSingle, kStrided };  // as walk.cuh
enum class Form { dense, rows, gather };

struct Shape {
  Loop loop;  // merged sizes and strides
  Dims sizes;
  int64_t elements = 0;
  bool wide = false;
  Form form = Form::dense;
  int64_t vec = 1, items = 1;
  std::vector<int64_t> kinds;
  int rank() const { return sizes.rank(); }
  int64_t stride(size_t t, int d) const {
    const LoopTensor& x = loop.tensors[t];
    return d == rank() - 1 ? x.inner_stride : x.outer_strides[d];
  }
};

bool follows(const Shape& s, size_t t) {
  int64_t want = 1;
  for (int d = s.rank() - 1; d >= 0; --d) {
    if (s.sizes[d] != 1 && s.stride(t, d) != want) return false;
    want *= s.sizes[d];
  }
  return true;
}

bool single(const Shape& s, size_t t) {
  for (int d = 0; d < s.rank(); ++d)
    if (s.stride(t, d) != 0) return false;
  return true;
}

int64_t extent(const Shape& s, size_t t) {
  int64_t last = 0;
  for (int d = 0; d < s.rank(); ++d) last += (s.sizes[d] - 1) * s.stride(t, d);
  return last + 1;
}

// Functions of 100 instructions or more, with a slow path: fewer copies of them, or compiling takes seconds and the
// calls of the slow path spill registers.
bool is_long(const Step& s) {
  if (!is_float(s.at)) return false;
  if (s.at == DType::f64 && fn_info(s.fn).rule == Rule::floating) return true;
  switch (s.fn) {
    case Fn::sin:
    case Fn::cos:
    case Fn::tan:
    case Fn::atan2:
    case Fn::rem:
    case Fn::div_trunc:
    case Fn::div_floor: return true;
    case Fn::pow:
      return !s.arg[1].is_number() || std::fabs(s.arg[1].number) > 3 ||
             s.arg[1].number * 2 != std::round(s.arg[1].number * 2);
    default: return false;
  }
}

bool is_cheap(const Program& program) {
  for (const Step& s : program.steps) {
    const Rule rule = fn_info(s.fn).rule;
    if ((rule == Rule::floating && s.fn != Fn::leaky_relu) || s.fn == Fn::pow || is_long(s)) return false;
  }
  return program.steps.size() <= 8;
}

// 16 bytes of the widest dense tensor; less where many tensors would not fit the registers (256 bytes of 1 KiB).
void choose_units(const Program& program, Shape& s) {
  int64_t widest = 0, widest_of_all = 1, unit = 0, read = 0;
  for (size_t t = 0; t < s.kinds.size(); ++t) {
    const int64_t size = static_cast<int64_t>(size_of(s.loop.tensors[t].dtype));
    widest_of_all = std::max(widest_of_all, size);
    if (s.kinds[t] == kFlat) widest = std::max(widest, size);
    if (s.kinds[t] == kFlat && t < program.inputs.size()) read += size;
    unit += std::max<int64_t>(size, 4);  // as computed with
  }
  s.vec = std::min<int64_t>(8, 16 / (widest ? widest : widest_of_all));
  while (s.vec > 1 && unit * s.vec > 256) s.vec /= 2;
  for (const Step& step : program.steps)
    if (is_long(step)) s.vec = std::min<int64_t>(s.vec, step.at == DType::f64 ? 1 : 2);
  // 32 bytes a thread in flight keep an H200's memory busy (2048 threads of 132 multiprocessors, 0.8 us and 4.8 TB/s
  // make 14; the registers allow half of the threads).
  s.items = read * s.vec <= 16 && is_cheap(program) ? 2 : 1;
}

Verdict shape_of(const Problem& problem, const Program& program, Shape& s) {
  if (Verdict v = shape_loop(problem, program, s.loop); !v) return v;
  s.sizes = s.loop.shape.outer;
  s.sizes.push_back(s.loop.shape.inner);
  s.elements = s.sizes.numel();
  const size_t inputs = program.inputs.size();
  s.wide = s.elements >= kNarrow;
  bool dense = true;
  for (size_t t = 0; t < s.loop.tensors.size(); ++t) {
    s.wide = s.wide || extent(s, t) >= kNarrow;
    s.kinds.push_back(follows(s, t) ? kFlat : single(s, t) ? kSingle : kStrided);
    dense = dense && s.kinds.back() != kStrided;
    if (t >= inputs && s.kinds.back() == kSingle) return no("output ", problem.outputs[t - inputs], " overlaps itself");
  }
  choose_units(program, s);
  if (dense) return yes();
  s.items = 1;
  s.form = s.sizes.back() % s.vec == 0 ? Form::rows : Form::gather;
  if (s.form == Form::gather) s.vec = std::min<int64_t>(s.vec, 4);
  return yes();
}

// --- text ----------------------------------------------------------------------------------------------------------

Verdict statements(const Program& program, const std::vector<DType>& dtypes, std::string& text) {
  const CudaOperands operands = [&](const Arg& a) -> CudaOperand {
    const auto i = static_cast<size_t>(a.index);
    if (a.kind == Arg::Kind::input) return {cat("x", i), lane_of(dtypes[i])};
    return {cat("v", i), lane_of(program.steps[i].result)};
  };
  const size_t inputs = program.inputs.size();
  for (size_t i = 0; i < inputs; ++i)
    text += cat("  const ", cuda_lane(lane_of(dtypes[i])), " x", i, " = lane(r", i, ");\n");
  for (size_t i = 0; i < program.steps.size(); ++i) {
    const Step& step = program.steps[i];
    std::string expression;
    if (Verdict v = cuda_expression(step, operands, expression); !v) return v;
    text += cat("  const ", cuda_lane(lane_of(step.result)), " v", i, " = ", expression, ";\n");
  }
  for (size_t o = 0; o < program.outputs.size(); ++o) {
    const Arg& a = program.outputs[o];
    const Lane lane = lane_of(dtypes[inputs + o]);
    const CudaOperand value = a.is_number() ? CudaOperand{cuda_number(a.number, lane), lane} : operands(a);
    text += cat("  put(q", o, ", ", cuda_as(value, lane), ");\n");
  }
  return yes();
}

// `each` n times: $ stands for 0 .. n-1, # for the tensor's number first + $, @ for its type.
std::string repeat(std::string_view each, const std::vector<DType>& dtypes, size_t first, size_t n,
                   std::string_view between = "") {
  std::string out;
  for (size_t i = 0; i < n; ++i) {
    if (i) out += between;
    for (char c : each) {
      if (c == '$')
        out += std::to_string(i);
      else if (c == '#')
        out += std::to_string(first + i);
      else if (c == '@')
        out += cuda_type(dtypes[first + i]);
      else
        out += c;
    }
  }
  return out;
}

// The three ways: see walk.cuh. Each reads all of its thread's inputs before it writes.
class KernelText {
 public:
  KernelText(const std::vector<DType>& dtypes, size_t inputs) : dtypes_(dtypes), inputs_(inputs) {}

  std::string text(Form form, const std::string& body) const {
    std::string out =
        cat("inline void element(", in("@ r$", ", "), comma(), this->out("@& q$", ", "), ") {\n", body, "}\n\n");
    out += cat("extern \"C\" __global__ void __launch_bounds__(", kMostThreads,
               ") pointwise(const __grid_constant__ Walk w", in(", const @* i$"), this->out(", @* o$"), ") {\n");
    out +=
        "  grid_release();\n"
        "  grid_wait();\n"
        "  const Index step = (Index)blockDim.x, first = (Index)blockIdx.x * w.span;\n";
    return out + (form == Form::dense ? dense() : strided(form)) + "}\n";
  }

 private:
  std::string in(std::string_view each, std::string_view between = "") const {
    return repeat(each, dtypes_, 0, inputs_, between);
  }
  std::string out(std::string_view each, std::string_view between = "") const {
    return repeat(each, dtypes_, inputs_, dtypes_.size() - inputs_, between);
  }
  std::string comma() const { return inputs_ ? ", " : ""; }
  // for (..) element(..) over the registers of a unit; `which` picks the item.
  std::string compute(std::string_view which, std::string_view indent) const {
    return cat("#pragma unroll\n", indent, "for (int e = 0; e < VEC; ++e) element(", in(cat("r$", which, "[e]"), ", "),
               comma(), out("q$[e]", ", "), ");\n");
  }

  // Units of whole runs; what is left of the last one, and all where a pointer is not aligned, element by element.
  std::string dense() const {
    std::string t =
        "  const Index whole = w.elements / VEC, last = first + w.span;\n"
        "  Index at = first * VEC, end = last * VEC < w.elements ? last * VEC : w.elements;\n";
    t += cat("  if (whole > 0", in(" && (w.kind[$] == kSingle || aligned(i$))"), out(" && aligned(o$)"), ") {\n");
    t += cat(in("    @ r$[ITEMS][VEC];\n"),
             "#pragma unroll\n"
             "    for (int k = 0; k < ITEMS; ++k) {\n"
             "      if (k * step >= w.span) break;\n"
             "      Index unit = first + threadIdx.x + k * step;\n"
             "      unit = unit < whole ? unit : whole - 1;\n",
             in("      load_dense(r$[k], i$, w.kind[$], unit);\n"), "    }\n");
    t +=
        cat("#pragma unroll\n"
            "    for (int k = 0; k < ITEMS; ++k) {\n"
            "      const Index unit = first + threadIdx.x + k * step;\n"
            "      if (k * step >= w.span || unit >= whole) break;\n",
            out("      @ q$[VEC];\n"), compute("[k]", "      "), out("      store_run(o$ + unit * VEC, q$);\n"),
            "    }\n"
            "    if (last <= whole) return;\n"
            "    at = whole * VEC;\n"
            "  }\n");
    t += cat("  for (at += threadIdx.x; at < end; at += step) {\n",
             in("    const @ r$ = i$[w.kind[$] == kSingle ? 0 : at];\n"), out("    @ q$;\n"), "    element(",
             in("r$", ", "), comma(), out("q$", ", "), ");\n", out("    o$[at] = q$;\n"), "  }\n");
    return t;
  }

  std::string strided(Form form) const {
    const bool rows = form == Form::rows;
    std::string t =
        "  const Index unit = first + threadIdx.x;\n"
        "  if (unit >= w.units) return;\n";
    if (rows) t += "  Index at[TENSORS];\n  row_offsets(w, unit, at);\n";
    t += in(rows ? "  @ r$[VEC];\n  load_row(r$, i$ + at[$], w.inner[$]);\n"
                 : "  @ r$[VEC];\n  load_gather(r$, i$, w, $, unit);\n");
    t += cat(out("  @ q$[VEC];\n"), compute("", "  "));
    return t + out(rows ? "  store_row(o$ + at[#], q$, w.inner[#]);\n" : "  store_gather(o$, q$, w, #, unit);\n");
  }

  const std::vector<DType>& dtypes_;
  size_t inputs_;
};

// --- launch --------------------------------------------------------------------------------------------------------

class Words {
 public:
  explicit Words(bool wide) : wide_(wide) {}
  void add(int64_t v) {
    const size_t size = wide_ ? 8 : 4, at = param_.bytes.size();
    param_.bytes.resize(at + size);
    const auto low = static_cast<int32_t>(static_cast<uint32_t>(v));
    if (wide_)
      std::memcpy(param_.bytes.data() + at, &v, size);
    else
      std::memcpy(param_.bytes.data() + at, &low, size);
  }
  void divisor(int64_t size) {  // 64-bit offsets divide as they are
    const CudaDivider d = wide_ ? CudaDivider{} : cuda_divider(std::max<int64_t>(size, 1));
    add(std::max<int64_t>(size, 1));
    add(d.multiplier);
    add(d.shift);
  }
  CudaParam param() const { return param_; }

 private:
  bool wide_;
  CudaParam param_;
};

CudaParam walk_of(const Shape& s, int64_t units, int64_t span) {
  Words w(s.wide);
  const int rank = s.rank();
  for (int64_t v : {s.elements, units, span, static_cast<int64_t>(rank)}) w.add(v);
  w.divisor(s.form == Form::rows ? s.sizes.back() / s.vec : 1);
  for (int d = 0; d < kMaxRank; ++d) w.divisor(d < rank ? s.sizes[d] : 1);
  for (size_t t = 0; t < s.kinds.size(); ++t)
    for (int d = 0; d < kMaxRank; ++d) w.add(d < rank ? s.stride(t, d) : 0);
  for (size_t t = 0; t < s.kinds.size(); ++t) w.add(s.stride(t, rank - 1));
  for (int64_t kind : s.kinds) w.add(kind);
  return w.param();
}

Verdict plan(const Problem& problem, Program& program, Shape& s, std::string& body) {
  if (Verdict v = program_of(problem, program); !v) return v;
  const std::vector<DType> dtypes = program_dtypes(problem, program);
  if (dtypes.size() > kMaxTensors) return no("got ", dtypes.size(), " tensors, want at most ", kMaxTensors);
  if (Verdict v = shape_of(problem, program, s); !v) return v;
  return statements(program, dtypes, body);
}

}  // namespace

Verdict cuda_pointwise_supports(const Problem& problem) {
  Program program;
  Shape s;
  std::string body;
  return plan(problem, program, s, body);
}

CudaWork cuda_pointwise_work(const Problem& problem) {
  Program program;
  Shape s;
  std::string body;
  const Verdict v = plan(problem, program, s, body);
  KPT_CHECK(v.ok, "kernels.pointwise", "got ", problem.str(), ": ", v.reason);
  CudaWork work;
  if (s.elements == 0) return work;
  const int64_t units = (s.elements + s.vec - 1) / s.vec;
  const int64_t chips = std::max(problem.gpu.multiprocessors, 1);
  int64_t threads = kMostThreads;
  while (threads > 64 && units < chips * threads) threads /= 2;
  const bool large = units >= chips * kFullBlocks * kMostThreads * s.items;
  const int64_t span = large ? threads * s.items : threads;
  const std::vector<DType> dtypes = program_dtypes(problem, program);
  const size_t inputs = program.inputs.size();
  static constexpr std::string_view kForms[] = {"dense", "rows", "gather"};

  CudaCall call;
  call.program.name = "pointwise";
  call.program.entry = "pointwise";
  call.program.text = cat("#define VEC ", s.vec, "\n#define ITEMS ", s.items, "\n#define TENSORS ", dtypes.size(), "\n",
                          s.wide ? "#define WIDE\n" : "", cuda_text("lib/cuda/walk.cuh"),
                          KernelText(dtypes, inputs).text(s.form, body));
  call.shape.grid = {static_cast<uint32_t>((units + span - 1) / span), 1, 1};
  call.shape.block = {static_cast<uint32_t>(threads), 1, 1};
  call.shape.overlap = true;
  call.params.push_back(walk_of(s, units, span));
  for (int i : program.inputs) call.params.push_back(in_param(i));
  for (size_t o = 0; o < problem.outputs.size(); ++o) call.params.push_back(out_param(static_cast<int>(o)));
  work.config = cat(kForms[static_cast<int>(s.form)], ", ", s.vec, " elements x ", span / threads, ", blocks of ",
                    threads, s.wide ? ", 64-bit offsets" : "");
  work.calls.push_back(std::move(call));
  return work;
}

}  // namespace kpt
