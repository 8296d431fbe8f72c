// SPDX-License-Identifier: Apache-2.0
#include "kpt/kernels/lib/cuda/program.cuh"
#include "kpt/kernels/lib/cuda/rows.cuh"
// Sums, means, extremes, variances, any, all and argmax. IN, OUT: element types; KIND: Reduction of reduce_run.h; VEC:
// elements moved at once. One of ROWS, COLUMNS and FINISH picks the entry.
//
// Sums are taken in f32 (f64 for f64, i64 for integers); a variance in two passes over the data, the second of which
// finds it in the caches. NaN wins in extremes; the first of equal largest elements is argmax.
// Where outputs are few, each is shared by `splits` blocks, whose partial results a second launch (FINISH) puts
// together.

enum { kSum = 0, kMean = 1, kMax = 2, kMin = 3, kVar = 4, kAny = 5, kAll = 6, kArgmax = 7 };

struct Task {
  Rows kept, reduced;  // columns: kept without its last dimension
  u32 outputs, count;  // count: elements reduced into one output
  u32 splits, chunk;   // each split takes `chunk` of them
  u32 group;           // rows: threads of one row, a power of two, or the whole block
  u32 width, across;   // columns: outputs side by side, threads along them
  i32 run;             // rows: the reduced elements lie one after the other
  float correction;
};

// What is summed in.
template <class T>
struct Wide {
  typedef float type;
};
template <>
struct Wide<double> {
  typedef double type;
};
template <>
struct Wide<i64> {
  typedef i64 type;
};
template <>
struct Wide<bool> {
  typedef i64 type;
};
typedef decltype(lane(IN{})) Lane;
typedef Wide<Lane>::type Sum;

inline Sum lowest(float) { return (Sum)-infinity(); }
inline Sum lowest(double) { return (Sum)-infinity(); }
inline Sum lowest(i64) { return (Sum)0x8000000000000000ull; }
inline Sum highest(float) { return (Sum)infinity(); }
inline Sum highest(double) { return (Sum)infinity(); }
inline Sum highest(i64) { return (Sum)0x7fffffffffffffffull; }

// A partial result. For kVar `value` is the mean and `more` the sum of squares about it; for kArgmax `more` is not
// used.
struct Part {
  Sum value;
#if KIND == 4
  Sum more;
#elif KIND == 7
  u32 index;
#endif
};

inline Part nothing() {
  Part p{};
  if (KIND == kMax || KIND == kArgmax) p.value = lowest(Sum{});
  if (KIND == kMin) p.value = highest(Sum{});
  if (KIND == kAll) p.value = 1;
#if KIND == 7
  p.index = 0xffffffffu;
#endif
  return p;
}

// Of two values; partial means and variances are merged by merge_moments.
inline Part merge(Part a, Part b) {
#if KIND == 7
  const bool a_nan = a.value != a.value, b_nan = b.value != b.value;
  const bool same = a.value == b.value || (a_nan && b_nan);
  const bool take = same ? b.index < a.index : b_nan || (!a_nan && b.value > a.value);
  return take ? b : a;
#else
  if (KIND == kMax)
    a.value = fn_maximum(a.value, b.value);
  else if (KIND == kMin)
    a.value = fn_minimum(a.value, b.value);
  else if (KIND == kAny)
    a.value = a.value != 0 || b.value != 0;
  else if (KIND == kAll)
    a.value = a.value != 0 && b.value != 0;
  else
    a.value = fn_add(a.value, b.value);
  return a;
#endif
}

inline void take(Part& p, IN x, u32 index) {
  Part one{};
  one.value = (Sum)lane(x);
  if (KIND == kAny || KIND == kAll) one.value = as_bool(lane(x));
#if KIND == 7
  one.index = index;
#endif
  p = merge(p, one);
}
// The second pass of a variance.
inline void take_square(Part& p, IN x, Sum mean) {
  const Sum d = (Sum)lane(x) - mean;
  p.value += d * d;
}

inline Part from_lane(Part p, int step) {
  Part q = p;
  q.value = __shfl_xor_sync(0xffffffffu, p.value, step);
#if KIND == 4
  q.more = __shfl_xor_sync(0xffffffffu, p.more, step);
#elif KIND == 7
  q.index = __shfl_xor_sync(0xffffffffu, p.index, step);
#endif
  return q;
}

inline u32 part_size(const Task& t, u32 split) {
  const u32 begin = split * t.chunk;
  return begin >= t.count ? 0 : t.count - begin < t.chunk ? t.count - begin : t.chunk;
}

// Chan, Golub and LeVeque, "Updating formulae and a pairwise algorithm for computing sample variances", 1979.
inline void merge_moments(Part& a, Sum& a_count, Part b, Sum b_count) {
#if KIND == 4
  if (b_count == 0) return;
  const Sum count = a_count + b_count, d = b.value - a.value;
  a.more = a_count == 0 ? b.more : a.more + b.more + d * d * (a_count * b_count / count);
  a.value = a_count == 0 ? b.value : a.value + d * (b_count / count);
  a_count = count;
#endif
}

inline void result(OUT& y, Part p, const Task& t) {
#if KIND == 7
  put(y, (i64)p.index);
#elif KIND == 4
  const Sum degrees = (Sum)t.count - (Sum)t.correction;
  put(y, p.more / (degrees > 0 ? degrees : (Sum)0));
#elif KIND == 1
  put(y, p.value / (Sum)t.count);
#elif KIND == 5 || KIND == 6
  put(y, p.value != 0);
#else
  put(y, (decltype(lane(OUT{})))p.value);
#endif
}

inline void finish(OUT* y, Part* parts, const Task& t, u32 output, u32 split, Part p) {
  if (t.splits > 1)
    parts[(u64)split * t.outputs + output] = p;
  else
    result(y[output], p, t);
}

constexpr int kThreads = 256;

#ifdef ROWS
// All threads of the group get the result. The whole block comes here.
inline Part combine(Part p, u32 group, Part* slots) {
  for (u32 step = (group < 32 ? group : 32) / 2; step; step >>= 1) p = merge(p, from_lane(p, step));
  if (group <= 32) return p;
  __syncthreads();
  if (threadIdx.x % 32 == 0) slots[threadIdx.x / 32] = p;
  __syncthreads();
  p = slots[0];
  for (u32 i = 1; i < group / 32; ++i) p = merge(p, slots[i]);
  return p;
}

template <class F>
inline void each(const IN* row, const Task& t, u32 begin, u32 end, u32 lane_of_group, F f) {
  if (!t.run) {
#pragma unroll 1
    for (u32 i = begin + lane_of_group; i < end; i += t.group) f(row[t.reduced.offset(i)], i);
  } else if (VEC > 1 && aligned(address(row + begin), sizeof(IN) * VEC)) {
    const u32 whole = begin + (end - begin) / VEC * VEC;
#pragma unroll 4
    for (u32 i = begin + lane_of_group * VEC; i < whole; i += t.group * VEC) {
      Raw<IN, VEC> x;
      x.load(row + i);
#pragma unroll
      for (int e = 0; e < VEC; ++e) f(x.e[e], i + e);
    }
#pragma unroll 1
    for (u32 i = whole + lane_of_group; i < end; i += t.group) f(row[i], i);
  } else {
#pragma unroll 4
    for (u32 i = begin + lane_of_group; i < end; i += t.group) f(row[i], i);
  }
}

extern "C" __global__ void __launch_bounds__(kThreads)
    reduce_rows(const __grid_constant__ Task t, const IN* x, OUT* y, Part* parts) {
  __shared__ Part slots[kThreads / 32];
  grid_release();
  grid_wait();
  const u32 groups = blockDim.x / t.group, here = threadIdx.x % t.group;
  const u32 unit = blockIdx.x * groups + threadIdx.x / t.group;  // output and split
  const bool active = unit < t.outputs * t.splits;
  const u32 output = active ? unit / t.splits : 0, split = active ? unit % t.splits : 0;
  const IN* row = x + t.kept.offset(output);
  const u32 begin = split * t.chunk, end = active ? begin + part_size(t, split) : begin;
  Part p = nothing();
  each(row, t, begin, end, here, [&](IN v, u32 i) { take(p, v, i); });
  p = combine(p, t.group, slots);
#if KIND == 4
  const Sum mean = p.value / (Sum)part_size(t, split);
  p = nothing();
  each(row, t, begin, end, here, [&](IN v, u32) { take_square(p, v, mean); });
  p = combine(p, t.group, slots);
  p.more = p.value;
  p.value = mean;
#endif
  if (active && here == 0) finish(y, parts, t, output, split, p);
}
#endif

#ifdef COLUMNS
// Threads: `across` along the outputs of a row, each with VEC of them, the others along what is reduced.
extern "C" __global__ void __launch_bounds__(kThreads)
    reduce_columns(const __grid_constant__ Task t, const IN* x, OUT* y, Part* parts) {
  __shared__ Part slots[kThreads * VEC];
  grid_release();
  grid_wait();
  const u32 tx = threadIdx.x % t.across, ty = threadIdx.x / t.across, down = blockDim.x / t.across;
  const u32 blocks = (t.width + t.across * VEC - 1) / (t.across * VEC);
  const u32 strip = blockIdx.x % blocks, rest = blockIdx.x / blocks, split = rest % t.splits, row = rest / t.splits;
  const u32 column = (strip * t.across + tx) * VEC, left = column < t.width ? t.width - column : 0;
  const u32 begin = split * t.chunk, end = begin + part_size(t, split);
  const IN* from = x + t.kept.offset(row) + column;
  const auto load = [&](i64 at, IN(&v)[VEC]) {
    const IN* p = from + at;
    if (left >= VEC && aligned(address(p), sizeof(IN) * VEC)) {
      Raw<IN, VEC> raw;
      raw.load(p);
#pragma unroll
      for (int e = 0; e < VEC; ++e) v[e] = raw.e[e];
    } else {
#pragma unroll
      for (int e = 0; e < VEC; ++e) v[e] = (u32)e < left ? p[e] : IN{};
    }
  };
  // f(v, i) for this thread's share of the reduced elements.
  const auto sweep = [&](auto f) {
    if (!left) return;
    if (t.reduced.rank == 1) {
#pragma unroll 4
      for (u32 i = begin + ty; i < end; i += down) {
        IN v[VEC];
        load(i * t.reduced.strides[0], v);
        f(v, i);
      }
    } else {
#pragma unroll 1
      for (u32 i = begin + ty; i < end; i += down) {
        IN v[VEC];
        load(t.reduced.offset(i), v);
        f(v, i);
      }
    }
  };
  Part p[VEC];
  const auto combine = [&] {
#pragma unroll
    for (int e = 0; e < VEC; ++e) slots[e * kThreads + threadIdx.x] = p[e];
    for (u32 half = down / 2; half; half >>= 1) {
      __syncthreads();
      if (ty < half)
#pragma unroll
        for (int e = 0; e < VEC; ++e) {
          Part* a = slots + e * kThreads + threadIdx.x;
          *a = merge(*a, a[half * t.across]);
        }
    }
    __syncthreads();
#pragma unroll
    for (int e = 0; e < VEC; ++e) p[e] = slots[e * kThreads + tx];
  };
#pragma unroll
  for (int e = 0; e < VEC; ++e) p[e] = nothing();
  sweep([&](const IN(&v)[VEC], u32 i) {
#pragma unroll
    for (int e = 0; e < VEC; ++e) take(p[e], v[e], i);
  });
  combine();
#if KIND == 4
  Sum mean[VEC];
#pragma unroll
  for (int e = 0; e < VEC; ++e) {
    mean[e] = p[e].value / (Sum)part_size(t, split);
    p[e] = nothing();
  }
  __syncthreads();
  sweep([&](const IN(&v)[VEC], u32) {
#pragma unroll
    for (int e = 0; e < VEC; ++e) take_square(p[e], v[e], mean[e]);
  });
  combine();
#pragma unroll
  for (int e = 0; e < VEC; ++e) {
    p[e].more = p[e].value;
    p[e].value = mean[e];
  }
#endif
  if (ty == 0)
#pragma unroll
    for (int e = 0; e < VEC; ++e)
      if ((u32)e < left) finish(y, parts, t, row * t.width + column + e, split, p[e]);
}
#endif

#ifdef FINISH
// A warp for each output.
extern "C" __global__ void __launch_bounds__(kThreads)
    reduce_finish(const __grid_constant__ Task t, const Part* parts, OUT* y) {
  grid_release();
  grid_wait();
  const u32 output = blockIdx.x * (kThreads / 32) + threadIdx.x / 32, here = threadIdx.x % 32;
  if (output >= t.outputs) return;  // a whole warp
  Part p = nothing();
  Sum count = 0;
  for (u32 split = here; split < t.splits; split += 32) {
    const Part q = parts[(u64)split * t.outputs + output];
    if (KIND == kVar)
      merge_moments(p, count, q, (Sum)part_size(t, split));
    else
      p = merge(p, q);
  }
#pragma unroll
  for (int step = 16; step; step >>= 1) {
    const Part q = from_lane(p, step);
    if (KIND == kVar)
      merge_moments(p, count, q, __shfl_xor_sync(0xffffffffu, count, step));
    else
      p = merge(p, q);
  }
  if (here == 0) result(y[output], p, t);
}
#endif
