// Three passes over the words, each on all threads: sums of counts over hashes of pairs tell which pairs
// cannot be frequent; those that can are counted exactly; then each one's list of words is filled in memory
// of just that size. So the many rare pairs never take any memory.
#include "tokenizer/tracked_pairs.h"

#include <limits>
#include <utility>

#include "tokenizer/parallel.h"

namespace anneal {
namespace {

/// Each tracking takes pairs down to this part of the most frequent one.
constexpr int64_t kDepth = 4;
constexpr int kSumBits = 20;
constexpr WordPlace kNoPlace = std::numeric_limits<WordPlace>::max();

size_t sum_of(uint64_t key) { return hash_pair(key) >> (64 - kSumBits); }

/// Calls visit(key) for each pair of a word.
template <typename Word, typename Visit>
void for_each_pair(const Word& word, Visit&& visit) {
  for (uint32_t i = 0; i + 1 < word.length; ++i) {
    visit(uint64_t{word.units[i]} << 32 | word.units[i + 1]);
  }
}

/// Upper bounds of the counts of pairs, by sum_of(key).
template <typename Unit>
std::vector<int64_t> upper_bounds(const TrainingWords<Unit>& words, int threads) {
  const auto parts = static_cast<size_t>(threads);
  std::vector<std::vector<int64_t>> sums(parts);
  for_each_part(threads, parts, [&](int, size_t part) {
    std::vector<int64_t>& mine = sums[part];
    mine.resize(size_t{1} << kSumBits);
    words.for_each(part, parts, [&](WordPlace, const auto& word) {
      for_each_pair(word, [&](uint64_t key) { mine[sum_of(key)] += static_cast<int64_t>(word.count); });
    });
  });
  for (size_t part = 1; part < parts; ++part) {
    for (size_t i = 0; i < sums[part].size(); ++i) sums[0][i] += sums[part][i];
  }
  return std::move(sums[0]);
}

/// What one part of the words holds of the pairs.
struct Census {
  struct Share {
    int64_t count = 0;
    uint32_t words = 0;
    WordPlace last_word = kNoPlace;
  };
  PairNumbers numbers;
  std::vector<Share> shares;
};

}  // namespace

template <typename Unit>
TrackedPairs track_pairs(const TrainingWords<Unit>& words, int64_t min_count, int64_t below, int threads,
                         int64_t& limit) {
  const std::vector<int64_t> bounds = upper_bounds(words, threads);
  const int64_t most = std::min(below, *std::max_element(bounds.begin(), bounds.end()));
  limit = std::max(min_count, most / kDepth);

  const auto parts = static_cast<size_t>(threads);
  std::vector<Census> censuses(parts);
  for_each_part(threads, parts, [&, least = limit](int, size_t part) {
    auto& [numbers, shares] = censuses[part];
    words.for_each(part, parts, [&](WordPlace place, const auto& word) {
      for_each_pair(word, [&](uint64_t key) {
        if (bounds[sum_of(key)] < least) return;
        const uint32_t number = numbers.find_or_add(key);
        if (number == shares.size()) shares.emplace_back();
        auto& [count, in_words, last_word] = shares[number];
        count += static_cast<int64_t>(word.count);
        if (last_word != place) ++in_words;
        last_word = place;
      });
    });
  });

  TrackedPairs tracked;
  {
    PairNumbers numbers;
    std::vector<int64_t> counts;
    for (const Census& census : censuses) {
      for (uint32_t i = 0; i < census.shares.size(); ++i) {
        const uint32_t number = numbers.find_or_add(census.numbers.key(i));
        if (number == counts.size()) counts.push_back(0);
        counts[number] += census.shares[i].count;
      }
    }
    for (uint32_t i = 0; i < counts.size(); ++i) {
      if (counts[i] >= limit) tracked.add(numbers.key(i), counts[i]);
    }
  }
  // Where each part begins in the lists of words: parts follow one another, so lists are in the order of
  // places.
  std::vector<size_t> lengths(tracked.pairs.size());
  std::vector<std::vector<size_t>> next(parts);
  for (size_t part = 0; part < parts; ++part) {
    next[part] = lengths;
    for (uint32_t i = 0; i < censuses[part].shares.size(); ++i) {
      const uint32_t number = tracked.numbers.find(censuses[part].numbers.key(i));
      if (number != PairNumbers::kNone) lengths[number] += censuses[part].shares[i].words;
    }
  }
  censuses.clear();
  for (size_t i = 0; i < lengths.size(); ++i) tracked.pairs[i].words.resize(lengths[i]);
  for_each_part(threads, parts, [&, least = limit](int, size_t part) {
    std::vector<WordPlace> last(tracked.pairs.size(), kNoPlace);
    words.for_each(part, parts, [&](WordPlace place, const auto& word) {
      for_each_pair(word, [&](uint64_t key) {
        if (bounds[sum_of(key)] < least) return;
        const uint32_t number = tracked.numbers.find(key);
        if (number == PairNumbers::kNone || last[number] == place) return;
        last[number] = place;
        tracked.pairs[number].words[next[part][number]++] = place;
      });
    });
  });
  return tracked;
}

template TrackedPairs track_pairs(const TrainingWords<uint16_t>&, int64_t, int64_t, int, int64_t&);
template TrackedPairs track_pairs(const TrainingWords<uint32_t>&, int64_t, int64_t, int, int64_t&);

}  // namespace anneal
