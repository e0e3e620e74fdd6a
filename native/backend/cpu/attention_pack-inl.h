// Copies rows of queries, keys and values into the layouts that the tile products read.
#if defined(ANNEAL_CPU_ATTENTION_PACK_INL_H) == defined(HWY_TARGET_TOGGLE)
#ifdef ANNEAL_CPU_ATTENTION_PACK_INL_H
#undef ANNEAL_CPU_ATTENTION_PACK_INL_H
#else
#define ANNEAL_CPU_ATTENTION_PACK_INL_H
#endif

#include <hwy/cache_control.h>

#include "backend/cpu/attention.h"
#include "backend/cpu/tile_gemm-inl.h"

HWY_BEFORE_NAMESPACE();
namespace anneal::cpu::HWY_NAMESPACE {

/// Rows ahead that packing asks for: a row of one head is a few cache lines far from the next row's, and
/// nothing but this tells the hardware.
constexpr int64_t kPrefetchRows = 16;
constexpr int64_t kLineFloats = 16;

/// Asks for E floats to be read.
HWY_INLINE void prefetch_row(const float* from, int64_t E) {
  for (int64_t e = 0; e < E; e += kLineFloats) hwy::Prefetch(from + e);
}

/// Asks for E floats to be written.
HWY_INLINE void prefetch_row_to_write(float* to, int64_t E) {
  for (int64_t e = 0; e < E; e += kLineFloats) __builtin_prefetch(to + e, 1);
}

/// to[i] = factor * from[i] for i < E, then zeros up to padded_E.
HWY_INLINE void pack_row(float* to, const float* from, float factor, int64_t E, int64_t padded_E) {
  const Vec f = hn::Set(F32(), factor);
  for_each_vector(0, E, [=](auto load, auto store) HWY_ATTR { store(hn::Mul(load(from), f), to); });
  for (int64_t e = E; e < padded_E; ++e) to[e] = 0.0f;
}

/// to[e * stride] = factor * from[e]
HWY_INLINE void pack_column(float* to, int64_t stride, const float* from, float factor, int64_t E) {
  for (int64_t e = 0; e < E; ++e) to[e * stride] = factor * from[e];
}

/// Where key `key` of the list starts in panels of transposed keys.
HWY_INLINE float* panel_column(float* panels, int64_t key, int64_t E) {
  return panels + key / kPanel * kPanel * E + key % kPanel;
}

/// scores[i, k] = query i . key k for the keys [k0, k0 + num_keys) that a query of the block sees; what lies
/// above the causal border is left as it is, or holds numbers of no meaning.
HWY_INLINE void tile_scores(float* scores, const float* query_t, const float* panels, const QueryBlock& block,
                            int64_t k0, int64_t num_keys, int64_t E) {
  const int64_t rows = block.end - block.begin;
  for (int64_t key = k0; key < k0 + num_keys; key += kPanel) {
    const int64_t first = std::max<int64_t>(0, key - block.prefix - block.begin);
    if (first >= rows) break;
    tile_gemm<1, kKeyBlock>(scores + first * kKeyBlock + (key - k0), kKeyBlock, query_t + first,
                            panels + key * E, kPanel, rows - first, kPanel, false,
                            [E](int64_t, int64_t) { return std::pair<int64_t, int64_t>(0, E); });
  }
}

/// How many of the keys [k0, k0 + num_keys) row `row` of the block sees.
HWY_INLINE int64_t visible_keys(const QueryBlock& block, int64_t row, int64_t k0, int64_t num_keys) {
  return std::clamp<int64_t>(block.prefix + block.begin + row + 1 - k0, 0, num_keys);
}

}  // namespace anneal::cpu::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#endif  // ANNEAL_CPU_ATTENTION_PACK_INL_H
