// SPDX-License-Identifier: Apache-2.0
// Program -> flat list of micro-operations over registers of one chunk each.
#include <algorithm>
#include <cstring>
#include <map>

#include "kpt/kernels/lib/program/loop.h"

namespace kpt {
namespace {

class Compiler {
 public:
  Compiler(const Problem& problem, const Program& program, const MicroTable& table, Loop& loop)
      : problem_(problem), program_(program), table_(table), loop_(loop) {}

  Verdict compile() {
    if (Verdict v = shape_loop(problem_, program_, loop_); !v) return v;
    find_direct_outputs();
    loop_.inputs = program_.inputs;
    loop_.outputs = static_cast<int>(problem_.outputs.size());
    for (size_t i = 0; i < program_.steps.size(); ++i)
      if (Verdict v = step(static_cast<int>(i)); !v) return v;
    for (size_t o = 0; o < program_.outputs.size(); ++o)
      if (Verdict v = output(static_cast<int>(o)); !v) return v;
    assign_registers();
    return yes();
  }

 private:
  // A value while compiling. Virtual slots: >= 0 registers, then kSingle + i, kConstant + i, kTensor + i.
  struct Ref {
    int slot = -1;
    Lane lane = Lane::f32;
    bool single = false;
  };
  static constexpr int kSingle = 1 << 20, kConstant = 2 << 20, kTensor = 3 << 20;

  // --- values ---------------------------------------------------------------------------------------------------

  Ref fresh(Lane lane, bool single) {
    Ref r;
    r.lane = lane;
    r.single = single;
    r.slot = single ? kSingle + loop_.singles++ : registers_++;
    return r;
  }

  Ref input(int index) {
    if (const auto it = loaded_.find(index); it != loaded_.end()) return it->second;
    const LoopTensor& t = loop_.tensors[static_cast<size_t>(index)];
    Ref r;
    r.lane = lane_of(t.dtype);
    r.single = t.single && !(t.flat && loop_.shape.inner == 1 && !loop_.shape.whole_rows);
    if (native(t.dtype) && (r.single || t.flat)) {
      r.slot = kTensor + index;
    } else {
      r = fresh(r.lane, r.single);
      Micro m;
      m.kind = Micro::Kind::load;
      m.move = table_.load(t.dtype);
      m.dst = r.slot;
      m.tensor = index;
      m.single = r.single;
      m.bytes = size_of(r.lane);
      loop_.micros.push_back(m);
    }
    return loaded_[index] = r;
  }

  Ref constant(double value, Lane lane) {
    uint64_t bits = 0;
    unsigned char buffer[8] = {};
    store_from_double(dtype_of(lane), buffer, value);
    std::memcpy(&bits, buffer, sizeof bits);
    loop_.constants.push_back(bits);
    Ref r;
    r.slot = kConstant + static_cast<int>(loop_.constants.size()) - 1;
    r.lane = lane;
    r.single = true;
    return r;
  }

  Ref emit(MicroFn fn, Lane result, bool single, std::initializer_list<Ref> sources, int step = -1, int into = -1) {
    Ref r;
    r.lane = result;
    r.single = single;
    r.slot = into;
    if (into < 0) r = fresh(result, single);
    Micro m;
    m.fn = fn;
    m.dst = r.slot;
    int i = 0;
    for (const Ref& s : sources) m.src[i++] = s.slot;
    m.step = step;
    m.single = single;
    loop_.micros.push_back(m);
    return r;
  }

  Ref as_lane(Ref r, Lane lane) {
    if (r.lane == lane) return r;
    return emit(table_.convert(r.lane, lane), lane, r.single, {r});
  }
  Ref as_chunk(Ref r) {
    if (!r.single) return r;
    return emit(table_.fill(r.lane), r.lane, false, {r});
  }

  Ref arg(const Arg& a, Lane lane) {
    if (a.is_number()) return constant(a.number, lane);
    const Ref r = a.kind == Arg::Kind::input ? input(a.index) : values_[static_cast<size_t>(a.index)];
    return as_lane(r, lane);
  }

  // --- steps ----------------------------------------------------------------------------------------------------

  // A step may write straight to an output's memory where nothing later reads an input: an output may be the very
  // buffer of an input.
  void find_direct_outputs() {
    direct_.assign(program_.steps.size(), -1);
    int first = static_cast<int>(program_.steps.size()) - 1;
    while (first > 0 && !reads_input(program_.steps[static_cast<size_t>(first)])) --first;
    for (size_t o = 0; o < program_.outputs.size(); ++o)
      if (program_.outputs[o].kind == Arg::Kind::input) first = static_cast<int>(program_.steps.size());
    for (size_t o = 0; o < program_.outputs.size(); ++o) {
      const Arg& a = program_.outputs[o];
      const LoopTensor& t = loop_.tensors[program_.inputs.size() + o];
      if (a.kind != Arg::Kind::step || a.index < first || direct_[static_cast<size_t>(a.index)] >= 0) continue;
      const Step& s = program_.steps[static_cast<size_t>(a.index)];
      const bool clean = native(s.result) && s.result == t.dtype;
      if (clean && t.flat && !s.is_row) direct_[static_cast<size_t>(a.index)] = static_cast<int>(o);
    }
  }
  static bool reads_input(const Step& s) {
    for (int i = 0; i < s.operands; ++i)
      if (s.arg[static_cast<size_t>(i)].kind == Arg::Kind::input) return true;
    return false;
  }

  MicroFn find(Fn fn, Lane lane, int form) const {
    if (lane == Lane::f32)
      if (MicroFn f = table_.f32(fn, form)) return f;
    return table_.other(fn, lane, form);
  }

  Verdict step(int index) {
    const Step& s = program_.steps[static_cast<size_t>(index)];
    const int o = direct_[static_cast<size_t>(index)];
    into_ = o < 0 ? -1 : kTensor + static_cast<int>(program_.inputs.size()) + o;
    Ref r;
    Verdict v = yes();
    if (s.fn == Fn::cast) {
      r = cast(s);
    } else if (s.fn == Fn::clamp) {
      v = clamp(s, r);
    } else if (s.fn == Fn::where || s.fn == Fn::masked_fill) {
      v = select(s, r);
    } else {
      v = plain(s, index, r);
    }
    if (!v) return v;
    values_.push_back(r);
    return yes();
  }

  Ref cast(const Step& s) {
    Ref r = arg(s.arg[0], s.arg[0].is_number() ? lane_of(s.to) : lane_of_arg(s.arg[0]));
    r = as_lane(r, lane_of(s.to));
    if (s.to == DType::bf16 || s.to == DType::f16) r = emit(table_.round(s.to), Lane::f32, r.single, {r});
    return narrow(r, s.to);
  }
  Lane lane_of_arg(const Arg& a) {
    return a.kind == Arg::Kind::input ? input(a.index).lane : values_[static_cast<size_t>(a.index)].lane;
  }

  Ref narrow(Ref r, DType d) {
    if (MicroFn wrap = lane_of(d) == Lane::i64 ? table_.wrap(d) : nullptr) return emit(wrap, Lane::i64, r.single, {r});
    return r;
  }

  Verdict apply(Fn fn, Lane lane, Lane result, Ref a, Ref b, int step, int into, Ref& out) {
    const bool single = a.single && b.single;
    int form = single ? 0 : (a.single ? 1 : 0) | (b.single ? 2 : 0);
    MicroFn f = find(fn, lane, form);
    if (!f) return no(fn_info(fn).name, " has no loop for ", dtype_of(lane));
    out = emit(f, result, single, {a, b}, step, single ? -1 : into);
    return yes();
  }

  Verdict clamp(const Step& s, Ref& r) {
    const Lane lane = lane_of(s.at);
    r = arg(s.arg[0], lane);
    const bool low = s.arg[1].kind != Arg::Kind::none, high = s.arg[2].kind != Arg::Kind::none;
    if (low)
      if (Verdict v = apply(Fn::max, lane, lane, r, arg(s.arg[1], lane), -1, high ? -1 : into_, r); !v) return v;
    if (high)
      if (Verdict v = apply(Fn::min, lane, lane, r, arg(s.arg[2], lane), -1, into_, r); !v) return v;
    return low || high ? yes() : no("clamp without bounds");
  }

  Verdict select(const Step& s, Ref& r) {
    const Lane lane = lane_of(s.at);
    const bool fill = s.fn == Fn::masked_fill;
    Ref mask = arg(s.arg[fill ? 1 : 0], Lane::u8);
    const Ref yes_value = arg(s.arg[fill ? 2 : 1], lane);
    const Ref no_value = arg(s.arg[fill ? 0 : 2], lane);
    const bool single = mask.single && yes_value.single && no_value.single;
    if (!single) mask = as_chunk(mask);
    const int form = single ? 0 : (yes_value.single ? 2 : 0) | (no_value.single ? 4 : 0);
    MicroFn f = table_.other(Fn::where, lane, form);
    if (!f) return no("where has no loop for ", s.at);
    r = emit(f, lane, single, {mask, yes_value, no_value}, -1, single ? -1 : into_);
    return yes();
  }

  // Exponents with a cheaper and closer form than the C library's pow; PyTorch takes the same ones.
  bool simple_power(const Step& s, Lane lane, Ref& r) {
    if (s.fn != Fn::pow || !s.arg[1].is_number()) return false;
    const double e = s.arg[1].number;
    if (e == 2) {
      const Ref x = arg(s.arg[0], lane);
      return static_cast<bool>(apply(Fn::mul, lane, lane, x, x, -1, into_, r));
    }
    const Fn fn = e == 0.5 ? Fn::sqrt : e == -0.5 ? Fn::rsqrt : e == -1 ? Fn::recip : Fn::pow;
    if (fn == Fn::pow || (lane != Lane::f32 && lane != Lane::f64)) return false;
    const Ref x = arg(s.arg[0], lane);
    r = emit(find(fn, lane, 0), lane, x.single, {x}, -1, x.single ? -1 : into_);
    return true;
  }

  Verdict plain(const Step& s, int index, Ref& r) {
    const FnInfo& info = fn_info(s.fn);
    Lane lane = info.rule == Rule::logical ? Lane::u8
                : info.rule == Rule::test  ? lane_of_arg_or_f32(s.arg[0])
                                           : lane_of(s.at);
    const bool bits = s.fn == Fn::bit_and || s.fn == Fn::bit_or || s.fn == Fn::bit_xor || s.fn == Fn::bit_not;
    if (lane == Lane::u8 && info.rule != Rule::logical && !bits) lane = Lane::i64;  // arithmetic on bool
    if (Verdict v = check_divisor(s, lane); !v) return v;
    const bool to_bool = info.rule == Rule::compare || info.rule == Rule::logical || info.rule == Rule::test;
    const Lane made = to_bool ? Lane::u8 : lane;
    const Lane want = lane_of(s.result);
    const int into = made == want ? into_ : -1;
    if (s.operands == 2) {
      if (!simple_power(s, lane, r))
        if (Verdict v = apply(s.fn, lane, made, arg(s.arg[0], lane), arg(s.arg[1], lane), index, into, r); !v) return v;
    } else {
      Ref x = arg(s.arg[0], lane);
      const bool reduces = s.fn >= Fn::row_sum;
      if (reduces) x = as_chunk(x);
      MicroFn f = find(s.fn, lane, 0);
      if (!f) return no(info.name, " has no loop for ", s.at);
      r = emit(f, made, x.single || reduces, {x}, index, x.single || reduces ? -1 : into);
      if (reduces) loop_.micros.back().single = false;  // reads a chunk, writes one element
    }
    r = as_lane(r, want);
    if (!to_bool) r = narrow(r, s.result);
    return yes();
  }

  Lane lane_of_arg_or_f32(const Arg& a) { return a.is_number() ? Lane::f32 : lane_of_arg(a); }

  // PyTorch raises on an integer division by zero; a loop cannot, so only divisors known not to be 0 are taken.
  static Verdict check_divisor(const Step& s, Lane lane) {
    const bool divides = s.fn == Fn::div_floor || s.fn == Fn::div_trunc || s.fn == Fn::rem;
    if (!divides || lane != Lane::i64) return yes();
    if (s.arg[1].is_number() && s.arg[1].number != 0) return yes();
    return no("integer division by a divisor that may be 0");
  }

  Verdict output(int o) {
    const Arg& a = program_.outputs[static_cast<size_t>(o)];
    const int index = static_cast<int>(program_.inputs.size()) + o;
    const LoopTensor& t = loop_.tensors[static_cast<size_t>(index)];
    const Lane lane = lane_of(t.dtype);
    Ref r = arg(a, a.is_number() ? lane : lane_of_arg(a));
    if (r.slot == kTensor + index) return yes();
    r = as_lane(r, lane);
    if (!t.single && r.single) r = as_chunk(r);
    const bool short_output = t.single && !t.flat;  // kpt.row: one value for each row
    if (short_output && !r.single) return no("a whole row for an output of one element a row");
    Micro m;
    m.kind = Micro::Kind::store;
    m.move = table_.store(t.dtype);
    m.src[0] = r.slot;
    m.tensor = index;
    m.single = t.single && r.single;
    m.bytes = size_of(lane);
    loop_.micros.push_back(m);
    return yes();
  }

  // --- registers ------------------------------------------------------------------------------------------------

  // Linear scan: a register is free again after the last use of its value. The result never shares one with an operand.
  void assign_registers() {
    std::vector<int> last(static_cast<size_t>(registers_), -1);
    for (size_t i = 0; i < loop_.micros.size(); ++i)
      for (int slot : loop_.micros[i].src)
        if (slot >= 0 && slot < kSingle) last[static_cast<size_t>(slot)] = static_cast<int>(i);
    std::vector<int> physical(static_cast<size_t>(registers_), -1), free;
    for (size_t i = 0; i < loop_.micros.size(); ++i) {
      Micro& m = loop_.micros[i];
      int& dst = m.dst;
      if (dst >= 0 && dst < kSingle) {
        if (free.empty()) free.push_back(loop_.registers++);
        physical[static_cast<size_t>(dst)] = free.back();
        free.pop_back();
      }
      for (int k = 0; k < 3; ++k) {
        const int v = m.src[k];
        const bool again = (k > 0 && v == m.src[0]) || (k > 1 && v == m.src[1]);
        if (v >= 0 && v < kSingle && last[static_cast<size_t>(v)] == static_cast<int>(i) && !again)
          free.push_back(physical[static_cast<size_t>(v)]);
      }
    }
    const int singles_at = loop_.registers, constants_at = singles_at + loop_.singles;
    const int tensors_at = constants_at + static_cast<int>(loop_.constants.size());
    const auto place = [&](int slot) {
      if (slot < 0) return tensors_at;  // an operand the function does not use, but may look at
      if (slot >= kTensor) return tensors_at + slot - kTensor;
      if (slot >= kConstant) return constants_at + slot - kConstant;
      if (slot >= kSingle) return singles_at + slot - kSingle;
      return physical[static_cast<size_t>(slot)];
    };
    for (Micro& m : loop_.micros) {
      if (m.kind != Micro::Kind::store) m.dst = place(m.dst);
      for (int& slot : m.src) slot = place(slot);
    }
    for (const Step& s : program_.steps) loop_.params.push_back(s.params);
    const int64_t elements = loop_.shape.chunk * loop_.shape.block_rows;
    loop_.register_bytes = (elements * 8 + 63) / 64 * 64;
  }

  const Problem& problem_;
  const Program& program_;
  const MicroTable& table_;
  Loop& loop_;
  std::vector<Ref> values_;
  std::map<int, Ref> loaded_;
  std::vector<int> direct_;
  int registers_ = 0;
  int into_ = -1;
};

}  // namespace

Verdict compile_loop(const Problem& problem, const Program& program, const MicroTable& table, Loop& loop) {
  return Compiler(problem, program, table, loop).compile();
}

}  // namespace kpt
