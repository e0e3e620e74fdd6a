// Three passes over the words, each on all threads: sums of counts over hashes of pairs tell which pairs
// cannot be frequent; those that can are counted exactly; then each one's list of words is filled in memory
// of just that size. So the many rare pairs never take any memory.
#include "tokenizer/tracked_pairs.h"

#include <algorithm>
#include <limits>

#include "tokenizer/parallel.h"

namespace anneal {
namespace {

/// Each tracking takes pairs down to this part of the most frequent one.
constexpr int64_t kDepth = 8;
constexpr int kSumBits = 18;

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

/// What one part of the words holds of a pair, in the order of TrackedPairs.
struct Share {
  size_t words = 0;
  WordPlace last_word = std::numeric_limits<WordPlace>::max();
};

}  // namespace

template <typename Unit>
int64_t track_pairs(const TrainingWords<Unit>& words, int64_t min_count, int64_t below, int threads,
                    TrackedPairs& pairs) {
  pairs.clear();
  const std::vector<int64_t> bounds = upper_bounds(words, threads);
  const int64_t most = std::min(below, *std::max_element(bounds.begin(), bounds.end()));
  const int64_t limit = std::max(min_count, most / kDepth);

  const auto parts = static_cast<size_t>(threads);
  std::vector<TrackedPairs> counted(parts);
  std::vector<std::vector<Share>> shares(parts);
  for_each_part(threads, parts, [&](int, size_t part) {
    words.for_each(part, parts, [&](WordPlace place, const auto& word) {
      for_each_pair(word, [&](uint64_t key) {
        if (bounds[sum_of(key)] < limit) return;
        const uint32_t number = counted[part].find_or_add(key);
        if (number == shares[part].size()) shares[part].emplace_back();
        counted[part][number].count += static_cast<int64_t>(word.count);
        Share& share = shares[part][number];
        if (share.last_word != place) ++share.words;
        share.last_word = place;
      });
    });
  });

  // Sums over the parts; those that are frequent get a number in `pairs`.
  TrackedPairs sums;
  for (TrackedPairs& part : counted) {
    for (uint32_t i = 0; i < part.size(); ++i) sums[sums.find_or_add(part[i].key)].count += part[i].count;
  }
  for (uint32_t i = 0; i < sums.size(); ++i) {
    if (sums[i].count >= limit) pairs[pairs.find_or_add(sums[i].key)].count = sums[i].count;
  }
  // Where each part begins in the lists of words: parts follow one another, so lists are in the order of
  // places.
  std::vector<size_t> lengths(pairs.size());
  std::vector<std::vector<size_t>> next(parts);
  for (size_t part = 0; part < parts; ++part) {
    next[part] = lengths;
    for (uint32_t i = 0; i < counted[part].size(); ++i) {
      const uint32_t number = pairs.find(counted[part][i].key);
      if (number != TrackedPairs::kNone) lengths[number] += shares[part][i].words;
    }
  }
  counted.clear();
  for (uint32_t i = 0; i < pairs.size(); ++i) pairs[i].words.resize(lengths[i]);
  for_each_part(threads, parts, [&](int, size_t part) {
    std::vector<WordPlace> last(pairs.size(), std::numeric_limits<WordPlace>::max());
    words.for_each(part, parts, [&](WordPlace place, const auto& word) {
      for_each_pair(word, [&](uint64_t key) {
        if (bounds[sum_of(key)] < limit) return;
        const uint32_t number = pairs.find(key);
        if (number == TrackedPairs::kNone || last[number] == place) return;
        last[number] = place;
        pairs[number].words[next[part][number]++] = place;
      });
    });
  });
  return limit;
}

template int64_t track_pairs(const TrainingWords<uint16_t>&, int64_t, int64_t, int, TrackedPairs&);
template int64_t track_pairs(const TrainingWords<uint32_t>&, int64_t, int64_t, int, TrackedPairs&);

}  // namespace anneal
