// Attention, forward: tiles of scores with a running maximum and sum (Dao et al. 2022).
#include <cmath>
#include <limits>

#include "backend/cpu/attention.h"
#include "backend/cpu/cpu_backend.h"
#include "backend/cpu/parallel.h"

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "backend/cpu/attention_forward.cpp"
#include <hwy/foreach_target.h>
#include <hwy/highway.h>

#include "backend/cpu/attention_pack-inl.h"

HWY_BEFORE_NAMESPACE();
namespace anneal::cpu::HWY_NAMESPACE {

/// Turns the scores of a row, of which the first `count` are seen, into e^(score - running maximum), zeros
/// after them up to `width`; updates maximum and sum, and rescales what the row has gathered so far.
HWY_INLINE void softmax_row(float* scores, int64_t count, int64_t width, float& max, float& sum, float* out,
                            int64_t padded_E) {
  const F32 d;
  const int64_t padded = round_up(count, kLanes);
  constexpr float kMinusInfinity = -std::numeric_limits<float>::infinity();
  for (int64_t k = count; k < padded; ++k) scores[k] = kMinusInfinity;
  Vec max_v = hn::Set(d, max);
  for (int64_t k = 0; k < padded; k += kLanes) max_v = hn::Max(max_v, hn::LoadU(d, scores + k));
  const float new_max = hn::GetLane(hn::MaxOfLanes(d, max_v));
  if (new_max != max) {
    const float factor = std::exp(max - new_max);
    if (factor != 0.0f) {
      const Vec f = hn::Set(d, factor);
      for (int64_t e = 0; e < padded_E; e += kLanes)
        hn::StoreU(hn::Mul(hn::LoadU(d, out + e), f), d, out + e);
    } else {
      std::fill_n(out, padded_E, 0.0f);
    }
    sum *= factor;
    max = new_max;
  }
  const Vec shift = hn::Set(d, new_max);
  Vec sum_v = hn::Zero(d);
  for (int64_t k = 0; k < padded; k += kLanes) {
    const Vec p = exp(hn::Sub(hn::LoadU(d, scores + k), shift));
    hn::StoreU(p, d, scores + k);
    sum_v = hn::Add(sum_v, p);
  }
  sum += sum_lanes(sum_v);
  for (int64_t k = padded; k < width; ++k) scores[k] = 0.0f;
}

/// One query head of one block against the keys gathered in `scratch`.
HWY_INLINE void forward_block(const ForwardArguments& a, const QueryBlock& block, int64_t head,
                              const ForwardScratch& scratch) {
  const F32 d;
  const int64_t E = a.shape.head_dim;
  const int64_t padded_E = padded_head_dim(E);
  const int64_t rows = block.end - block.begin;
  const int64_t first_row = block.first_row + block.begin;
  for (int64_t i = 0; i < rows; ++i) {
    const float* query = a.qkv + (first_row + i) * a.shape.qkv_width() + head * E;
    if (i + kPrefetchRows < rows) prefetch_row(query + kPrefetchRows * a.shape.qkv_width(), E);
    pack_column(scratch.query_t + i, kKeyBlock, query, a.shape.scale, E);
  }
  std::fill_n(scratch.out, rows * padded_E, 0.0f);
  std::fill_n(scratch.row_max, rows, -std::numeric_limits<float>::infinity());
  std::fill_n(scratch.row_sum, rows, 0.0f);
  for (int64_t k0 = 0; k0 < block.keys(); k0 += kKeyBlock) {
    const int64_t num_keys = std::min(kKeyBlock, block.keys() - k0);
    tile_scores(scratch.scores, scratch.query_t, scratch.keys_t, block, k0, num_keys, E);
    for (int64_t i = 0; i < rows; ++i) {
      const int64_t count = visible_keys(block, i, k0, num_keys);
      softmax_row(scratch.scores + i * kKeyBlock, count, num_keys, scratch.row_max[i], scratch.row_sum[i],
                  scratch.out + i * padded_E, padded_E);
    }
    tile_gemm<kKeyBlock, 1>(scratch.out, padded_E, scratch.scores, scratch.values + k0 * padded_E, padded_E,
                            rows, padded_E, true, [&](int64_t, int64_t end) {
                              return std::pair<int64_t, int64_t>(0,
                                                                 visible_keys(block, end - 1, k0, num_keys));
                            });
  }
  for (int64_t i = 0; i < rows; ++i) {
    const float* from = scratch.out + i * padded_E;
    float* to = a.out + (first_row + i) * a.shape.out_width() + head * E;
    if (i + kPrefetchRows < rows) prefetch_row_to_write(to + kPrefetchRows * a.shape.out_width(), E);
    const Vec inverse = hn::Set(d, 1.0f / scratch.row_sum[i]);
    for_each_vector(0, E, [=](auto load, auto store) HWY_ATTR { store(hn::Mul(load(from), inverse), to); });
    a.lse[(first_row + i) * a.shape.heads + head] = scratch.row_max[i] + std::log(scratch.row_sum[i]);
  }
}

void attention_forward_task(const ForwardArguments& a, int64_t kv_head, int range,
                            const ForwardScratch& scratch) {
  const int64_t E = a.shape.head_dim;
  const int64_t padded_E = padded_head_dim(E);
  const int64_t heads_per_group = a.shape.heads / a.shape.kv_heads;
  const float* keys = a.qkv + (a.shape.heads + kv_head) * E;
  const float* values = keys + a.shape.kv_heads * E;
  int32_t sequence = -1;
  int64_t packed = 0;
  for_each_block_of_range(a.layout, a.work, range, a.num_ranges, [&](const QueryBlock& block) HWY_ATTR {
    if (block.sequence != sequence) {
      sequence = block.sequence;
      const int64_t length = a.layout.cu_seqlens[sequence + 1] - block.first_row;
      packed = list_keys(a.layout, sequence, block.prefix + length, scratch.key_rows, packed);
    }
    for (; packed < block.keys(); ++packed) {
      const int64_t offset = scratch.key_rows[packed] * a.shape.qkv_width();
      if (packed + kPrefetchRows < block.keys()) {
        const int64_t ahead = scratch.key_rows[packed + kPrefetchRows] * a.shape.qkv_width();
        prefetch_row(keys + ahead, E);
        prefetch_row(values + ahead, E);
      }
      pack_column(panel_column(scratch.keys_t, packed, E), kPanel, keys + offset, 1.0f, E);
      pack_row(scratch.values + packed * padded_E, values + offset, 1.0f, E, padded_E);
    }
    for (int64_t h = 0; h < heads_per_group; ++h) {
      forward_block(a, block, kv_head * heads_per_group + h, scratch);
    }
  });
}

}  // namespace anneal::cpu::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace anneal::cpu {

HWY_EXPORT(attention_forward_task);

void CpuBackend::attention_forward(float* out, float* lse, const float* qkv, const BatchLayout& layout,
                                   const AttentionShape& shape, float* workspace) {
  const int64_t work = total_work(layout);
  const int threads = attention_threads(threads_, work, shape);
  const ForwardArguments arguments{out, lse, qkv, layout, shape, work, query_ranges(threads, shape.kv_heads)};
  const int64_t padded_E = padded_head_dim(shape.head_dim);
  Carver size(nullptr);
  const ForwardScratch sizes(size, layout.num_tokens, padded_E);
  parallel_tasks(threads, shape.kv_heads * arguments.num_ranges, [&](int64_t task, int worker) {
    Carver carver(workspace + worker * size.used());
    const ForwardScratch scratch(carver, layout.num_tokens, padded_E);
    HWY_DYNAMIC_DISPATCH(attention_forward_task)
    (arguments, task / arguments.num_ranges, static_cast<int>(task % arguments.num_ranges), scratch);
  });
}

}  // namespace anneal::cpu
#endif
