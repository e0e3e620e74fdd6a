// Products with a rank as one of their sides, which is small: a BLAS packs both operands for little work.
//
// Here each large operand is read or written once, in whole vectors of its rows: expand_rank keeps a block of
// results in registers for all of the rank; contract_rows copies a panel of columns to the first cache, where
// all of the rank reads it (rows a power of two apart would fall into the same few sets of the cache).
#include "backend/cpu/low_rank_products.h"

#include <algorithm>

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "backend/cpu/low_rank_products.cpp"
#include <hwy/foreach_target.h>
#include <hwy/highway.h>

#include "backend/cpu/simd-inl.h"

HWY_BEFORE_NAMESPACE();
namespace anneal::cpu::HWY_NAMESPACE {

// The compiler keeps the results in registers only if it unrolls these loops entirely.
#define ANNEAL_UNROLL _Pragma("GCC unroll 16")

// Blocks of results: 32 vector registers hold 24 and their operands, 16 hold 12.
constexpr bool kManyRegisters = HWY_TARGET == HWY_AVX3;
constexpr int kExpandRows = kManyRegisters ? 12 : 6;   // by 2 vectors
constexpr int kContractRows = kManyRegisters ? 8 : 4;  // by 3 vectors
constexpr int64_t kPanel = 48;                         // columns of a copied panel: 3 vectors or 6
constexpr int64_t kDepth = 128;                        // its rows
constexpr int64_t kRanks = 64;                         // of results that are summed side by side

/// c [M, V vectors] (+)= sum over k < K of a[k * a_step + m] b[k, :]; with kTail the last vector of c and b
/// has `tail` columns.
template <int M, int V, bool kTail>
HWY_INLINE void block(float* HWY_RESTRICT c, int64_t c_stride, const float* HWY_RESTRICT a, int64_t a_step,
                      const float* HWY_RESTRICT b, int64_t b_stride, int64_t K, int64_t tail,
                      bool accumulate) {
  const F32 d;
  const auto load = [=](const float* p) HWY_ATTR { return kTail ? load_tail(p, tail) : hn::LoadU(d, p); };
  Vec sums[M][V];
  ANNEAL_UNROLL for (int m = 0; m < M; ++m) {
    ANNEAL_UNROLL for (int v = 0; v < V; ++v) {
      sums[m][v] = accumulate ? load(c + m * c_stride + v * kLanes) : hn::Zero(d);
    }
  }
  for (int64_t k = 0; k < K; ++k) {
    Vec row[V];
    ANNEAL_UNROLL for (int v = 0; v < V; ++v) row[v] = load(b + v * kLanes);
    ANNEAL_UNROLL for (int m = 0; m < M; ++m) {
      const Vec factor = hn::Set(d, a[m]);
      ANNEAL_UNROLL for (int v = 0; v < V; ++v) sums[m][v] = hn::MulAdd(factor, row[v], sums[m][v]);
    }
    a += a_step;
    b += b_stride;
  }
  ANNEAL_UNROLL for (int m = 0; m < M; ++m) {
    ANNEAL_UNROLL for (int v = 0; v < V; ++v) {
      float* to = c + m * c_stride + v * kLanes;
      if constexpr (kTail) {
        store_tail(sums[m][v], to, tail);
      } else {
        hn::StoreU(sums[m][v], d, to);
      }
    }
  }
}

/// M rows of y from a [rank, M].
template <int M>
HWY_INLINE void expand_rows(float* y, int64_t y_stride, const float* a, const float* w, int64_t w_stride,
                            int64_t rank, int64_t n, bool accumulate) {
  int64_t i = 0;
  for (; i + 2 * kLanes <= n; i += 2 * kLanes) {
    block<M, 2, false>(y + i, y_stride, a, M, w + i, w_stride, rank, 0, accumulate);
  }
  for (; i + kLanes <= n; i += kLanes) {
    block<M, 1, false>(y + i, y_stride, a, M, w + i, w_stride, rank, 0, accumulate);
  }
  if (i < n) block<M, 1, true>(y + i, y_stride, a, M, w + i, w_stride, rank, n - i, accumulate);
}

void expand_rank_range(float* y, const float* u, const float* w, int64_t rank, int64_t n, int64_t y_stride,
                       int64_t begin, int64_t end, bool accumulate) {
  HWY_ALIGN float a[kRanks * kExpandRows];
  for (int64_t first = 0; first < rank; first += kRanks) {
    const int64_t ranks = std::min(kRanks, rank - first);
    const bool add = accumulate || first > 0;
    int64_t t = begin;
    const auto rows = [&](auto count) HWY_ATTR {
      constexpr int kCount = decltype(count)::value;
      for (; t + kCount <= end; t += kCount) {
        for (int m = 0; m < kCount; ++m) {
          const float* from = u + (t + m) * rank + first;
          for (int64_t r = 0; r < ranks; ++r) a[r * kCount + m] = from[r];
        }
        expand_rows<kCount>(y + t * y_stride, y_stride, a, w + first * n, n, ranks, n, add);
      }
    };
    rows(std::integral_constant<int, kExpandRows>());
    rows(std::integral_constant<int, 1>());
  }
}

/// sums [ranks, kPanel] += a^T panel for a [depth, ranks], rows a_step floats apart.
HWY_INLINE void contract_panel(float* sums, const float* a, int64_t a_step, const float* panel, int64_t depth,
                               int64_t ranks) {
  constexpr int kVectors = kPanel % (3 * kLanes) == 0 ? 3 : 1;
  int64_t r = 0;
  const auto rows = [&](auto count) HWY_ATTR {
    constexpr int kCount = decltype(count)::value;
    for (; r + kCount <= ranks; r += kCount) {
      for (int64_t i = 0; i < kPanel; i += kVectors * kLanes) {
        block<kCount, kVectors, false>(sums + r * kPanel + i, kPanel, a + r, a_step, panel + i, kPanel, depth,
                                       0, true);
      }
    }
  };
  rows(std::integral_constant<int, kContractRows>());
  rows(std::integral_constant<int, 1>());
}

void contract_rows_range(float* d, int64_t row_stride, int64_t column_stride, const float* u, const float* x,
                         int64_t T, int64_t rank, int64_t x_stride, int64_t begin, int64_t end) {
  HWY_ALIGN float panel[kDepth * kPanel];
  HWY_ALIGN float sums[kRanks * kPanel];
  for (int64_t i = begin; i < end; i += kPanel) {
    const int64_t columns = std::min(kPanel, end - i);
    if (columns < kPanel) std::fill_n(panel, kDepth * kPanel, 0.0f);
    for (int64_t first = 0; first < rank; first += kRanks) {
      const int64_t ranks = std::min(kRanks, rank - first);
      std::fill_n(sums, ranks * kPanel, 0.0f);
      for (int64_t t = 0; t < T; t += kDepth) {
        const int64_t depth = std::min(kDepth, T - t);
        for (int64_t k = 0; k < depth; ++k) {
          const float* from = x + (t + k) * x_stride + i;
          float* to = panel + k * kPanel;
          for_each_vector(0, columns, [=](auto load, auto store) HWY_ATTR { store(load(from), to); });
        }
        contract_panel(sums, u + t * rank + first, rank, panel, depth, ranks);
      }
      for (int64_t r = 0; r < ranks; ++r) {
        float* to = d + (first + r) * row_stride + i * column_stride;
        for (int64_t c = 0; c < columns; ++c) to[c * column_stride] += sums[r * kPanel + c];
      }
    }
  }
}

}  // namespace anneal::cpu::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace anneal::cpu {

HWY_EXPORT(expand_rank_range);
HWY_EXPORT(contract_rows_range);

void expand_rank(float* y, const float* u, const float* w, int64_t rank, int64_t n, int64_t y_stride,
                 int64_t begin, int64_t end, bool accumulate) {
  HWY_DYNAMIC_DISPATCH(expand_rank_range)(y, u, w, rank, n, y_stride, begin, end, accumulate);
}

void contract_rows(float* d, int64_t row_stride, int64_t column_stride, const float* u, const float* x,
                   int64_t T, int64_t rank, int64_t x_stride, int64_t begin, int64_t end) {
  HWY_DYNAMIC_DISPATCH(contract_rows_range)
  (d, row_stride, column_stride, u, x, T, rank, x_stride, begin, end);
}

}  // namespace anneal::cpu
#endif
