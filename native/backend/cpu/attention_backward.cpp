// Attention, backward: scores are recomputed tile by tile from the forward pass's normalisers.
//
// Each task owns the query gradients of its blocks, and sums the gradients of its head's keys and values for
// itself: range 0 right in d_qkv, the others in the workspace, added afterwards in order.
#include <cmath>

#include "backend/cpu/attention.h"
#include "backend/cpu/cpu_backend.h"
#include "backend/cpu/parallel.h"

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "backend/cpu/attention_backward.cpp"
#include <hwy/foreach_target.h>
#include <hwy/highway.h>

#include "backend/cpu/attention_pack-inl.h"

HWY_BEFORE_NAMESPACE();
namespace anneal::cpu::HWY_NAMESPACE {

/// scores -> p = e^(score - lse) and d_probs -> p (d_probs - delta) in the first `count` columns, zeros after
/// them up to `width`.
HWY_INLINE void gradient_row(float* scores, float* d_probs, int64_t count, int64_t width, float lse,
                             float delta) {
  const Vec lse_v = hn::Set(F32(), lse);
  const Vec delta_v = hn::Set(F32(), delta);
  for_each_vector(0, count, [=](auto load, auto store) HWY_ATTR {
    const Vec p = exp(hn::Sub(load(scores), lse_v));
    store(p, scores);
    store(hn::Mul(p, hn::Sub(load(d_probs), delta_v)), d_probs);
  });
  for (int64_t k = count; k < width; ++k) scores[k] = d_probs[k] = 0.0f;
}

/// One query head of one block against the keys gathered in `scratch`.
HWY_INLINE void backward_block(const BackwardArguments& a, const QueryBlock& block, int64_t head,
                               const BackwardScratch& s) {
  const int64_t E = a.shape.head_dim;
  const int64_t padded_E = padded_head_dim(E);
  const int64_t rows = block.end - block.begin;
  const int64_t first_row = block.first_row + block.begin;
  for (int64_t i = 0; i < rows; ++i) {
    const float* query = a.qkv + (first_row + i) * a.shape.qkv_width() + head * E;
    const float* d_out = a.d_out + (first_row + i) * a.shape.out_width() + head * E;
    const float* out = a.out + (first_row + i) * a.shape.out_width() + head * E;
    if (i + kPrefetchRows < rows) {
      prefetch_row(query + kPrefetchRows * a.shape.qkv_width(), E);
      prefetch_row(d_out + kPrefetchRows * a.shape.out_width(), E);
      prefetch_row(out + kPrefetchRows * a.shape.out_width(), E);
    }
    pack_column(s.query_t + i, kKeyBlock, query, a.shape.scale, E);
    pack_column(s.d_out_t + i, kKeyBlock, d_out, 1.0f, E);
    pack_row(s.query + i * padded_E, query, a.shape.scale, E, padded_E);
    pack_row(s.d_out + i * padded_E, d_out, 1.0f, E, padded_E);
    Vec dot = hn::Zero(F32());
    for_each_vector(0, E, [&](auto load, auto) HWY_ATTR { dot = hn::MulAdd(load(d_out), load(out), dot); });
    s.delta[i] = sum_lanes(dot);
  }
  std::fill_n(s.d_query, rows * padded_E, 0.0f);
  for (int64_t k0 = 0; k0 < block.keys(); k0 += kKeyBlock) {
    const int64_t num_keys = std::min(kKeyBlock, block.keys() - k0);
    tile_scores(s.probs, s.query_t, s.keys_t, block, k0, num_keys, E);
    tile_scores(s.d_scores, s.d_out_t, s.values_t, block, k0, num_keys, E);
    for (int64_t i = 0; i < rows; ++i) {
      gradient_row(s.probs + i * kKeyBlock, s.d_scores + i * kKeyBlock, visible_keys(block, i, k0, num_keys),
                   num_keys, a.lse[(first_row + i) * a.shape.heads + head], s.delta[i]);
    }
    // Keys from k0 + m on are seen by the queries from k0 + m - prefix - begin on.
    const auto queries_that_see = [&](int64_t m, int64_t) {
      return std::pair(std::clamp<int64_t>(k0 + m - block.prefix - block.begin, 0, rows), rows);
    };
    tile_gemm<1, kKeyBlock>(s.d_values + k0 * padded_E, padded_E, s.probs, s.d_out, padded_E, num_keys,
                            padded_E, true, queries_that_see);
    tile_gemm<1, kKeyBlock>(s.d_keys + k0 * padded_E, padded_E, s.d_scores, s.query, padded_E, num_keys,
                            padded_E, true, queries_that_see);
    tile_gemm<kKeyBlock, 1>(s.d_query, padded_E, s.d_scores, s.keys + k0 * padded_E, padded_E, rows, padded_E,
                            true, [&](int64_t, int64_t end) {
                              return std::pair<int64_t, int64_t>(0,
                                                                 visible_keys(block, end - 1, k0, num_keys));
                            });
  }
  const Vec scale = hn::Set(F32(), a.shape.scale);
  for (int64_t i = 0; i < rows; ++i) {
    const float* from = s.d_query + i * padded_E;
    float* to = a.d_qkv + (first_row + i) * a.shape.qkv_width() + head * E;
    if (i + kPrefetchRows < rows) prefetch_row_to_write(to + kPrefetchRows * a.shape.qkv_width(), E);
    for_each_vector(0, E, [=](auto load, auto store) HWY_ATTR { store(hn::Mul(load(from), scale), to); });
  }
}

/// to = from, or += from, E floats.
HWY_INLINE void write_row(float* to, const float* from, bool add, int64_t E) {
  for_each_vector(0, E, [=](auto load, auto store) HWY_ATTR {
    store(add ? hn::Add(load(to), load(from)) : load(from), to);
  });
}

void attention_backward_task(const BackwardArguments& a, int64_t kv_head, int range,
                             const BackwardScratch& s) {
  const int64_t E = a.shape.head_dim;
  const int64_t padded_E = padded_head_dim(E);
  const int64_t T = a.layout.num_tokens;
  const int64_t heads_per_group = a.shape.heads / a.shape.kv_heads;
  const int64_t width = a.shape.qkv_width();
  const float* keys = a.qkv + (a.shape.heads + kv_head) * E;
  const float* values = keys + a.shape.kv_heads * E;

  // Where this task's gradients of keys and values go.
  const bool first = range == 0;
  float* d_keys =
      first ? a.d_qkv + (keys - a.qkv) : a.partial + ((range - 1) * a.shape.kv_heads + kv_head) * T * 2 * E;
  float* d_values = d_keys + (first ? a.shape.kv_heads * E : E);
  const int64_t d_stride = first ? width : 2 * E;
  // With one range and no prefixes, each row is written once: nothing is cleared and added to.
  const bool add = a.num_ranges > 1 || !std::all_of(a.layout.prefix, a.layout.prefix + a.layout.num_sequences,
                                                    [](int32_t prefix) { return prefix < 0; });
  for (int64_t t = 0; add && t < T; ++t) {
    std::fill_n(d_keys + t * d_stride, E, 0.0f);
    std::fill_n(d_values + t * d_stride, E, 0.0f);
  }

  int32_t sequence = -1;
  int64_t packed = 0;
  int64_t cleared = 0;  // keys of the list whose gradients are being summed
  const auto flush = [&]() HWY_ATTR {
    for (int64_t k = 0; k < cleared; ++k) {
      if (k + kPrefetchRows < cleared) {
        prefetch_row_to_write(d_keys + s.key_rows[k + kPrefetchRows] * d_stride, E);
        prefetch_row_to_write(d_values + s.key_rows[k + kPrefetchRows] * d_stride, E);
      }
      write_row(d_keys + s.key_rows[k] * d_stride, s.d_keys + k * padded_E, add, E);
      write_row(d_values + s.key_rows[k] * d_stride, s.d_values + k * padded_E, add, E);
    }
    cleared = 0;
  };
  for_each_block_of_range(a.layout, a.work, range, a.num_ranges, [&](const QueryBlock& block) HWY_ATTR {
    if (block.sequence != sequence) {
      flush();
      sequence = block.sequence;
      const int64_t length = a.layout.cu_seqlens[sequence + 1] - block.first_row;
      packed = list_keys(a.layout, sequence, block.prefix + length, s.key_rows, packed);
    }
    for (; packed < block.keys(); ++packed) {
      const int64_t offset = s.key_rows[packed] * width;
      if (packed + kPrefetchRows < block.keys()) {
        const int64_t ahead = s.key_rows[packed + kPrefetchRows] * width;
        prefetch_row(keys + ahead, E);
        prefetch_row(values + ahead, E);
      }
      pack_column(panel_column(s.keys_t, packed, E), kPanel, keys + offset, 1.0f, E);
      pack_column(panel_column(s.values_t, packed, E), kPanel, values + offset, 1.0f, E);
      pack_row(s.keys + packed * padded_E, keys + offset, 1.0f, E, padded_E);
    }
    if (cleared < block.keys()) {
      std::fill_n(s.d_keys + cleared * padded_E, (block.keys() - cleared) * padded_E, 0.0f);
      std::fill_n(s.d_values + cleared * padded_E, (block.keys() - cleared) * padded_E, 0.0f);
      cleared = block.keys();
    }
    for (int64_t h = 0; h < heads_per_group; ++h) {
      backward_block(a, block, kv_head * heads_per_group + h, s);
    }
  });
  flush();
}

}  // namespace anneal::cpu::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace anneal::cpu {

HWY_EXPORT(attention_backward_task);

namespace {

/// d_qkv += the gradients of keys and values that the ranges after the first have summed, in order.
void add_partial_gradients(int threads, const BackwardArguments& a) {
  const int64_t T = a.layout.num_tokens;
  const int64_t E = a.shape.head_dim;
  const int64_t G = a.shape.kv_heads;
  parallel_tasks(threads, G, [&](int64_t g, int) {
    for (int64_t t = 0; t < T; ++t) {
      float* d_key = a.d_qkv + t * a.shape.qkv_width() + (a.shape.heads + g) * E;
      float* d_value = d_key + G * E;
      for (int64_t range = 1; range < a.num_ranges; ++range) {
        const float* from = a.partial + (((range - 1) * G + g) * T + t) * 2 * E;
        for (int64_t e = 0; e < E; ++e) d_key[e] += from[e];
        for (int64_t e = 0; e < E; ++e) d_value[e] += from[E + e];
      }
    }
  });
}

}  // namespace

size_t CpuBackend::attention_workspace(int64_t max_tokens, const AttentionShape& shape) const {
  const int64_t padded_E = padded_head_dim(shape.head_dim);
  Carver forward(nullptr);
  const ForwardScratch forward_scratch(forward, max_tokens, padded_E);
  Carver backward(nullptr);
  const BackwardScratch backward_scratch(backward, max_tokens, padded_E);
  const int64_t ranges = query_ranges(threads_, shape.kv_heads);
  const int64_t partial = (ranges - 1) * shape.kv_heads * max_tokens * 2 * shape.head_dim;
  const int64_t floats = threads_ * std::max(forward.used(), backward.used()) + round_up(partial, 16);
  return static_cast<size_t>(floats) * sizeof(float);
}

void CpuBackend::attention_backward(float* d_qkv, const float* d_out, const float* out, const float* lse,
                                    const float* qkv, const BatchLayout& layout, const AttentionShape& shape,
                                    float* workspace) {
  const int64_t work = total_work(layout);
  const int threads = attention_threads(threads_, work, shape);
  const int64_t padded_E = padded_head_dim(shape.head_dim);
  Carver size(nullptr);
  const BackwardScratch sizes(size, layout.num_tokens, padded_E);
  const BackwardArguments arguments{d_qkv,
                                    d_out,
                                    out,
                                    lse,
                                    qkv,
                                    layout,
                                    shape,
                                    work,
                                    query_ranges(threads, shape.kv_heads),
                                    workspace + threads * size.used()};
  parallel_tasks(threads, shape.kv_heads * arguments.num_ranges, [&](int64_t task, int worker) {
    Carver carver(workspace + worker * size.used());
    const BackwardScratch scratch(carver, layout.num_tokens, padded_E);
    HWY_DYNAMIC_DISPATCH(attention_backward_task)
    (arguments, task / arguments.num_ranges, static_cast<int>(task % arguments.num_ranges), scratch);
  });
  if (arguments.num_ranges > 1) add_partial_gradients(threads, arguments);
}

}  // namespace anneal::cpu
#endif
