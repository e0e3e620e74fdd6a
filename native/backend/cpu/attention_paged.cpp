// The paged key/value cache, and attention of rows over it.
//
// Keys of a page lie transposed, [E, kPageRows]: a vector holds one element of several keys, so the scores of
// a page need neither packing nor sums over lanes. A task is one key/value head and a block of rows of one
// group: pages that all rows of the group read are taken once for several queries, the rows' own pages one
// row at a time.
//
// Keys are taken in tiles of kTilePages pages, counted from the sequence's start, with a running maximum and
// sum (Dao et al. 2022). The sums of a row run over elements, keys and tiles in that order alone: its bits do
// not depend on the rows beside it, nor on how its group shares pages.
#include <algorithm>
#include <cmath>
#include <cstring>
#include <limits>

#include "backend/cpu/attention.h"
#include "backend/cpu/cpu_backend.h"
#include "backend/cpu/parallel.h"

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "backend/cpu/attention_paged.cpp"
#include <hwy/foreach_target.h>
#include <hwy/highway.h>

#include "backend/cpu/simd-inl.h"

#ifndef ANNEAL_CPU_PAGED_TYPES
#define ANNEAL_CPU_PAGED_TYPES
namespace anneal::cpu {

constexpr int64_t kTilePages = 4;
constexpr int64_t kTile = kTilePages * kPageRows;  // keys
constexpr int64_t kQueries = 64;  // of a block, at most: rows times query heads of a key head

/// Scratch memory of one worker.
struct PagedScratch {
  PagedScratch(Carver& carver, int64_t queries, int64_t padded_dim)
      : query(carver.take(queries * padded_dim)),
        out(carver.take(queries * padded_dim)),
        scores(carver.take(queries * kTile)),
        max(carver.take(queries)),
        sum(carver.take(queries)) {}
  float* query;   // [queries, padded E], scaled
  float* out;     // [queries, padded E]
  float* scores;  // [queries, kTile]
  float *max, *sum;
};

struct PagedArguments {
  float* out;
  const float* qkv;
  const KvCacheView& cache;
  const PagedLayout& layout;
  const AttentionShape& shape;
};

/// Rows [begin, end) of one group.
struct RowBlock {
  int32_t group;
  int64_t begin, end;
};

}  // namespace anneal::cpu
#endif

HWY_BEFORE_NAMESPACE();
namespace anneal::cpu::HWY_NAMESPACE {

/// scores[m, page * kPageRows + k] = query m . key k of the page, for M queries and P pages.
template <int M, int P>
HWY_INLINE void page_scores(float* HWY_RESTRICT scores, const float* HWY_RESTRICT query, int64_t stride,
                            const float* const* pages, int64_t E) {
  const F32 d;
  for (int64_t v = 0; v < kPageRows; v += kLanes) {
    Vec acc[M][P];
    for (int m = 0; m < M; ++m) {
      for (int p = 0; p < P; ++p) acc[m][p] = hn::Zero(d);
    }
    for (int64_t e = 0; e < E; ++e) {
      Vec keys[P];
      for (int p = 0; p < P; ++p) keys[p] = hn::Load(d, pages[p] + e * kPageRows + v);
      for (int m = 0; m < M; ++m) {
        const Vec q = hn::Set(d, query[m * stride + e]);
        for (int p = 0; p < P; ++p) acc[m][p] = hn::MulAdd(q, keys[p], acc[m][p]);
      }
    }
    for (int m = 0; m < M; ++m) {
      for (int p = 0; p < P; ++p) hn::Store(acc[m][p], d, scores + m * kTile + p * kPageRows + v);
    }
  }
}

/// M queries with `count` pages, as many at a time as the registers hold.
template <int M>
HWY_INLINE void row_scores(float* scores, const float* query, int64_t stride, const float* const* pages,
                           int64_t count, int64_t E) {
  constexpr int kTogether = M == 1 || HWY_TARGET == HWY_AVX3 ? 4 : 2;
  static_assert(kTogether <= kTilePages);
  int64_t p = 0;
  const auto take = [&](auto together) HWY_ATTR {
    constexpr int kPages = std::min(decltype(together)::value, kTogether);
    for (; p + kPages <= count; p += kPages) {
      page_scores<M, kPages>(scores + p * kPageRows, query, stride, pages + p, E);
    }
  };
  take(std::integral_constant<int, 4>());
  take(std::integral_constant<int, 3>());
  take(std::integral_constant<int, 2>());
  take(std::integral_constant<int, 1>());
}

/// The scores of `queries` queries with `count` pages.
HWY_INLINE void all_scores(float* scores, const float* query, int64_t stride, int64_t queries,
                           const float* const* pages, int64_t count, int64_t E) {
  int64_t m = 0;
  for (; m + 4 <= queries; m += 4) {
    row_scores<4>(scores + m * kTile, query + m * stride, stride, pages, count, E);
  }
  for (; m < queries; ++m) {
    row_scores<1>(scores + m * kTile, query + m * stride, stride, pages, count, E);
  }
}

/// out[m, :] += sum over the first `keys` keys of the pages of weights[m, k] value k, for M queries and NV
/// vectors.
template <int M, int NV>
HWY_INLINE void add_values(float* HWY_RESTRICT out, int64_t stride, const float* HWY_RESTRICT weights,
                           const float* const* pages, int64_t offset, int64_t keys) {
  const F32 d;
  Vec acc[M][NV];
  for (int m = 0; m < M; ++m) {
    for (int v = 0; v < NV; ++v) acc[m][v] = hn::Load(d, out + m * stride + v * kLanes);
  }
  for (int64_t k = 0; k < keys; ++k) {
    const float* value = pages[k / kPageRows] + k % kPageRows * stride + offset;
    Vec vv[NV];
    for (int v = 0; v < NV; ++v) vv[v] = hn::Load(d, value + v * kLanes);
    for (int m = 0; m < M; ++m) {
      const Vec w = hn::Set(d, weights[m * kTile + k]);
      for (int v = 0; v < NV; ++v) acc[m][v] = hn::MulAdd(w, vv[v], acc[m][v]);
    }
  }
  for (int m = 0; m < M; ++m) {
    for (int v = 0; v < NV; ++v) hn::Store(acc[m][v], d, out + m * stride + v * kLanes);
  }
}

template <int M>
HWY_INLINE void add_value_rows(float* out, int64_t stride, const float* weights, const float* const* pages,
                               int64_t keys) {
  constexpr int kTogether = M == 1 || HWY_TARGET == HWY_AVX3 ? 4 : 2;
  int64_t e = 0;
  const auto take = [&](auto together) HWY_ATTR {
    constexpr int kVectors = std::min(decltype(together)::value, kTogether);
    for (; e + kVectors * kLanes <= stride; e += kVectors * kLanes) {
      add_values<M, kVectors>(out + e, stride, weights, pages, e, keys);
    }
  };
  take(std::integral_constant<int, 4>());
  take(std::integral_constant<int, 3>());
  take(std::integral_constant<int, 2>());
  take(std::integral_constant<int, 1>());
}

/// Turns the first `count` scores of a row into e^(score - running maximum), zeros after them; updates
/// maximum and sum, and rescales what the row has gathered so far.
HWY_INLINE void softmax_tile(float* scores, int64_t count, float& max, float& sum, float* out,
                             int64_t padded_E) {
  const F32 d;
  for (int64_t k = count; k < kTile; ++k) scores[k] = -std::numeric_limits<float>::infinity();
  Vec max_v = hn::Set(d, max);
  for (int64_t k = 0; k < kTile; k += kLanes) max_v = hn::Max(max_v, hn::Load(d, scores + k));
  const float new_max = hn::GetLane(hn::MaxOfLanes(d, max_v));
  if (new_max != max) {
    const float factor = std::exp(max - new_max);
    const Vec f = hn::Set(d, factor);
    for (int64_t e = 0; e < padded_E; e += kLanes) hn::Store(hn::Mul(hn::Load(d, out + e), f), d, out + e);
    sum *= factor;
    max = new_max;
  }
  const Vec shift = hn::Set(d, new_max);
  Vec sum_v = hn::Zero(d);
  for (int64_t k = 0; k < kTile; k += kLanes) {
    const Vec p = exp(hn::Sub(hn::Load(d, scores + k), shift));
    hn::Store(p, d, scores + k);
    sum_v = hn::Add(sum_v, p);
  }
  sum += sum_lanes(sum_v);
}

/// One block of rows, one key/value head.
void attention_paged_task(const PagedArguments& a, const RowBlock& block, int64_t kv_head,
                          const PagedScratch& scratch) {
  const F32 d;
  const PagedLayout& layout = a.layout;
  const int64_t E = a.shape.head_dim;
  const int64_t padded_E = a.shape.padded_dim();
  const int64_t heads = a.shape.heads / a.shape.kv_heads;  // of a row, in this task
  const int64_t rows = block.end - block.begin;
  const int64_t page_floats = a.shape.page_floats();
  const int64_t head_offset = kv_head * padded_E * kPageRows;
  int64_t longest = 0;
  for (int64_t i = 0; i < rows; ++i) {
    longest = std::max<int64_t>(longest, layout.lengths[block.begin + i]);
    const float* from = a.qkv + (block.begin + i) * a.shape.qkv_width() + kv_head * heads * E;
    for (int64_t h = 0; h < heads; ++h) {
      float* to = scratch.query + (i * heads + h) * padded_E;
      const Vec scale = hn::Set(d, a.shape.scale);
      const float* head = from + h * E;
      for_each_vector(0, E, [=](auto load, auto store) HWY_ATTR { store(hn::Mul(load(head), scale), to); });
    }
  }
  std::fill_n(scratch.out, rows * heads * padded_E, 0.0f);
  std::fill_n(scratch.max, rows * heads, -std::numeric_limits<float>::infinity());
  std::fill_n(scratch.sum, rows * heads, 0.0f);

  const float* keys[kTilePages];
  const float* values[kTilePages];
  const auto take_pages = [&](int64_t row, int64_t first, int64_t last) {
    const int32_t* list = layout.pages + layout.page_starts[row];
    for (int64_t p = first; p < last; ++p) {
      const int64_t offset = list[p] * page_floats + head_offset;
      keys[p - first] = a.cache.keys + offset;
      values[p - first] = a.cache.values + offset;
    }
  };
  for (int64_t first_key = 0; first_key < longest; first_key += kTile) {
    const int64_t first_page = first_key / kPageRows;
    const auto seen = [&](int64_t i) {  // keys of this tile
      return std::clamp<int64_t>(layout.lengths[block.begin + i] - first_key, 0, kTile);
    };
    const int64_t longest_seen = std::min(kTile, longest - first_key);
    const int64_t longest_pages = (longest_seen + kPageRows - 1) / kPageRows;
    // Pages of the tile that all rows share, at its start.
    const int64_t shared =
        std::clamp<int64_t>(layout.shared_pages[block.group] - first_page, 0, longest_pages);
    if (shared > 0) {
      take_pages(block.begin, first_page, first_page + shared);
      all_scores(scratch.scores, scratch.query, padded_E, rows * heads, keys, shared, E);
    }
    for (int64_t i = 0; i < rows; ++i) {
      const int64_t count = seen(i);
      const int64_t pages = (count + kPageRows - 1) / kPageRows;
      if (pages > shared) {
        take_pages(block.begin + i, first_page + shared, first_page + pages);
        all_scores(scratch.scores + i * heads * kTile + shared * kPageRows,
                   scratch.query + i * heads * padded_E, padded_E, heads, keys, pages - shared, E);
      }
      if (count == 0) {
        std::fill_n(scratch.scores + i * heads * kTile, heads * kTile, 0.0f);
        continue;
      }
      for (int64_t q = i * heads; q < (i + 1) * heads; ++q) {
        softmax_tile(scratch.scores + q * kTile, count, scratch.max[q], scratch.sum[q],
                     scratch.out + q * padded_E, padded_E);
      }
    }
    if (shared > 0) {
      take_pages(block.begin, first_page, first_page + shared);
      // Rows of a sequence's own follow each other: a later row sees more. What no row has written is not
      // read.
      int64_t q = 0;
      for (; q + 4 <= rows * heads; q += 4) {
        int64_t most = 0;
        for (int64_t i = q / heads; i <= (q + 3) / heads; ++i) most = std::max(most, seen(i));
        add_value_rows<4>(scratch.out + q * padded_E, padded_E, scratch.scores + q * kTile, values,
                          std::min(most, shared * kPageRows));
      }
      for (; q < rows * heads; ++q) {
        add_value_rows<1>(scratch.out + q * padded_E, padded_E, scratch.scores + q * kTile, values,
                          std::min(seen(q / heads), shared * kPageRows));
      }
    }
    for (int64_t i = 0; i < rows; ++i) {
      const int64_t own = seen(i) - shared * kPageRows;
      if (own <= 0) continue;
      take_pages(block.begin + i, first_page + shared,
                 first_page + shared + (own + kPageRows - 1) / kPageRows);
      int64_t q = i * heads;
      const float* weights = scratch.scores + shared * kPageRows;
      for (; q + 4 <= (i + 1) * heads; q += 4) {
        add_value_rows<4>(scratch.out + q * padded_E, padded_E, weights + q * kTile, values, own);
      }
      for (; q < (i + 1) * heads; ++q) {
        add_value_rows<1>(scratch.out + q * padded_E, padded_E, weights + q * kTile, values, own);
      }
    }
  }
  for (int64_t q = 0; q < rows * heads; ++q) {
    float* to = a.out + (block.begin + q / heads) * a.shape.out_width() + (kv_head * heads + q % heads) * E;
    const float* from = scratch.out + q * padded_E;
    const Vec inverse = hn::Set(d, 1.0f / scratch.sum[q]);
    for_each_vector(0, E, [=](auto load, auto store) HWY_ATTR { store(hn::Mul(load(from), inverse), to); });
  }
}

}  // namespace anneal::cpu::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace anneal::cpu {

HWY_EXPORT(attention_paged_task);

namespace {

/// Query rows of a block.
int64_t block_rows(const AttentionShape& shape) {
  return std::max<int64_t>(1, kQueries / (shape.heads / shape.kv_heads));
}

int64_t block_queries(const AttentionShape& shape) {
  return block_rows(shape) * (shape.heads / shape.kv_heads);
}

/// Blocks of a group.
int64_t num_blocks(const PagedLayout& layout, int32_t group, const AttentionShape& shape) {
  const int64_t rows = layout.group_starts[group + 1] - layout.group_starts[group];
  return (rows + block_rows(shape) - 1) / block_rows(shape);
}

}  // namespace

void CpuBackend::kv_cache_append(const KvCacheView& cache, const float* qkv, const int32_t* cache_rows,
                                 int64_t N, const AttentionShape& shape) {
  const int64_t E = shape.head_dim;
  const int64_t padded_E = shape.padded_dim();
  const int64_t width = shape.kv_heads * E;
  parallel_ranges(threads_, N, (1 << 13) / width, [&](int64_t begin, int64_t end, int) {
    for (int64_t n = begin; n < end; ++n) {
      const int64_t page = cache_rows[n] / kPageRows * shape.page_floats();
      const int64_t row = cache_rows[n] % kPageRows;
      for (int64_t g = 0; g < shape.kv_heads; ++g) {
        const float* key = qkv + n * shape.qkv_width() + shape.out_width() + g * E;
        float* keys = cache.keys + page + g * padded_E * kPageRows + row;
        for (int64_t e = 0; e < E; ++e) keys[e * kPageRows] = key[e];
        float* values = cache.values + page + (g * kPageRows + row) * padded_E;
        std::memcpy(values, key + width, static_cast<size_t>(E) * sizeof(float));
        std::fill(values + E, values + padded_E, 0.0f);
      }
    }
  });
}

void CpuBackend::kv_cache_copy_page(const KvCacheView& cache, int32_t to, int32_t from,
                                    const AttentionShape& shape) {
  const int64_t floats = shape.page_floats();
  const auto bytes = static_cast<size_t>(floats) * sizeof(float);
  std::memcpy(cache.keys + to * floats, cache.keys + from * floats, bytes);
  std::memcpy(cache.values + to * floats, cache.values + from * floats, bytes);
}

size_t CpuBackend::attention_paged_workspace(const AttentionShape& shape) const {
  Carver carver(nullptr);
  const PagedScratch scratch(carver, block_queries(shape), shape.padded_dim());
  return static_cast<size_t>(threads_ * carver.used()) * sizeof(float);
}

void CpuBackend::attention_paged(float* out, const float* qkv, const KvCacheView& cache,
                                 const PagedLayout& layout, const AttentionShape& shape, float* workspace) {
  const PagedArguments arguments{out, qkv, cache, layout, shape};
  int64_t keys = 0;
  for (int64_t row = 0; row < layout.num_rows; ++row) keys += layout.lengths[row];
  const int threads = num_parts(threads_, keys * shape.heads * shape.head_dim, 1 << 14);
  Carver size(nullptr);
  const PagedScratch sizes(size, block_queries(shape), shape.padded_dim());
  int64_t blocks = 0;
  for (int32_t group = 0; group < layout.num_groups; ++group) blocks += num_blocks(layout, group, shape);
  parallel_tasks(threads, blocks * shape.kv_heads, [&](int64_t task, int worker) {
    int64_t index = task / shape.kv_heads;
    int32_t group = 0;
    for (; index >= num_blocks(layout, group, shape); ++group) index -= num_blocks(layout, group, shape);
    const int64_t begin = layout.group_starts[group] + index * block_rows(shape);
    const int64_t end = std::min<int64_t>(begin + block_rows(shape), layout.group_starts[group + 1]);
    Carver carver(workspace + worker * size.used());
    const PagedScratch scratch(carver, block_queries(shape), shape.padded_dim());
    HWY_DYNAMIC_DISPATCH(attention_paged_task)
    (arguments, {group, begin, end}, task % shape.kv_heads, scratch);
  });
}

}  // namespace anneal::cpu
#endif
