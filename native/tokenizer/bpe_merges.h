// The merges of byte-pair encoding, from counted words: the most frequent pair of neighbouring units is
// merged again and again. Of equally frequent pairs the one with the smaller left unit, then the smaller
// right unit, comes first.
#pragma once

#include <atomic>
#include <cstdint>
#include <functional>
#include <vector>

#include "tokenizer/training_words.h"
#include "tokenizer/word_counts.h"

namespace anneal {

struct MergeSearch {
  int64_t merges = 0;
  /// Pairs that occur less often (or never) are not merged.
  int64_t min_frequency = 1;
  int threads = 1;
  /// Units of a word before the first merge; all are below `first_result`.
  UnitsOfWord units_of;
  /// Unit that the first merge makes; the others follow.
  int32_t first_result = 256;
  /// Whether a pair may be merged; absent: all may. Called in the order of merges, once it is a pair's turn;
  /// true means that it is merged.
  std::function<bool(int32_t left, int32_t right)> accept;
};

/// Left and right unit of each merge in turn; fewer than wanted where no pair is frequent enough, or when
/// `cancelled` becomes true. Uses up `counts`.
[[nodiscard]] std::vector<int32_t> find_merges(WordCounts& counts, const MergeSearch& search,
                                               const std::atomic<bool>& cancelled);

}  // namespace anneal
