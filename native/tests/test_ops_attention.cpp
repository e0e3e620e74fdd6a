// Attention over packed batches with shared prefixes, and over the key/value cache.
#include <doctest/doctest.h>

#include <cmath>
#include <numeric>

#include "op_harness.h"

namespace anneal::test {
namespace {

/// A batch by the lengths of its sequences and their prefixes.
struct Packed {
  Ints lengths;
  Ints prefix;
  Ints borders = {0};

  Packed(Ints l, Ints p) : lengths(std::move(l)), prefix(std::move(p)) {
    for (const int32_t length : lengths) borders.push_back(borders.back() + length);
  }
  explicit Packed(const Ints& l) : Packed(l, Ints(l.size(), -1)) {}

  [[nodiscard]] BatchLayout layout() const {
    return {borders.back(), static_cast<int32_t>(lengths.size()), borders.data(), prefix.data(), nullptr};
  }
  /// The rows that row t of sequence s sees, the nearest sequence first.
  [[nodiscard]] Ints visible(size_t s, int32_t t) const {
    Ints rows;
    for (int32_t row = borders[s]; row <= t; ++row) rows.push_back(row);
    for (int32_t p = prefix[s]; p >= 0; p = prefix[static_cast<size_t>(p)]) {
      for (int32_t row = borders[static_cast<size_t>(p)]; row < borders[static_cast<size_t>(p) + 1]; ++row) {
        rows.push_back(row);
      }
    }
    return rows;
  }
};

/// One head of one query against rows of keys and values; gives the log of the softmax's normaliser.
double attend(const double* query, const double* keys, const double* values, const Ints& rows, int64_t stride,
              int64_t E, double scale, double* out) {
  Doubles scores;
  double max = -1e300;
  for (const int32_t row : rows) {
    double dot = 0.0;
    for (int64_t e = 0; e < E; ++e) dot += query[e] * keys[row * stride + e];
    scores.push_back(dot * scale);
    max = std::max(max, scores.back());
  }
  double sum = 0.0;
  for (const double score : scores) sum += std::exp(score - max);
  for (size_t k = 0; k < rows.size(); ++k) {
    const double p = std::exp(scores[k] - max) / sum;
    for (int64_t e = 0; e < E; ++e) out[e] += p * values[rows[k] * stride + e];
  }
  return max + std::log(sum);
}

void check_attention(const char* name, const Packed& batch, int32_t heads, int32_t kv_heads, int32_t head_dim,
                     double range = 1.0) {
  const AttentionShape shape{heads, kv_heads, head_dim, 1.0f / std::sqrt(static_cast<float>(head_dim))};
  const int64_t T = batch.borders.back();
  const int64_t E = head_dim;
  check({.name = std::string("attention: ") + name,
         .inputs = {{static_cast<size_t>(T * shape.qkv_width()), Gradient::kOverwritten, -range, range}},
         .outputs = {{static_cast<size_t>(T * shape.out_width())}, {static_cast<size_t>(T * heads), false}},
         .reference =
             [=](const auto& in, auto& out) {
               std::fill(out[0].begin(), out[0].end(), 0.0);
               for (size_t s = 0; s < batch.lengths.size(); ++s) {
                 for (int32_t t = batch.borders[s]; t < batch.borders[s + 1]; ++t) {
                   const Ints rows = batch.visible(s, t);
                   for (int32_t h = 0; h < heads; ++h) {
                     const double* keys = in[0].data() + (heads + h / (heads / kv_heads)) * E;
                     out[1][static_cast<size_t>(t * heads + h)] =
                         attend(in[0].data() + t * shape.qkv_width() + h * E, keys, keys + kv_heads * E, rows,
                                shape.qkv_width(), E, static_cast<double>(shape.scale),
                                out[0].data() + t * shape.out_width() + h * E);
                   }
                 }
               }
             },
         .forward =
             [=](Run& run, const auto& in, const auto& out) {
               run.backend.attention_forward(out[0], out[1], in[0], batch.layout(), shape,
                                             run.scratch(run.backend.attention_workspace(T, shape)));
             },
         .backward =
             [=](Run& run, const auto& in, const auto& out, const auto& d_out, const auto& d_in) {
               run.backend.attention_backward(d_in[0], d_out[0], out[0], out[1], in[0], batch.layout(), shape,
                                              run.scratch(run.backend.attention_workspace(T, shape)));
             }});
}

/// Appends random rows to the cache of three slots, then decodes one token for two of them.
void check_decode(int32_t heads, int32_t kv_heads, int32_t head_dim, const Ints& lengths) {
  const AttentionShape shape{heads, kv_heads, head_dim, 1.0f / std::sqrt(static_cast<float>(head_dim))};
  const int64_t E = head_dim;
  const int64_t width = kv_heads * E;
  const Ints slots = {2, 0};
  const int64_t capacity = *std::max_element(lengths.begin(), lengths.end()) + 1;
  // Rows of qkv: first all that goes to the cache, then the queries of the two sequences.
  Ints row_slots, cache_rows, first_row;
  for (size_t b = 0; b < slots.size(); ++b) {
    first_row.push_back(static_cast<int32_t>(cache_rows.size()));
    for (int32_t i = 0; i < lengths[b]; ++i) {
      row_slots.push_back(slots[b]);
      cache_rows.push_back(i);
    }
  }
  const auto N = static_cast<int64_t>(cache_rows.size());
  const auto B = static_cast<int64_t>(slots.size());
  check({.name = "kv_cache_append and attention_decode",
         .inputs = {{static_cast<size_t>((N + B) * shape.qkv_width()), Gradient::kNone, -2.0, 2.0}},
         .outputs = {{static_cast<size_t>(B * shape.out_width()), false}},
         .reference =
             [=](const auto& in, auto& out) {
               for (size_t b = 0; b < slots.size(); ++b) {
                 Ints rows(static_cast<size_t>(lengths[b]));
                 std::iota(rows.begin(), rows.end(), first_row[b]);
                 for (int32_t h = 0; h < heads; ++h) {
                   const double* keys = in[0].data() + (heads + h / (heads / kv_heads)) * E;
                   attend(in[0].data() + (N + static_cast<int64_t>(b)) * shape.qkv_width() + h * E, keys,
                          keys + width, rows, shape.qkv_width(), E, static_cast<double>(shape.scale),
                          out[0].data() + static_cast<int64_t>(b) * shape.out_width() + h * E);
                 }
               }
             },
         .forward =
             [=](Run& run, const auto& in, const auto& out) {
               const auto size = static_cast<size_t>(3 * capacity * width) * sizeof(float);
               const KvCacheView cache{run.scratch(size), run.scratch(size), static_cast<int32_t>(capacity)};
               run.backend.kv_cache_append(cache, in[0], run.ints(row_slots), run.ints(cache_rows), N, shape);
               run.backend.attention_decode(out[0], in[0] + N * shape.qkv_width(), cache, run.ints(slots),
                                            run.ints(lengths), B, shape, nullptr);
             },
         .backward = nullptr});
}

}  // namespace

TEST_CASE("attention: shapes") {
  check_attention("one token", Packed({1}), 1, 1, 1);
  check_attention("one head", Packed({37}), 1, 1, 24);
  check_attention("five heads", Packed({19, 8}), 5, 5, 80);
  check_attention("grouped heads", Packed({33, 5}), 6, 2, 24);
  check_attention("one head for all", Packed({21}), 4, 1, 40);
  check_attention("the largest head", Packed({9, 3}), 2, 1, 256);
  check_attention("odd head", Packed({50}), 3, 3, 13);
  check_attention("many tokens alone", Packed(Ints(40, 1)), 2, 1, 8);
  check_attention("across tiles", Packed({301, 97}), 1, 1, 16);
  check_attention("peaked", Packed({150}), 1, 1, 8, 6.0);
}

TEST_CASE("attention: shared prefixes") {
  check_attention("two answers to one prompt", Packed({20, 7, 11}, {-1, 0, 0}), 2, 2, 24);
  check_attention("a chain", Packed({5, 6, 7, 1}, {-1, 0, 1, 2}), 1, 1, 80);
  check_attention("a tree among others", Packed({30, 9, 1, 12, 4, 8}, {-1, -1, 0, 2, 0, 1}), 6, 2, 16);
  check_attention("a prompt longer than a tile", Packed({140, 40, 33, 2}, {-1, 0, 0, 1}), 1, 1, 12);
}

TEST_CASE("attention of new tokens over the cache") {
  check_decode(1, 1, 24, {1, 5});
  check_decode(5, 5, 80, {64, 3});
  check_decode(6, 2, 13, {65, 130});
  check_decode(9, 1, 256, {20, 300});
}

}  // namespace anneal::test
