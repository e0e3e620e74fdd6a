// Linear layers whose sums do not depend on the number of rows: a row of x gives the same bits alone and
// among others, so that what is generated does not depend on what is generated beside it.
//
// Each result is one dot product over `in`, summed in the lanes of one vector from the first element to the
// last, the lanes then in a fixed tree. Blocks of 4 weight rows by kInputRows rows of x stay in registers; x
// comes from the first cache, a chunk of weight rows from the second. Weights are read from memory once, and
// never packed: with few rows the product is bound by that reading.
#include "backend/cpu/linear_rows.h"

#include <algorithm>

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "backend/cpu/linear_rows.cpp"
#include <hwy/cache_control.h>
#include <hwy/foreach_target.h>
#include <hwy/highway.h>

#include "backend/cpu/simd-inl.h"

HWY_BEFORE_NAMESPACE();
namespace anneal::cpu::HWY_NAMESPACE {

/// 32 vector registers hold 24 results and their operands, 16 hold 12.
constexpr int kInputRows = HWY_TARGET == HWY_AVX3 ? 6 : 3;
constexpr int kWeightRows = 4;

#if HWY_TARGET == HWY_SCALAR

HWY_INLINE void store_sums(F32, const Vec* v, float* sums) {
  for (int r = 0; r < kWeightRows; ++r) sums[r] = hn::GetLane(v[r]);
}

#else

/// Adds the upper half of a vector to its lower half until four lanes are left, and stores them.
template <class D, class V>
HWY_INLINE void store_folded(D d, V v, float* to) {
  if constexpr (hn::MaxLanes(D()) > 4) {
    const hn::Half<D> half;
    store_folded(half, hn::Add(hn::LowerHalf(half, v), hn::UpperHalf(half, v)), to);
  } else {
    hn::StoreU(v, d, to);
  }
}

/// sums[r] = sum of the lanes of v[r], for four vectors.
HWY_INLINE void store_sums(F32 d, const Vec* v, float* sums) {
  const hn::RepartitionToWide<F32> wide;
  const auto pair = [&](Vec x, Vec y) HWY_ATTR {
    return hn::BitCast(wide, hn::Add(hn::InterleaveLower(d, x, y), hn::InterleaveUpper(d, x, y)));
  };
  // Each block of four lanes: 0 1 0 1 and 2 3 2 3, then 0 1 2 3.
  const auto low = pair(v[0], v[1]);
  const auto high = pair(v[2], v[3]);
  store_folded(d,
               hn::Add(hn::BitCast(d, hn::InterleaveLower(wide, low, high)),
                       hn::BitCast(d, hn::InterleaveUpper(wide, low, high))),
               sums);
}

#endif

// The compiler keeps the results in registers only if it unrolls these loops entirely.
#define ANNEAL_UNROLL _Pragma("GCC unroll 8")

/// A block of results, R <= 4 weight rows, `in` floats apart, by N rows of x.
struct Block {
  float* y;  // rows of results `y_stride` floats apart
  const float* w;
  const float* x;     // rows `x_stride` floats apart
  const float* bias;  // null: none
  int64_t in, y_stride, x_stride;
  bool accumulate;
};

/// Elements [begin, end) of the products of a block. Unless kFirst, `partial` [N, 4, lanes] has the sums so
/// far; with kLast the results are written, else the lanes go to `partial`.
template <int R, int N, bool kFirst, bool kLast>
HWY_INLINE void multiply(const Block& b, int64_t begin, int64_t end, float* HWY_RESTRICT partial) {
  const F32 d;
  const float* HWY_RESTRICT w = b.w;
  const float* HWY_RESTRICT x = b.x;
  const int64_t in = b.in;
  const int64_t x_stride = b.x_stride;
  Vec acc[N][kWeightRows];
  ANNEAL_UNROLL for (int t = 0; t < N; ++t) {
    ANNEAL_UNROLL for (int r = 0; r < kWeightRows; ++r) {
      acc[t][r] = kFirst ? hn::Zero(d) : hn::Load(d, partial + (t * kWeightRows + r) * kLanes);
    }
  }
  int64_t k = begin;
  for (; k + kLanes <= end; k += kLanes) {
    Vec wv[R];
    ANNEAL_UNROLL for (int r = 0; r < R; ++r) {
      wv[r] = hn::LoadU(d, w + r * in + k);
      // With one row the weights come from memory: ask for the next block's.
      if constexpr (N == 1) hwy::Prefetch(w + (R + r) * in + k);
    }
    ANNEAL_UNROLL for (int t = 0; t < N; ++t) {
      const Vec xv = hn::LoadU(d, x + t * x_stride + k);
      ANNEAL_UNROLL for (int r = 0; r < R; ++r) acc[t][r] = hn::MulAdd(wv[r], xv, acc[t][r]);
    }
  }
  if (k < end) {
    Vec wv[R];
    ANNEAL_UNROLL for (int r = 0; r < R; ++r) wv[r] = load_tail(w + r * in + k, end - k);
    ANNEAL_UNROLL for (int t = 0; t < N; ++t) {
      const Vec xv = load_tail(x + t * x_stride + k, end - k);
      ANNEAL_UNROLL for (int r = 0; r < R; ++r) acc[t][r] = hn::MulAdd(wv[r], xv, acc[t][r]);
    }
  }
  ANNEAL_UNROLL for (int t = 0; t < N; ++t) {
    if constexpr (kLast) {
      float sums[kWeightRows];
      store_sums(d, acc[t], sums);
      float* to = b.y + t * b.y_stride;
      ANNEAL_UNROLL for (int r = 0; r < R; ++r) {
        to[r] = (b.accumulate ? to[r] : 0.0f) + sums[r] + (b.bias != nullptr ? b.bias[r] : 0.0f);
      }
    } else {
      ANNEAL_UNROLL for (int r = 0; r < kWeightRows; ++r) {
        hn::Store(acc[t][r], d, partial + (t * kWeightRows + r) * kLanes);
      }
    }
  }
}

constexpr int64_t kChunkFloats = 3 << 15;  // weights of a chunk of columns: a part of the second cache
constexpr int64_t kMaxColumns = 256;       // of a chunk
/// Longer rows are multiplied with a whole chunk stretch by stretch, so that kInputRows stretches stay in the
/// first cache. They are copied there: rows of a length like 2048 would fall into the same few sets of the
/// cache.
constexpr int64_t kElements = 768;
constexpr int64_t kStretch = kElements + 16;

/// Memory of one call, on its stack.
struct RowsScratch {
  /// Lanes of the results of a chunk between two stretches.
  HWY_ALIGN float partial[(kChunkFloats / kElements + kWeightRows) * kInputRows * kWeightRows * kLanes];
  HWY_ALIGN float x[kInputRows * kStretch];
};

/// Elements [k, stop) for columns [begin, end), at most kChunkColumns, of N rows.
template <int N, bool kFirst, bool kLast>
HWY_INLINE void columns(const Block& all, int64_t begin, int64_t end, int64_t k, int64_t stop,
                        float* partial) {
  const auto block_at = [&](int64_t o) {
    const float* bias = all.bias == nullptr ? nullptr : all.bias + o;
    return Block{all.y + o, all.w + o * all.in, all.x,        bias,
                 all.in,    all.y_stride,       all.x_stride, all.accumulate};
  };
  constexpr int64_t kKept = N * kWeightRows * kLanes;
  int64_t o = begin;
  for (; o + kWeightRows <= end; o += kWeightRows, partial += kKept) {
    multiply<kWeightRows, N, kFirst, kLast>(block_at(o), k, stop, partial);
  }
  for (; o < end; ++o, partial += kKept) multiply<1, N, kFirst, kLast>(block_at(o), k, stop, partial);
}

/// All elements, in stretches of kElements.
template <int N>
HWY_INLINE void all_elements(const Block& all, int64_t begin, int64_t end, RowsScratch& scratch) {
  if (all.in <= kElements) {
    columns<N, true, true>(all, begin, end, 0, all.in, scratch.partial);
    return;
  }
  Block stretch = all;
  stretch.x_stride = kStretch;
  const auto take = [&](int64_t k) HWY_ATTR {
    const int64_t count = std::min(kElements, all.in - k);
    for (int t = 0; t < N; ++t) std::copy_n(all.x + t * all.x_stride + k, count, scratch.x + t * kStretch);
    stretch.x = scratch.x - k;
    return k + count;
  };
  int64_t k = take(0);
  columns<N, true, false>(stretch, begin, end, 0, k, scratch.partial);
  while (k + kElements < all.in) {
    const int64_t first = k;
    k = take(first);
    columns<N, false, false>(stretch, begin, end, first, k, scratch.partial);
  }
  take(k);
  columns<N, false, true>(stretch, begin, end, k, all.in, scratch.partial);
}

/// Output columns [begin, end) of all T rows.
void linear_rows_range(float* y, const float* x, const float* w, const float* bias, int64_t T, int64_t in,
                       int64_t x_stride, int64_t y_stride, int64_t begin, int64_t end, bool accumulate) {
  RowsScratch scratch;
  const int64_t most = std::clamp<int64_t>(kChunkFloats / std::max<int64_t>(1, in), kWeightRows, kMaxColumns);
  const int64_t chunk = most < 16 ? kWeightRows : most / 16 * 16;
  for (int64_t first = begin; first < end; first += chunk) {
    const int64_t last = std::min(end, first + chunk);
    int64_t t = 0;
    const auto rows = [&](auto count) HWY_ATTR {
      constexpr int kCount = decltype(count)::value;
      for (; t + kCount <= T; t += kCount) {
        all_elements<kCount>(
            {y + t * y_stride, w, x + t * x_stride, bias, in, y_stride, x_stride, accumulate}, first, last,
            scratch);
      }
    };
    rows(std::integral_constant<int, kInputRows>());
    rows(std::integral_constant<int, 3>());
    rows(std::integral_constant<int, 2>());
    rows(std::integral_constant<int, 1>());
  }
}

}  // namespace anneal::cpu::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace anneal::cpu {

HWY_EXPORT(linear_rows_range);

void linear_rows(float* y, const float* x, const float* w, const float* bias, int64_t T, int64_t in,
                 int64_t x_stride, int64_t y_stride, int64_t begin, int64_t end, bool accumulate) {
  HWY_DYNAMIC_DISPATCH(linear_rows_range)(y, x, w, bias, T, in, x_stride, y_stride, begin, end, accumulate);
}

}  // namespace anneal::cpu
#endif
