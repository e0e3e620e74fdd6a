// The pairs of neighbouring units that are frequent enough to matter for now: how often each occurs, weighted
// by the counts of the words, and in which words.
#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <vector>

#include "tokenizer/training_words.h"
#include "tokenizer/word_hash.h"

namespace anneal {

/// Numbers pairs in the order in which they come.
class PairNumbers {
 public:
  static constexpr uint32_t kNone = UINT32_MAX;

  [[nodiscard]] size_t size() const { return keys_.size(); }
  [[nodiscard]] uint64_t key(uint32_t number) const { return keys_[number]; }

  /// The pair's number, or kNone.
  [[nodiscard]] uint32_t find(uint64_t key) const { return slots_.empty() ? kNone : slots_[slot_of(key)]; }

  uint32_t find_or_add(uint64_t key) {
    if ((keys_.size() + 1) * 2 > slots_.size()) grow();
    uint32_t& slot = slots_[slot_of(key)];
    if (slot == kNone) {
      slot = static_cast<uint32_t>(keys_.size());
      keys_.push_back(key);
    }
    return slot;
  }

 private:
  [[nodiscard]] size_t slot_of(uint64_t key) const {
    const size_t mask = slots_.size() - 1;
    size_t i = hash_pair(key) & mask;
    while (slots_[i] != kNone && keys_[slots_[i]] != key) i = (i + 1) & mask;
    return i;
  }

  void grow() {
    slots_.assign(std::max<size_t>(1024, slots_.size() * 2), kNone);
    for (uint32_t number = 0; number < keys_.size(); ++number) slots_[slot_of(keys_[number])] = number;
  }

  std::vector<uint32_t> slots_;
  std::vector<uint64_t> keys_;
};

struct TrackedPair {
  int64_t count = 0;
  std::vector<WordPlace> words;  // that held the pair when it was found; may name one that lost it since
};

/// Tracked pairs by number.
struct TrackedPairs {
  PairNumbers numbers;
  std::vector<TrackedPair> pairs;

  uint32_t add(uint64_t key, int64_t count) {
    const uint32_t number = numbers.find_or_add(key);
    if (number == pairs.size()) pairs.emplace_back();
    pairs[number].count = count;
    return number;
  }
};

/// Counts the pairs of all words anew, and tracks those that occur at least `limit` times, each in its words
/// in the order of places. `limit`, which is set, is the larger of `min_count` and a quarter of the count of
/// the most frequent pair, or of `below`, which all counts are known to be less than.
template <typename Unit>
[[nodiscard]] TrackedPairs track_pairs(const TrainingWords<Unit>& words, int64_t min_count, int64_t below,
                                       int threads, int64_t& limit);

}  // namespace anneal
