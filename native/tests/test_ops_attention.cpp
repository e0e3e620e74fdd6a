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

/// Sequences of a paged cache: `shared` rows (whole pages) that all have, and rows of their own; the last
/// rows of each, `queries` of them, attend.
void check_paged(int32_t heads, int32_t kv_heads, int32_t head_dim, int32_t shared, const Ints& own,
                 int32_t queries = 1) {
  const AttentionShape shape{heads, kv_heads, head_dim, 1.0f / std::sqrt(static_cast<float>(head_dim))};
  const int64_t E = head_dim;
  constexpr auto kPage = static_cast<int32_t>(kPageRows);
  REQUIRE(shared % kPage == 0);
  // Pages in a shuffled order. Rows of qkv: first all that goes to the cache, then the queries.
  Ints pages, page_starts, lengths, cache_rows;
  Ints row_of_cache;  // rows of qkv by row of the cache
  int32_t next_page = 1;
  const auto new_page = [&] { return (next_page += 2) % 64; };
  const auto put = [&](int32_t page, int32_t row) {
    const auto at = static_cast<size_t>(page * kPage + row);
    if (row_of_cache.size() <= at) row_of_cache.resize(at + 1, -1);
    row_of_cache[at] = static_cast<int32_t>(cache_rows.size());
    cache_rows.push_back(static_cast<int32_t>(at));
  };
  Ints common;
  for (int32_t r = 0; r < shared; ++r) {
    if (r % kPage == 0) common.push_back(new_page());
    put(common.back(), r % kPage);
  }
  for (const int32_t rows : own) {
    const auto start = static_cast<int32_t>(pages.size());
    pages.insert(pages.end(), common.begin(), common.end());
    for (int32_t r = 0; r < rows; ++r) {
      if (r % kPage == 0) pages.push_back(new_page());
      put(pages.back(), r % kPage);
    }
    for (int32_t q = queries; q > 0; --q) {
      page_starts.push_back(start);
      lengths.push_back(shared + rows - q + 1);
    }
  }
  REQUIRE(next_page < 64);
  const auto N = static_cast<int64_t>(cache_rows.size());
  const auto B = static_cast<int64_t>(lengths.size());
  // One group of all that share, or a group for each sequence.
  Ints group_starts, shared_pages;
  if (queries == 1) {
    group_starts = {0, static_cast<int32_t>(B)};
    shared_pages = {shared / kPage};
  } else {
    for (size_t s = 0; s < own.size(); ++s) {
      group_starts.push_back(static_cast<int32_t>(s) * queries);
      shared_pages.push_back((shared + own[s] + kPage - 1) / kPage);
    }
    group_starts.push_back(static_cast<int32_t>(B));
  }
  const PagedLayout layout{static_cast<int32_t>(B), static_cast<int32_t>(shared_pages.size()),
                           group_starts.data(),     shared_pages.data(),
                           page_starts.data(),      pages.data(),
                           lengths.data()};
  check(
      {.name = "kv_cache_append and attention_paged",
       .inputs = {{static_cast<size_t>((N + B) * shape.qkv_width()), Gradient::kNone, -2.0, 2.0}},
       .outputs = {{static_cast<size_t>(B * shape.out_width()), false}},
       .reference =
           [&](const auto& in, auto& out) {
             for (size_t b = 0; b < lengths.size(); ++b) {
               Ints rows;
               for (int32_t r = 0; r < lengths[b]; ++r) {
                 const int32_t page = pages[static_cast<size_t>(page_starts[b] + r / kPage)];
                 rows.push_back(row_of_cache[static_cast<size_t>(page * kPage + r % kPage)]);
               }
               for (int32_t h = 0; h < heads; ++h) {
                 const double* keys = in[0].data() + (heads + h / (heads / kv_heads)) * E;
                 attend(in[0].data() + (N + static_cast<int64_t>(b)) * shape.qkv_width() + h * E, keys,
                        keys + kv_heads * E, rows, shape.qkv_width(), E, static_cast<double>(shape.scale),
                        out[0].data() + static_cast<int64_t>(b) * shape.out_width() + h * E);
               }
             }
           },
       .forward =
           [&](Run& run, const auto& in, const auto& out) {
             // What is not written is not a number, and must not be read.
             const auto bytes = static_cast<size_t>(64 * shape.page_floats()) * sizeof(float);
             const KvCacheView cache{run.scratch(bytes), run.scratch(bytes)};
             float* workspace = run.scratch(run.backend.attention_paged_workspace(shape));
             run.backend.kv_cache_append(cache, in[0], cache_rows.data(), N, shape);
             const float* qkv = in[0] + N * shape.qkv_width();
             run.backend.attention_paged(out[0], qkv, cache, layout, shape, workspace);
             // Rows one by one give the same bits.
             for (int64_t b = 0; b < B; ++b) {
               const Ints starts = {0, 1};
               const int32_t all_pages = (lengths[static_cast<size_t>(b)] + kPage - 1) / kPage;
               const PagedLayout one{
                   1, 1, starts.data(), &all_pages, page_starts.data() + b, pages.data(), lengths.data() + b};
               float* alone = run.scratch(static_cast<size_t>(shape.out_width()) * sizeof(float));
               run.backend.attention_paged(alone, qkv + b * shape.qkv_width(), cache, one, shape, workspace);
               CHECK(run.read(alone, static_cast<size_t>(shape.out_width())) ==
                     run.read(out[0] + b * shape.out_width(), static_cast<size_t>(shape.out_width())));
             }
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

TEST_CASE("attention over a paged cache") {
  check_paged(1, 1, 24, 0, {1, 5});
  check_paged(5, 5, 80, 16, {64, 3});
  check_paged(6, 2, 13, 32, {65, 130, 1});
  check_paged(9, 1, 256, 0, {20, 100});
  check_paged(2, 2, 48, 80, {1, 2, 3, 4, 5, 16, 17, 30});
  check_paged(1, 1, 64, 48, Ints(9, 7));
}

TEST_CASE("attention over a paged cache: rows of a prompt") {
  check_paged(2, 1, 24, 0, {40, 70}, 33);
  check_paged(3, 3, 13, 16, {130}, 70);
}

}  // namespace anneal::test
