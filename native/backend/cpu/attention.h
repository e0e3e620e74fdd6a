// How attention over a packed batch is cut into tasks; shared by forward and backward.
//
// A sequence with prefixes sees one list of keys: its chain of prefixes from the root, then its own rows.
// Query i of a sequence with P keys in its prefixes sees the first P + i + 1 keys of the list: causal, with
// an offset. The keys' rows are gathered into that order, so the kernels know nothing of prefixes.
//
// A task is one key/value head (with all query heads that read it) and a range of query blocks, the ranges
// chosen to hold about equal work. With enough heads there is one range a head.
#pragma once

#include <algorithm>
#include <cstdint>

#include "backend/backend.h"

namespace anneal::cpu {

constexpr int64_t kQueryBlock = 96;  // query rows of a tile; a multiple of both register blocks' rows
constexpr int64_t kKeyBlock = 128;   // keys of a tile
constexpr int64_t kPanel = 32;       // keys of a panel of transposed keys; a multiple of two vectors

inline int64_t round_up(int64_t n, int64_t multiple) { return (n + multiple - 1) / multiple * multiple; }

/// E padded to whole vectors of the widest instruction set.
inline int64_t padded_head_dim(int64_t head_dim) { return round_up(head_dim, 16); }

/// Keys that come before a sequence's own: the lengths of its prefixes.
inline int64_t prefix_length(const BatchLayout& layout, int32_t sequence) {
  int64_t length = 0;
  for (int32_t p = layout.prefix[sequence]; p >= 0; p = layout.prefix[p]) {
    length += layout.cu_seqlens[p + 1] - layout.cu_seqlens[p];
  }
  return length;
}

/// A block of queries of one sequence.
struct QueryBlock {
  int32_t sequence;
  int64_t prefix;      // keys before the sequence's own
  int64_t first_row;   // of the sequence, in the batch
  int64_t begin, end;  // queries, counted from the sequence's first
  [[nodiscard]] int64_t keys() const { return prefix + end; }
};

/// Calls f(block) for every query block of the batch, in order.
template <class F>
void for_each_query_block(const BatchLayout& layout, const F& f) {
  for (int32_t s = 0; s < layout.num_sequences; ++s) {
    const int64_t first = layout.cu_seqlens[s];
    const int64_t length = layout.cu_seqlens[s + 1] - first;
    if (length == 0) continue;
    const int64_t prefix = prefix_length(layout, s);
    for (int64_t begin = 0; begin < length; begin += kQueryBlock) {
      f(QueryBlock{s, prefix, first, begin, std::min(length, begin + kQueryBlock)});
    }
  }
}

/// Products of a query block with its keys, in units of one query and key.
inline int64_t work_of(const QueryBlock& block) { return (block.end - block.begin) * block.keys(); }

inline int64_t total_work(const BatchLayout& layout) {
  int64_t work = 0;
  for_each_query_block(layout, [&](const QueryBlock& block) { work += work_of(block); });
  return work;
}

/// Calls f(block) for the query blocks of range `range` of `num_ranges`: those whose middle, by work, lies
/// there.
template <class F>
void for_each_block_of_range(const BatchLayout& layout, int64_t work, int range, int num_ranges, const F& f) {
  int64_t done = 0;
  for_each_query_block(layout, [&](const QueryBlock& block) {
    const int64_t middle = done + work_of(block) / 2;
    done += work_of(block);
    if (middle >= work * range / num_ranges && middle < work * (range + 1) / num_ranges) f(block);
  });
}

/// Ranges to cut each head's queries into, so that heads * ranges tasks load `threads` threads within 10%.
inline int query_ranges(int threads, int64_t kv_heads) {
  for (int ranges = 1; ranges < threads; ++ranges) {
    const int64_t tasks = kv_heads * ranges;
    const int64_t rounds = (tasks + threads - 1) / threads;
    if (static_cast<double>(rounds * threads) <= 1.1 * static_cast<double>(tasks)) return ranges;
  }
  return threads;
}

/// Threads for a pass over the batch: one, when the work is not worth waking others for.
inline int attention_threads(int threads, int64_t work, const AttentionShape& shape) {
  constexpr int64_t kMinWork = 1 << 20;  // multiplications of the scores
  return work * shape.heads * shape.head_dim < kMinWork ? 1 : threads;
}

/// Writes the rows of the keys that `sequence` sees, in order, to `rows`; gives how many at the start were
/// there already (from the sequence before; `held` rows were valid).
inline int64_t list_keys(const BatchLayout& layout, int32_t sequence, int64_t num_keys, int32_t* rows,
                         int64_t held) {
  int64_t end = num_keys;
  int64_t same = std::min(held, num_keys);
  for (int32_t s = sequence; s >= 0; s = layout.prefix[s]) {
    const int64_t begin = end - (layout.cu_seqlens[s + 1] - layout.cu_seqlens[s]);
    for (int64_t i = begin; i < end; ++i) {
      const auto row = static_cast<int32_t>(layout.cu_seqlens[s] + (i - begin));
      if (i < same && rows[i] != row) same = i;
      rows[i] = row;
    }
    end = begin;
  }
  return same;
}

/// Cuts a workspace into pieces; counts only, when it starts at null.
class Carver {
 public:
  explicit Carver(float* start) : next_(start) {}
  /// `count` floats, aligned to 64 bytes when the workspace is.
  float* take(int64_t count) {
    float* piece = next_ == nullptr ? nullptr : next_ + used_;
    used_ += round_up(count, 16);
    return piece;
  }
  [[nodiscard]] int64_t used() const { return used_; }

 private:
  float* next_;
  int64_t used_ = 0;
};

/// Scratch memory of one worker of the forward pass. Tokens are rounded up to whole panels.
struct ForwardScratch {
  ForwardScratch(Carver& carver, int64_t tokens, int64_t padded_dim)
      : keys_t(carver.take(round_up(tokens, kPanel) * padded_dim)),
        values(carver.take(round_up(tokens, kPanel) * padded_dim)),
        key_rows(reinterpret_cast<int32_t*>(carver.take(tokens))),
        query_t(carver.take(padded_dim * kKeyBlock)),
        scores(carver.take(kQueryBlock * kKeyBlock)),
        out(carver.take(kQueryBlock * padded_dim)),
        row_max(carver.take(kQueryBlock)),
        row_sum(carver.take(kQueryBlock)) {}
  float* keys_t;      // panels [E, kPanel] of transposed keys
  float* values;      // [keys, padded E]
  int32_t* key_rows;  // batch rows of the gathered keys
  float* query_t;     // [E, kKeyBlock], scaled
  float* scores;      // [kQueryBlock, kKeyBlock]
  float* out;         // [kQueryBlock, padded E]
  float *row_max, *row_sum;
};

/// Scratch memory of one worker of the backward pass.
struct BackwardScratch {
  BackwardScratch(Carver& carver, int64_t tokens, int64_t padded_dim)
      : keys_t(carver.take(round_up(tokens, kPanel) * padded_dim)),
        values_t(carver.take(round_up(tokens, kPanel) * padded_dim)),
        keys(carver.take(tokens * padded_dim)),
        d_keys(carver.take(tokens * padded_dim)),
        d_values(carver.take(tokens * padded_dim)),
        key_rows(reinterpret_cast<int32_t*>(carver.take(tokens))),
        query_t(carver.take(padded_dim * kKeyBlock)),
        d_out_t(carver.take(padded_dim * kKeyBlock)),
        query(carver.take(kQueryBlock * padded_dim)),
        d_out(carver.take(kQueryBlock * padded_dim)),
        d_query(carver.take(kQueryBlock * padded_dim)),
        probs(carver.take(kQueryBlock * kKeyBlock)),
        d_scores(carver.take(kQueryBlock * kKeyBlock)),
        delta(carver.take(kQueryBlock)) {}
  float *keys_t, *values_t;         // panels [E, kPanel]
  float *keys, *d_keys, *d_values;  // [keys, padded E]
  int32_t* key_rows;                // batch rows of the gathered keys
  float *query_t, *d_out_t;         // [E, kKeyBlock]
  float *query, *d_out, *d_query;   // [kQueryBlock, padded E]
  float *probs, *d_scores;          // [kQueryBlock, kKeyBlock]
  float* delta;                     // [kQueryBlock]: sum of d_out * out
};

struct ForwardArguments {
  float *out, *lse;
  const float* qkv;
  const BatchLayout& layout;
  const AttentionShape& shape;
  int64_t work;  // total_work(layout)
  int num_ranges;
};

struct BackwardArguments {
  float* d_qkv;
  const float *d_out, *out, *lse, *qkv;
  const BatchLayout& layout;
  const AttentionShape& shape;
  int64_t work;
  int num_ranges;
  float* partial;  // [num_ranges - 1, G, T, 2 E]: gradients of keys and values of all ranges but the first
};

}  // namespace anneal::cpu
