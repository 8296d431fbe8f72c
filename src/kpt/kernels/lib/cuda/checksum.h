// SPDX-License-Identifier: Apache-2.0
#pragma once
#include <cstring>

#include "kpt/tensor/tensor.h"

namespace kpt {

struct CudaProgram;

// 128 bits that tell one tensor's memory from another's: sums of its 8-byte words, each mixed with its place in the way
// of MurmurHash3's finaliser. Tells what differs by chance, not what was made to collide. Sums of integers come out the
// same in any order, so a CPU's threads and a GPU's blocks give the same bits.
struct Checksum {
  uint64_t first = 0, second = 0;

  void add(uint64_t word, uint64_t place) {
    uint64_t h = (word ^ (place * 0x9E3779B97F4A7C15u)) * 0xFF51AFD7ED558CCDu;
    h = (h ^ (h >> 32)) * 0xC4CEB9FE1A85EC53u;
    h ^= h >> 29;
    first += h;
    second += h * (2 * place + 1);
  }
  void add(const Checksum& more) {
    first += more.first;
    second += more.second;
  }
  // Words of 8 bytes from memory of any alignment, the first at that place; what is left of a word is filled with 0.
  void add(const char* bytes, int64_t count, uint64_t place) {
    for (; count >= 8; bytes += 8, count -= 8, ++place) {
      uint64_t word;
      std::memcpy(&word, bytes, 8);
      add(word, place);
    }
    uint64_t last = 0;
    if (count > 0) {
      std::memcpy(&last, bytes, static_cast<size_t>(count));
      add(last, place);
    }
  }
  bool operator==(const Checksum&) const = default;
};

// Of a contiguous tensor on that device whose address is a multiple of 8. Waits for the stream. Thread-safe.
KPT_API Checksum cuda_checksum(const Tensor& x, int device, void* stream);

CudaProgram checksum_program();  // for the test that compiles it

}  // namespace kpt
