// Small matrix products on tiles that lie in the cache, for attention.
//
// The right-hand side has rows of whole vectors (zero padded), the left-hand side is read one number at a
// time and spread over a vector, so either operand of a product may be "transposed" by choosing which one is
// which. kMaxRows x 2 vectors of results stay in registers.
#if defined(ANNEAL_CPU_TILE_GEMM_INL_H) == defined(HWY_TARGET_TOGGLE)
#ifdef ANNEAL_CPU_TILE_GEMM_INL_H
#undef ANNEAL_CPU_TILE_GEMM_INL_H
#else
#define ANNEAL_CPU_TILE_GEMM_INL_H
#endif

#include "backend/cpu/simd-inl.h"

HWY_BEFORE_NAMESPACE();
namespace anneal::cpu::HWY_NAMESPACE {

/// Rows of a register block: 32 vector registers hold 24 results, 16 hold 12.
constexpr int kMaxRows = (HWY_TARGET == HWY_AVX3 || HWY_TARGET == HWY_NEON) ? 12 : 6;

/// One register block: c[m][n] (+)= sum_k a[m * kRow + k * kCol] b[k * ldb + n], m < M, n < NV vectors.
template <int M, int NV, int kRow, int kCol>
HWY_INLINE void tile_block(float* HWY_RESTRICT c, int64_t ldc, const float* HWY_RESTRICT a,
                           const float* HWY_RESTRICT b, int64_t ldb, int64_t K, bool accumulate) {
  const F32 d;
  Vec acc[M][NV];
  for (int m = 0; m < M; ++m) {
    for (int v = 0; v < NV; ++v)
      acc[m][v] = accumulate ? hn::LoadU(d, c + m * ldc + v * kLanes) : hn::Zero(d);
  }
  for (int64_t k = 0; k < K; ++k) {
    Vec bv[NV];
    for (int v = 0; v < NV; ++v) bv[v] = hn::LoadU(d, b + v * kLanes);
    for (int m = 0; m < M; ++m) {
      const Vec av = hn::Set(d, a[m * kRow]);
      for (int v = 0; v < NV; ++v) acc[m][v] = hn::MulAdd(av, bv[v], acc[m][v]);
    }
    a += kCol;
    b += ldb;
  }
  for (int m = 0; m < M; ++m) {
    for (int v = 0; v < NV; ++v) hn::StoreU(acc[m][v], d, c + m * ldc + v * kLanes);
  }
}

template <int M, int kRow, int kCol>
HWY_INLINE void tile_strip(float* c, int64_t ldc, const float* a, const float* b, int64_t ldb, int64_t N,
                           int64_t K, bool accumulate) {
  int64_t n = 0;
  for (; n + 2 * kLanes <= N; n += 2 * kLanes) {
    tile_block<M, 2, kRow, kCol>(c + n, ldc, a, b + n, ldb, K, accumulate);
  }
  if (n < N) tile_block<M, 1, kRow, kCol>(c + n, ldc, a, b + n, ldb, K, accumulate);
}

/// c [M, N] (+)= a b with N a multiple of kLanes. Row m's sum runs over k in [k_range(m0, m1)) where [m0, m1)
/// is the strip of rows that m is computed in: a triangle's empty part is skipped.
template <int kRow, int kCol, class KRange>
HWY_INLINE void tile_gemm(float* c, int64_t ldc, const float* a, const float* b, int64_t ldb, int64_t M,
                          int64_t N, bool accumulate, const KRange& k_range) {
  int64_t m = 0;
  const auto strip = [&](auto rows) HWY_ATTR {
    constexpr int kStrip = decltype(rows)::value;
    for (; m + kStrip <= M; m += kStrip) {
      const auto [k0, k1] = k_range(m, m + kStrip);
      tile_strip<kStrip, kRow, kCol>(c + m * ldc, ldc, a + m * kRow + k0 * kCol, b + k0 * ldb, ldb, N,
                                     k1 - k0, accumulate);
    }
  };
  strip(std::integral_constant<int, kMaxRows>());
  strip(std::integral_constant<int, 4>());
  strip(std::integral_constant<int, 1>());
}

}  // namespace anneal::cpu::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#endif  // ANNEAL_CPU_TILE_GEMM_INL_H
