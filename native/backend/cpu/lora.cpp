// Low-rank updates of linear layers and of embeddings, with their dropout.
//
// Sums over a layer's input or output are dot products (linear_rows.h), what has the rank inside or sums over
// rows has products of its own (low_rank_products.h). The update is added to its columns of the layer's
// output in place, so that neither scale B A nor its product with x exist by themselves.
#include <algorithm>

#include "backend/cpu/cpu_backend.h"
#include "backend/cpu/gemm.h"
#include "backend/cpu/linear_rows.h"
#include "backend/cpu/low_rank_products.h"
#include "backend/cpu/parallel.h"

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "backend/cpu/lora.cpp"
#include <hwy/foreach_target.h>
#include <hwy/highway.h>

#include "backend/cpu/simd-inl.h"

HWY_BEFORE_NAMESPACE();
namespace anneal::cpu::HWY_NAMESPACE {

using U32 = hn::ScalableTag<uint32_t>;
using Bits = hn::Vec<U32>;

struct Product {
  Bits high, low;
};

/// The halves of the 64-bit products of each lane with `factor`.
HWY_INLINE Product multiply(Bits x, Bits factor) {
  const U32 d;
#if HWY_TARGET == HWY_SCALAR
  const uint64_t product = uint64_t{hn::GetLane(x)} * hn::GetLane(factor);
  return {hn::Set(d, static_cast<uint32_t>(product >> 32)), hn::Mul(x, factor)};
#else
  const hn::RepartitionToWide<U32> wide;
  const Bits odd = hn::BitCast(d, hn::ShiftRight<32>(hn::BitCast(wide, x)));
  const Bits high_even = hn::BitCast(d, hn::ShiftRight<32>(hn::MulEven(x, factor)));
  const Bits high_odd = hn::BitCast(d, hn::MulEven(odd, factor));
  return {hn::OddEven(high_odd, high_even), hn::Mul(x, factor)};
#endif
}

/// Philox4x32-10 as in engine/philox.h, one counter a lane; words[4 * lane + i] is number i of a lane.
HWY_INLINE void philox_lanes(uint64_t key, uint32_t first, uint64_t row, uint32_t module, uint32_t* words) {
  const U32 d;
  uint32_t key0 = static_cast<uint32_t>(key);
  uint32_t key1 = static_cast<uint32_t>(key >> 32);
  Bits c0 = hn::Iota(d, first);
  Bits c1 = hn::Set(d, static_cast<uint32_t>(row));
  Bits c2 = hn::Set(d, static_cast<uint32_t>(row >> 32));
  Bits c3 = hn::Set(d, module);
  for (int round = 0; round < 10; ++round) {
    const Product p0 = multiply(c0, hn::Set(d, 0xD2511F53u));
    const Product p1 = multiply(c2, hn::Set(d, 0xCD9E8D57u));
    c0 = hn::Xor(p1.high, hn::Xor(c1, hn::Set(d, key0)));
    c1 = p1.low;
    c2 = hn::Xor(p0.high, hn::Xor(c3, hn::Set(d, key1)));
    c3 = p0.low;
    key0 += 0x9E3779B9u;
    key1 += 0xBB67AE85u;
  }
  hn::StoreInterleaved4(c0, c1, c2, c3, d, words);
}

/// to[t, i] = x[t, i] / (1 - p) where it is kept and 0 where it is dropped; += with `accumulate`.
void dropout_rows(float* to, const float* x, const LowRank& update, int64_t begin, int64_t end,
                  bool accumulate) {
  const int64_t width = update.in;
  const float keep_scale = 1.0f / (1.0f - update.dropout);
  // Dropped if the 32 bits are below p 2^32.
  const auto threshold = static_cast<uint32_t>(static_cast<double>(update.dropout) * 0x1p32);
  alignas(64) uint32_t words[4 * kLanes];
  for (int64_t t = begin; t < end; ++t) {
    const float* from = x + t * width;
    float* row = to + t * width;
    const auto index = static_cast<uint64_t>(t + update.dropout_row);
    for (int64_t i = 0; i < width; i += 4 * kLanes) {
      philox_lanes(update.dropout_seed, static_cast<uint32_t>(i / 4), index, update.module, words);
      const int64_t count = std::min<int64_t>(4 * kLanes, width - i);
      for (int64_t k = 0; k < count; ++k) {
        const float kept = words[k] < threshold ? 0.0f : from[i + k] * keep_scale;
        row[i + k] = accumulate ? row[i + k] + kept : kept;
      }
    }
  }
}

}  // namespace anneal::cpu::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace anneal::cpu {

HWY_EXPORT(dropout_rows);

namespace {

constexpr int64_t kMinPerThread = 1 << 14;  // numbers drawn
constexpr int64_t kMinProducts = 1 << 17;   // multiplications of a thread

int64_t align(int64_t floats) { return (floats + 15) / 16 * 16; }

void dropout(int threads, float* to, const float* x, const LowRank& update, int64_t T, bool accumulate) {
  parallel_ranges(threads, T, kMinPerThread / std::max<int64_t>(1, update.in),
                  [&](int64_t begin, int64_t end, int) {
                    HWY_DYNAMIC_DISPATCH(dropout_rows)(to, x, update, begin, end, accumulate);
                  });
}

/// u [T, rank] = scale x w^T for w [rank, n], rows of x x_stride floats apart; divided by rows.
void reduce(int threads, float* u, const float* x, const float* w, const LowRank& update, int64_t T,
            int64_t n, int64_t x_stride) {
  const int64_t R = update.rank;
  parallel_ranges(
      threads, T, kMinProducts / std::max<int64_t>(1, R * n), [&](int64_t begin, int64_t end, int) {
        float* rows = u + begin * R;
        linear_rows(rows, x + begin * x_stride, w, nullptr, end - begin, n, x_stride, R, 0, R, false);
        for (int64_t i = 0; i < (end - begin) * R; ++i) rows[i] *= update.scale;
      });
}

/// y [T, n] += u w for w [rank, n]; divided by rows.
void expand(int threads, float* y, const float* u, const float* w, int64_t rank, int64_t T, int64_t n,
            int64_t y_stride, bool accumulate) {
  parallel_ranges(threads, T, kMinProducts / std::max<int64_t>(1, rank * n),
                  [&](int64_t begin, int64_t end, int) {
                    expand_rank(y, u, w, rank, n, y_stride, begin, end, accumulate);
                  });
}

/// d += u^T x as contract_rows says; divided by columns.
void contract(int threads, float* d, int64_t row_stride, int64_t column_stride, const float* u,
              const float* x, int64_t rank, int64_t T, int64_t n, int64_t x_stride) {
  constexpr int64_t kColumns = 48;  // divided at whole panels
  parallel_ranges(threads, (n + kColumns - 1) / kColumns,
                  kMinProducts / std::max<int64_t>(1, rank * T * kColumns),
                  [&](int64_t begin, int64_t end, int) {
                    contract_rows(d, row_stride, column_stride, u, x, T, rank, x_stride, begin * kColumns,
                                  std::min(n, end * kColumns));
                  });
}

/// to [rank, out] = b^T
void transpose_b(int threads, float* to, const LowRank& update) {
  constexpr int64_t kBlock = 256;  // rows of b that stay in the first cache
  const int64_t R = update.rank;
  parallel_ranges(threads, update.out, kMinPerThread / std::max<int64_t>(1, R),
                  [&](int64_t begin, int64_t end, int) {
                    for (int64_t first = begin; first < end; first += kBlock) {
                      const int64_t last = std::min(end, first + kBlock);
                      for (int64_t r = 0; r < R; ++r) {
                        for (int64_t o = first; o < last; ++o) to[r * update.out + o] = update.b[o * R + r];
                      }
                    }
                  });
}

/// u[t, r] = scale A[r, ids[t]]
void gather_columns(float* u, const int32_t* ids, const LowRank& update, int64_t T) {
  for (int64_t t = 0; t < T; ++t) {
    for (int64_t r = 0; r < update.rank; ++r) {
      u[t * update.rank + r] = update.scale * update.a[r * update.in + ids[t]];
    }
  }
}

}  // namespace

size_t CpuBackend::low_rank_workspace(const LowRank& update, int64_t T) const {
  const int64_t dropped = update.dropout > 0.0f ? align(T * update.in) : 0;
  const int64_t transposed = align(update.rank * update.out);
  return static_cast<size_t>(2 * align(T * update.rank) + transposed + dropped) * sizeof(float);
}

void CpuBackend::low_rank_dropout(float* to, const float* x, const LowRank& update, int64_t T,
                                  bool accumulate) {
  dropout(threads_, to, x, update, T, accumulate);
}

void CpuBackend::low_rank_forward(float* y, float* u, const float* x, const LowRank& update, int64_t T,
                                  int64_t y_stride, float* workspace) {
  float* b = workspace;
  if (update.dropout > 0.0f) {
    float* dropped = workspace + align(update.rank * update.out);
    dropout(threads_, dropped, x, update, T, false);
    x = dropped;
  }
  reduce(threads_, u, x, update.a, update, T, update.in, update.in);
  if (y == nullptr) return;
  transpose_b(threads_, b, update);
  expand(threads_, y, u, b, update.rank, T, update.out, y_stride, true);
}

void CpuBackend::low_rank_backward(float* dx, const float* dy, const float* x, const float* u,
                                   const LowRank& update, int64_t T, int64_t y_stride, float* workspace) {
  const int64_t R = update.rank;
  if (update.d_b != nullptr) {
    contract(threads_, update.d_b, 1, R, u, dy, R, T, update.out, y_stride);
  }
  if (update.d_a == nullptr && dx == nullptr) return;
  float* du = workspace;
  float* b = du + align(T * R);
  float* dropped = b + align(R * update.out);
  transpose_b(threads_, b, update);
  reduce(threads_, du, dy, b, update, T, update.out, y_stride);
  const bool drops = update.dropout > 0.0f;
  if (update.d_a != nullptr) {
    if (drops) dropout(threads_, dropped, x, update, T, false);
    contract(threads_, update.d_a, update.in, 1, du, drops ? dropped : x, R, T, update.in, update.in);
  }
  if (dx == nullptr) return;
  expand(threads_, drops ? dropped : dx, du, update.a, R, T, update.in, update.in, !drops);
  if (drops) dropout(threads_, dx, dropped, update, T, true);
}

void CpuBackend::low_rank_embedding_forward(float* out, const int32_t* ids, const LowRank& update, int64_t T,
                                            float* workspace) {
  gather_columns(workspace, ids, update, T);
  linear_forward(out, workspace, update.b, nullptr, T, update.rank, update.out, update.out, true);
}

void CpuBackend::low_rank_embedding_backward(const float* d_out, const int32_t* ids, const LowRank& update,
                                             int64_t T, float* workspace) {
  const int64_t R = update.rank;
  float* u = workspace;
  float* du = workspace + align(T * R);
  if (update.d_b != nullptr) {
    gather_columns(u, ids, update, T);
    gemm(threads_, update.out, R, T, 1.0f, {d_out, update.out, true}, {u, R}, 1.0f, update.d_b, R);
  }
  if (update.d_a == nullptr) return;
  gemm(threads_, T, R, update.out, update.scale, {d_out, update.out}, {update.b, R}, 0.0f, du, R);
  for (int64_t t = 0; t < T; ++t) {
    for (int64_t r = 0; r < R; ++r) update.d_a[r * update.in + ids[t]] += du[t * R + r];
  }
}

}  // namespace anneal::cpu
#endif
