// The merges of a word that is not long: the best pair is looked for among all of them each time, by vectors.
#pragma once

#include <cstddef>
#include <cstdint>

#include "tokenizer/merge_table.h"

namespace anneal {

/// Longer words are merged with a heap. One bit of 64 is for a word's end.
inline constexpr size_t kMaxMergedWord = 63;

/// What a word's pairs are chosen by, the smallest first: that of units i and i + 1 at i.
struct alignas(64) PairKeys {
  uint32_t of[kMaxMergedWord + 1];

  /// The rank of a pair, then its place.
  static uint32_t key(uint32_t rank, size_t place) { return rank << 8 | static_cast<uint32_t>(place); }
};

/// Merges `ids[length]` in place, with the keys of its first length - 1 pairs filled in; returns how many are
/// left.
size_t merge_word(const MergeTable& table, int32_t* ids, PairKeys& keys, size_t length);

}  // namespace anneal
