// The pairs of neighbouring units that are frequent enough to matter for now: how often each occurs, weighted
// by the counts of the words, and in which words.
#pragma once

#include <cstddef>
#include <cstdint>
#include <vector>

#include "tokenizer/training_words.h"
#include "tokenizer/word_hash.h"

namespace anneal {

struct TrackedPair {
  uint64_t key = 0;
  int64_t count = 0;
  std::vector<WordPlace> words;  // that held the pair when it was found; may name one that lost it since
};

/// Pairs by key, and by number in the order in which they came.
class TrackedPairs {
 public:
  static constexpr uint32_t kNone = UINT32_MAX;

  [[nodiscard]] TrackedPair& operator[](uint32_t number) { return pairs_[number]; }
  [[nodiscard]] size_t size() const { return pairs_.size(); }

  [[nodiscard]] uint32_t find(uint64_t key) const {
    if (slots_.empty()) return kNone;
    return slots_[slot_of(key)];
  }

  uint32_t find_or_add(uint64_t key) {
    if ((pairs_.size() + 1) * 2 > slots_.size()) grow();
    uint32_t& slot = slots_[slot_of(key)];
    if (slot == kNone) {
      slot = static_cast<uint32_t>(pairs_.size());
      pairs_.push_back({key, 0, {}});
    }
    return slot;
  }

  void clear() {
    pairs_ = {};
    slots_ = {};
  }

 private:
  [[nodiscard]] size_t slot_of(uint64_t key) const {
    const size_t mask = slots_.size() - 1;
    size_t i = hash_pair(key) & mask;
    while (slots_[i] != kNone && pairs_[slots_[i]].key != key) i = (i + 1) & mask;
    return i;
  }

  void grow() {
    slots_.assign(std::max<size_t>(1024, slots_.size() * 2), kNone);
    for (uint32_t number = 0; number < pairs_.size(); ++number) slots_[slot_of(pairs_[number].key)] = number;
  }

  std::vector<uint32_t> slots_;
  std::vector<TrackedPair> pairs_;
};

/// Counts the pairs of all words anew. Puts those that occur at least `limit` times into `pairs`, which it
/// clears before; `limit` is the larger of `min_count` and an eighth of the count of the most frequent pair,
/// or of `below`, which all counts are known to be less than. Returns the limit.
template <typename Unit>
int64_t track_pairs(const TrainingWords<Unit>& words, int64_t min_count, int64_t below, int threads,
                    TrackedPairs& pairs);

}  // namespace anneal
