// The key/value cache, and attention of one new token for each running sequence.
//
// Bound by reading the cache once: a task is one sequence and one key/value head; the query heads that read
// it share each tile of rows while it is in the cache.
#include <algorithm>
#include <cmath>
#include <cstring>
#include <limits>

#include "backend/cpu/cpu_backend.h"
#include "backend/cpu/parallel.h"

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "backend/cpu/attention_decode.cpp"
#include <hwy/foreach_target.h>
#include <hwy/highway.h>

#include "backend/cpu/simd-inl.h"

#ifndef ANNEAL_CPU_DECODE_TYPES
#define ANNEAL_CPU_DECODE_TYPES
namespace anneal::cpu {
/// Consecutive query heads of one sequence that share a key/value head.
struct DecodeHeads {
  float* out;          // [heads, E]
  const float* query;  // [heads, E]
  const float* keys;   // rows `stride` floats apart
  const float* values;
  int64_t heads, E, stride, length;
  float scale;
};
}  // namespace anneal::cpu
#endif

HWY_BEFORE_NAMESPACE();
namespace anneal::cpu::HWY_NAMESPACE {

/// R of the heads, from head `first` on.
template <int R>
HWY_INLINE void decode_heads(const DecodeHeads& a, int64_t first) {
  constexpr int64_t kTile = 64;  // rows of the cache; a multiple of every vector length
  const F32 d;
  const float* query = a.query + first * a.E;
  float* out = a.out + first * a.E;
  alignas(64) float scores[R][kTile];
  float max[R];
  float sum[R] = {};
  std::fill_n(max, R, -std::numeric_limits<float>::infinity());
  std::fill_n(out, R * a.E, 0.0f);
  for (int64_t begin = 0; begin < a.length; begin += kTile) {
    const int64_t count = std::min(kTile, a.length - begin);
    const float* keys = a.keys + begin * a.stride;
    const float* values = a.values + begin * a.stride;
    for (int64_t k = 0; k < count; ++k) {
      const float* key = keys + k * a.stride;
      Vec dot[R];
      for (Vec& v : dot) v = hn::Zero(d);
      for_each_vector(0, a.E, [&](auto load, auto) HWY_ATTR {
        const Vec kv = load(key);
        for (int r = 0; r < R; ++r) dot[r] = hn::MulAdd(load(query + r * a.E), kv, dot[r]);
      });
      for (int r = 0; r < R; ++r) scores[r][k] = a.scale * sum_lanes(dot[r]);
    }
    float factors[R];
    for (int r = 0; r < R; ++r) {
      std::fill(scores[r] + count, scores[r] + kTile, -std::numeric_limits<float>::infinity());
      const float new_max = std::max(max[r], *std::max_element(scores[r], scores[r] + count));
      factors[r] = std::exp(max[r] - new_max);
      max[r] = new_max;
      Vec sum_v = hn::Zero(d);
      for (int64_t k = 0; k < kTile; k += kLanes) {
        const Vec p = exp(hn::Sub(hn::Load(d, scores[r] + k), hn::Set(d, new_max)));
        hn::Store(p, d, scores[r] + k);
        sum_v = hn::Add(sum_v, p);
      }
      sum[r] = sum[r] * factors[r] + sum_lanes(sum_v);
    }
    for_each_vector(0, a.E, [&](auto load, auto store) HWY_ATTR {
      Vec acc[R];
      for (int r = 0; r < R; ++r) acc[r] = hn::Mul(load(out + r * a.E), hn::Set(d, factors[r]));
      for (int64_t k = 0; k < count; ++k) {
        const Vec v = load(values + k * a.stride);
        for (int r = 0; r < R; ++r) acc[r] = hn::MulAdd(hn::Set(d, scores[r][k]), v, acc[r]);
      }
      for (int r = 0; r < R; ++r) store(acc[r], out + r * a.E);
    });
  }
  for (int r = 0; r < R; ++r) {
    for (int64_t e = 0; e < a.E; ++e) out[r * a.E + e] /= sum[r];
  }
}

void decode_group(const DecodeHeads& a) {
  int64_t head = 0;
  for (; head + 4 <= a.heads; head += 4) decode_heads<4>(a, head);
  for (; head + 2 <= a.heads; head += 2) decode_heads<2>(a, head);
  for (; head < a.heads; ++head) decode_heads<1>(a, head);
}

}  // namespace anneal::cpu::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace anneal::cpu {

HWY_EXPORT(decode_group);

void CpuBackend::kv_cache_append(const KvCacheView& cache, const float* qkv, const int32_t* slots,
                                 const int32_t* cache_rows, int64_t N, const AttentionShape& shape) {
  const int64_t width = static_cast<int64_t>(shape.kv_heads) * shape.head_dim;
  const auto bytes = static_cast<size_t>(width) * sizeof(float);
  parallel_ranges(threads_, N, (1 << 15) / width, [&](int64_t begin, int64_t end, int) {
    for (int64_t n = begin; n < end; ++n) {
      const int64_t row = static_cast<int64_t>(slots[n]) * cache.capacity + cache_rows[n];
      const float* keys = qkv + n * shape.qkv_width() + shape.out_width();
      std::memcpy(cache.keys + row * width, keys, bytes);
      std::memcpy(cache.values + row * width, keys + width, bytes);
    }
  });
}

void CpuBackend::attention_decode(float* out, const float* qkv, const KvCacheView& cache,
                                  const int32_t* slots, const int32_t* lengths, int64_t B,
                                  const AttentionShape& shape, float* /*workspace*/) {
  const int64_t G = shape.kv_heads;
  const int64_t E = shape.head_dim;
  const int64_t heads = shape.heads / G;
  int64_t rows = 0;
  for (int64_t b = 0; b < B; ++b) rows += lengths[b];
  const int threads = num_parts(threads_, rows * G * E, 1 << 14);
  parallel_tasks(threads, B * G, [&](int64_t task, int) {
    const int64_t b = task / G;
    const int64_t g = task % G;
    const int64_t offset = (static_cast<int64_t>(slots[b]) * cache.capacity * G + g) * E;
    HWY_DYNAMIC_DISPATCH(decode_group)
    (DecodeHeads{out + b * shape.out_width() + g * heads * E, qkv + b * shape.qkv_width() + g * heads * E,
                 cache.keys + offset, cache.values + offset, heads, E, G * E, lengths[b], shape.scale});
  });
}

}  // namespace anneal::cpu
#endif
