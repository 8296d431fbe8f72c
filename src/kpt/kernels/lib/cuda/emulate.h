// SPDX-License-Identifier: Apache-2.0
#pragma once
// Runs CUDA kernels on the host, lane by lane, for tests where there is no GPU: each thread of a
// block is a fiber; what a warp or a block does together (ldmatrix, mma, shuffles, barriers) is done when all have
// come. The next fiber is drawn at random, asynchronous copies land only when they are waited for and shared memory
// starts as NaN: a missing barrier or wait shows. Not thread-safe. x86-64 and Arm Linux (ucontext).
#include <ucontext.h>

#include <cmath>
#include <functional>
#include <random>
#include <vector>

#include "kpt/kernels/lib/cuda/work.h"

// NOLINTBEGIN(readability-identifier-naming): these are CUDA's names.
namespace kpt::emulate {

using i8 = signed char;
using u8 = unsigned char;
using i32 = int;
using i64 = long long;
using u32 = unsigned;
using u64 = unsigned long long;
using f32 = float;
struct boolean {
  u8 bits;
};
struct bf16 {
  unsigned short bits;
};
struct f16 {
  unsigned short bits;
};
struct float2 {
  float x, y;
};
struct alignas(16) float4 {
  float x, y, z, w;
};
struct Index {
  unsigned x = 0, y = 0, z = 0;
};
inline Index threadIdx, blockIdx, gridDim, blockDim;

// One block of threads at a time.
class Block {
 public:
  static Block& current() {
    static Block block;
    return block;
  }
  // Runs `kernel` for every thread of every block. Throws Error{internal} where threads wait for each other for ever.
  void run(const CudaShape& shape, unsigned seed, const std::function<void()>& kernel);

  // Leaves `argument` and waits for the other lanes of the warp; the last to come calls meet(arguments of all lanes).
  void together(void* argument, const std::function<void(void**)>& meet);
  void barrier();
  unsigned lane() const { return threadIdx.x % 32; }

  std::vector<unsigned char> shared;

  struct Copy {
    u32 to;
    const void* from;
    bool whole;
  };
  void copy(const Copy& c) { fibers_[threadIdx.x].open.push_back(c); }
  void commit();
  void wait(size_t most);  // till at most so many groups are under way

 private:
  struct Fiber {
    ucontext_t context{};
    std::vector<char> stack;
    bool done = false;
    std::vector<Copy> open;
    std::vector<std::vector<Copy>> groups;
  };
  struct Meeting {
    std::vector<unsigned> waiting;
    void* arguments[32];
  };
  static void enter();
  void pause();
  void resume(const std::vector<unsigned>& threads);

  std::vector<Fiber> fibers_;
  std::vector<Meeting> warps_;
  std::vector<unsigned> at_barrier_, ready_;
  ucontext_t home_{};
  std::mt19937 random_;
  const std::function<void()>* kernel_ = nullptr;
};

inline void Block::enter() {
  Block& block = current();
  (*block.kernel_)();
  block.fibers_[threadIdx.x].done = true;
  swapcontext(&block.fibers_[threadIdx.x].context, &block.home_);
}

inline void Block::pause() { swapcontext(&fibers_[threadIdx.x].context, &home_); }
inline void Block::resume(const std::vector<unsigned>& threads) {
  ready_.insert(ready_.end(), threads.begin(), threads.end());
}

inline void Block::together(void* argument, const std::function<void(void**)>& meet) {
  Meeting& warp = warps_[threadIdx.x / 32];
  warp.arguments[lane()] = argument;
  if (warp.waiting.size() < 31) {
    warp.waiting.push_back(threadIdx.x);
    return pause();
  }
  meet(warp.arguments);
  resume(warp.waiting);
  warp.waiting.clear();
}

inline void Block::barrier() {
  if (at_barrier_.size() + 1 < fibers_.size()) {
    at_barrier_.push_back(threadIdx.x);
    return pause();
  }
  resume(at_barrier_);
  at_barrier_.clear();
}

inline void Block::commit() {
  Fiber& f = fibers_[threadIdx.x];
  f.groups.push_back(std::move(f.open));
  f.open.clear();
}

inline void Block::wait(size_t most) {
  Fiber& f = fibers_[threadIdx.x];
  while (f.groups.size() > most) {
    for (const Copy& c : f.groups.front()) {
      KPT_CHECK(c.to % 16 == 0 && c.to + 16 <= shared.size(), "emulate.copy", "shared address ", c.to);
      KPT_CHECK(!c.whole || reinterpret_cast<uintptr_t>(c.from) % 16 == 0, "emulate.copy", "global address");
      std::memset(shared.data() + c.to, 0, 16);
      if (c.whole) std::memcpy(shared.data() + c.to, c.from, 16);
    }
    f.groups.erase(f.groups.begin());
  }
}

inline void Block::run(const CudaShape& shape, unsigned seed, const std::function<void()>& kernel) {
  KPT_CHECK(shape.grid[1] == 1 && shape.grid[2] == 1 && shape.block[1] == 1 && shape.block[2] == 1, "emulate.run",
            "want one dimension");
  KPT_CHECK(shape.block[0] % 32 == 0, "emulate.run", "want whole warps");
  random_.seed(seed);
  gridDim = {shape.grid[0], 1, 1};
  blockDim = {shape.block[0], 1, 1};
  kernel_ = &kernel;
  fibers_.resize(shape.block[0]);
  warps_.assign(shape.block[0] / 32, {});
  for (blockIdx.x = 0; blockIdx.x < shape.grid[0]; ++blockIdx.x) {
    shared.assign(shape.shared_bytes + 16, 0xff);
    ready_.clear();
    for (unsigned i = 0; i < shape.block[0]; ++i) {
      Fiber& f = fibers_[i];
      f.done = false;
      f.open.clear();
      f.groups.clear();
      f.stack.resize(64 << 10);
      getcontext(&f.context);
      f.context.uc_stack.ss_sp = f.stack.data();
      f.context.uc_stack.ss_size = f.stack.size();
      f.context.uc_link = nullptr;
      makecontext(&f.context, &Block::enter, 0);
      ready_.push_back(i);
    }
    for (unsigned done = 0; done < shape.block[0];) {
      KPT_CHECK(!ready_.empty(), "emulate.run", "threads of block ", blockIdx.x, " wait for each other");
      const size_t pick = random_() % ready_.size();
      threadIdx.x = ready_[pick];
      ready_[pick] = ready_.back();
      ready_.pop_back();
      swapcontext(&home_, &fibers_[threadIdx.x].context);
      done += fibers_[threadIdx.x].done;
    }
  }
}

// The device functions.

inline float to_float(f32 x) { return x; }
inline float to_float(bf16 x) { return bf16_to_f32(x.bits); }
inline float to_float(f16 x) { return f16_to_f32(x.bits); }
inline unsigned short rounded(float x, bf16) { return f32_to_bf16(x); }
inline unsigned short rounded(float x, f16) { return f32_to_f16(x); }
template <class T>
T from_float(float x) {
  if constexpr (std::is_same_v<T, f32>)
    return x;
  else
    return T{rounded(x, T{})};
}
template <class T>
u32 pack_pair(float low, float high, T) {
  return rounded(low, T{}) | static_cast<u32>(rounded(high, T{})) << 16;
}
template <class T, int N>
struct alignas(sizeof(T) * N) Pack {
  T e[N];
};

template <class T>
T min(T a, T b) {
  return a < b ? a : b;
}
template <class T>
T max(T a, T b) {
  return a > b ? a : b;
}
inline float2 make_float2(float x, float y) { return {x, y}; }
inline float4 make_float4(float x, float y, float z, float w) { return {x, y, z, w}; }
inline float __int_as_float(int bits) {
  float x;
  std::memcpy(&x, &bits, 4);
  return x;
}
inline float __fmul_rz(float a, float b) {  // toward 0: finite factors have a finite product
  const double exact = static_cast<double>(a) * b;
  const auto nearest = static_cast<float>(exact);
  return std::abs(nearest) > std::abs(exact) ? std::nextafter(nearest, 0.f) : nearest;
}
inline int __clz(int x) { return x ? __builtin_clz(static_cast<unsigned>(x)) : 32; }
inline void atomicMin(int* at, int x) { *at = min(*at, x); }
inline void atomicMax(int* at, int x) { *at = max(*at, x); }
inline float exp2_of(float x) { return ::exp2f(x); }
inline void grid_wait() {}
inline void grid_release() {}

inline void __syncthreads() { Block::current().barrier(); }
inline void __syncwarp() {
  Block::current().together(nullptr, [](void**) {});
}
inline float __shfl_xor_sync(u32, float x, int step) {
  struct {
    float in, out;
  } mine{x, 0};
  using Mine = decltype(mine);
  Block::current().together(&mine, [step](void** all) {
    for (int l = 0; l < 32; ++l) static_cast<Mine*>(all[l])->out = static_cast<Mine*>(all[l ^ step])->in;
  });
  return mine.out;
}
inline u32 __ballot_sync(u32, bool x) {
  struct {
    bool in;
    u32 out;
  } mine{x, 0};
  using Mine = decltype(mine);
  Block::current().together(&mine, [](void** all) {
    u32 bits = 0;
    for (int l = 0; l < 32; ++l) bits |= static_cast<u32>(static_cast<Mine*>(all[l])->in) << l;
    for (int l = 0; l < 32; ++l) static_cast<Mine*>(all[l])->out = bits;
  });
  return mine.out;
}

inline u32 shared_address(const void* p) {
  return static_cast<u32>(static_cast<const unsigned char*>(p) - Block::current().shared.data());
}
inline void copy_async(u32 to, const void* from, bool whole) { Block::current().copy({to, from, whole}); }
inline void copy_commit() { Block::current().commit(); }
template <int N>
void copy_wait() {
  Block::current().wait(N);
}

// PTX ISA, ldmatrix: lane 8 m + r names row r of matrix m; register m of lane l is row l / 4, columns 2 (l % 4) and on.
inline void matrices(u32 (&r)[4], u32 address, bool transposed) {
  struct Mine {
    u32 address;
    u32* out;
  } mine{address, r};
  Block::current().together(&mine, [transposed](void** all) {
    const std::vector<unsigned char>& shared = Block::current().shared;
    const auto element = [&](int m, int row, int column) {
      const u32 at = static_cast<Mine*>(all[8 * m + row])->address;
      KPT_CHECK(at % 16 == 0 && at + 16 <= shared.size(), "emulate.ldmatrix", "shared address ", at);
      unsigned short bits;
      std::memcpy(&bits, shared.data() + at + column * 2, 2);
      return static_cast<u32>(bits);
    };
    for (int l = 0; l < 32; ++l)
      for (int m = 0; m < 4; ++m) {
        const int i = l / 4, j = l % 4 * 2;
        static_cast<Mine*>(all[l])->out[m] =
            transposed ? element(m, j, i) | element(m, j + 1, i) << 16 : element(m, i, j) | element(m, i, j + 1) << 16;
      }
  });
}
inline void load_matrices(u32 (&r)[4], u32 address) { matrices(r, address, false); }
inline void load_matrices_transposed(u32 (&r)[4], u32 address) { matrices(r, address, true); }

// PTX ISA, mma.m16n8k16 with 16-bit factors.
template <class T>
void multiply_add(float (&c)[4], const u32 (&a)[4], u32 b0, u32 b1, T) {
  struct Mine {
    float* c;
    const u32* a;
    u32 b[2];
  } mine{c, a, {b0, b1}};
  Block::current().together(&mine, [](void** all) {
    const auto half = [](u32 pair, int which) {
      return to_float(T{static_cast<unsigned short>(which ? pair >> 16 : pair)});
    };
    float x[16][16], y[16][8];
    for (int l = 0; l < 32; ++l) {
      const Mine& m = *static_cast<Mine*>(all[l]);
      const int g = l / 4, i = l % 4 * 2;
      for (int w = 0; w < 2; ++w) {
        x[g][i + w] = half(m.a[0], w);
        x[g + 8][i + w] = half(m.a[1], w);
        x[g][i + 8 + w] = half(m.a[2], w);
        x[g + 8][i + 8 + w] = half(m.a[3], w);
        y[i + w][g] = half(m.b[0], w);
        y[i + 8 + w][g] = half(m.b[1], w);
      }
    }
    for (int l = 0; l < 32; ++l)
      for (int n = 0; n < 4; ++n) {
        const int row = l / 4 + n / 2 * 8, column = l % 4 * 2 + n % 2;
        float sum = 0;
        for (int k = 0; k < 16; ++k) sum += x[row][k] * y[k][column];
        static_cast<Mine*>(all[l])->c[n] += sum;
      }
  });
}

}  // namespace kpt::emulate

#define KPT_EMULATED 1
#define KERNEL inline
#define SHARED_MEMORY(name) unsigned char* name = Block::current().shared.data()
#define __launch_bounds__(...)
#define __shared__ static
// NOLINTEND(readability-identifier-naming)
