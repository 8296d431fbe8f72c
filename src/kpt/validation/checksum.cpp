// SPDX-License-Identifier: Apache-2.0
#include <algorithm>
#include <vector>

#include "kpt/base/threads.h"
#include "kpt/validation/validation.h"

namespace kpt {

Checksum checksum(const Tensor& x, int threads) {
  constexpr int64_t kPiece = 4 << 20;  // bytes: about 1 ms
  const Tensor t = x.desc.is_contiguous() ? x : x.clone();
  const auto* const data = static_cast<const char*>(t.data);
  const auto bytes = static_cast<int64_t>(t.desc.bytes());
  const int64_t pieces = (bytes + kPiece - 1) / kPiece;
  std::vector<Checksum> sums(static_cast<size_t>(pieces));
  parallel(pieces, threads, [&](int64_t i, int) {
    const int64_t at = i * kPiece;
    sums[static_cast<size_t>(i)].add(data + at, std::min(kPiece, bytes - at), static_cast<uint64_t>(at / 8) + 1);
  });
  Checksum out;
  for (const Checksum& sum : sums) out.add(sum);
  return out;
}

}  // namespace kpt
