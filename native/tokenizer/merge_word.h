// The merges of a word that is not long: the best pair is looked for among all of them each time, by vectors.
#pragma once

#include <cstddef>
#include <cstdint>

#include "tokenizer/merge_table.h"

namespace anneal {

/// Longer words are merged with a heap.
inline constexpr size_t kMaxMergedWord = 96;

/// The ranks of a word's pairs: that of units i and i + 1 at i. Room for a vector behind them.
struct alignas(64) PairRanks {
  uint32_t of[kMaxMergedWord + 64 / sizeof(uint32_t)];
};

/// Merges `ids[length]` in place, with the ranks of its first length - 1 pairs filled in; returns how many
/// are left.
size_t merge_word(const MergeTable& table, int32_t* ids, PairRanks& ranks, size_t length);

}  // namespace anneal
