// How it stays fast and small:
// - A pair gains occurrences only in the step that makes the newer of its two units; later it only loses
// some.
//   So a heap with stale counts (put back when one comes up too high) always finds the true maximum, and a
//   step touches only the words that hold its pair.
// - Only pairs above a limit are tracked at all: the others cannot be the most frequent before the tracked
// ones
//   have fallen to the limit. Then pairs are counted anew with a limit an eighth as high (tracked_pairs.h).
// - A step merges one pair, so all pairs that it changes have the pair's left, its right or the new unit on
// one
//   side: they are counted in arrays by the unit on the other side, without a table of pairs.
#include "tokenizer/bpe_merges.h"

#include <algorithm>
#include <limits>
#include <queue>
#include <span>

#include "tokenizer/parallel.h"
#include "tokenizer/tracked_pairs.h"

namespace anneal {
namespace {

/// Words a thread should have to be worth its start.
constexpr size_t kWordsPerThread = size_t{1} << 14;
/// Words that are fetched ahead.
constexpr size_t kAhead = 8;

struct Candidate {
  int64_t count;
  uint64_t key;
  uint32_t pair;
  /// Lower priority: rarer, or later in the order of pairs.
  bool operator<(const Candidate& other) const {
    return count != other.count ? count < other.count : key > other.key;
  }
};

/// What a step (or one thread of it) changes at the pairs of one kind, by their other unit.
class UnitChanges {
 public:
  struct Change {
    int32_t unit;
    WordPlace last_word;
    int64_t count;
    size_t words;
  };

  void resize(size_t units) { slots_.resize(units); }

  /// The change of this unit.
  Change& operator[](int32_t unit) {
    uint32_t& slot = slots_[static_cast<size_t>(unit)];
    if (slot == 0) {
      changes_.push_back({unit, std::numeric_limits<WordPlace>::max(), 0, 0});
      slot = static_cast<uint32_t>(changes_.size());
    }
    return changes_[slot - 1];
  }

  [[nodiscard]] const std::vector<Change>& all() const { return changes_; }

  void clear() {
    for (const Change& change : changes_) slots_[static_cast<size_t>(change.unit)] = 0;
    changes_.clear();
  }

 private:
  std::vector<uint32_t> slots_;  // by unit: 1 + number of its change, 0: none
  std::vector<Change> changes_;
};

/// Gained pairs with the words that hold them, in the order in which the words came.
class Gains {
 public:
  struct InWord {
    int32_t unit;
    WordPlace word;
  };

  void resize(size_t units) { units_.resize(units); }

  void add(int32_t unit, uint64_t count, WordPlace word) {
    UnitChanges::Change& change = units_[unit];
    change.count += static_cast<int64_t>(count);
    if (change.last_word == word) return;
    change.last_word = word;
    ++change.words;
    words_.push_back({unit, word});
  }

  /// Adds what a later part of the words gained.
  void add(const Gains& later) {
    for (const UnitChanges::Change& from : later.units_.all()) {
      UnitChanges::Change& change = units_[from.unit];
      change.count += from.count;
      change.words += from.words;
    }
    words_.insert(words_.end(), later.words_.begin(), later.words_.end());
  }

  [[nodiscard]] const std::vector<UnitChanges::Change>& all() const { return units_.all(); }
  [[nodiscard]] const std::vector<InWord>& words() const { return words_; }

  void clear() {
    units_.clear();
    words_.clear();
  }

 private:
  UnitChanges units_;
  std::vector<InWord> words_;
};

/// What a step that merges (left, right) to result changes.
struct StepChanges {
  UnitChanges lost_before;  // (unit, left)
  UnitChanges lost_after;   // (right, unit)
  Gains gained_before;      // (unit, result)
  Gains gained_after;       // (result, unit)

  void resize(size_t units) {
    lost_before.resize(units);
    lost_after.resize(units);
    gained_before.resize(units);
    gained_after.resize(units);
  }
  void clear() {
    lost_before.clear();
    lost_after.clear();
    gained_before.clear();
    gained_after.clear();
  }
};

template <typename Unit>
class MergeLoop {
 public:
  MergeLoop(WordCounts& counts, const MergeSearch& search, const std::atomic<bool>& cancelled)
      : search_(search),
        cancelled_(cancelled),
        min_count_(std::max<int64_t>(1, search.min_frequency)),
        words_(counts, search.units_of, search.threads, cancelled),
        changes_(static_cast<size_t>(search.threads)) {
    const auto units = static_cast<size_t>(search.first_result + search.merges);
    for (StepChanges& changes : changes_) changes.resize(units);
  }

  std::vector<int32_t> run() {
    std::vector<int32_t> merges;
    while (static_cast<int64_t>(merges.size()) < 2 * search_.merges && !cancelled_) {
      if (queue_.empty()) {
        if (limit_ <= min_count_) break;
        track();
        continue;
      }
      Candidate top = queue_.top();
      queue_.pop();
      const int64_t count = pairs_[top.pair].count;
      if (count < top.count) {
        top.count = count;
        if (count >= limit_) queue_.push(top);
        continue;
      }
      const auto left = static_cast<int32_t>(top.key >> 32);
      const auto right = static_cast<int32_t>(top.key & UINT32_MAX);
      if (search_.accept && !search_.accept(left, right)) continue;
      const auto result = static_cast<int32_t>(search_.first_result + merges.size() / 2);
      merges.push_back(left);
      merges.push_back(right);
      merge(top.pair, left, right, result);
    }
    return merges;
  }

 private:
  /// Tracks less frequent pairs than before.
  void track() {
    words_.compact(search_.threads);
    limit_ = track_pairs(words_, min_count_, limit_, search_.threads, pairs_);
    for (uint32_t i = 0; i < pairs_.size(); ++i) queue_.push({pairs_[i].count, pairs_[i].key, i});
  }

  void merge(uint32_t pair, int32_t left, int32_t right, int32_t result) {
    const std::vector<WordPlace> words = std::move(pairs_[pair].words);
    const size_t parts = std::clamp<size_t>(words.size() / kWordsPerThread, 1, changes_.size());
    for_each_part(static_cast<int>(parts), parts, [&](int, size_t part) {
      const size_t begin = part * words.size() / parts;
      const size_t end = (part + 1) * words.size() / parts;
      merge_words(std::span(words).subspan(begin, end - begin), static_cast<Unit>(left),
                  static_cast<Unit>(right), static_cast<Unit>(result), changes_[part]);
    });
    for (size_t part = 0; part < parts; ++part) {
      for (const auto& lost : changes_[part].lost_before.all()) lose(pair_key(lost.unit, left), lost.count);
      for (const auto& lost : changes_[part].lost_after.all()) lose(pair_key(right, lost.unit), lost.count);
      if (part == 0) continue;
      changes_[0].gained_before.add(changes_[part].gained_before);
      changes_[0].gained_after.add(changes_[part].gained_after);
    }
    gain(changes_[0].gained_before, [&](int32_t unit) { return pair_key(unit, result); });
    gain(changes_[0].gained_after, [&](int32_t unit) { return pair_key(result, unit); });
    for (size_t part = 0; part < parts; ++part) changes_[part].clear();
  }

  /// Replaces left, right by result from the left on.
  void merge_words(std::span<const WordPlace> places, Unit left, Unit right, Unit result,
                   StepChanges& changes) {
    for (size_t at = 0; at < places.size(); ++at) {
      if (at + kAhead < places.size()) words_.prefetch(places[at + kAhead]);
      const WordPlace place = places[at];
      const auto [count, length, units] = words_.word(place);
      const auto pair_at = [left, right, length, units](uint32_t i) {
        return i + 1 < length && units[i] == left && units[i + 1] == right;
      };
      uint32_t kept = 0;
      bool after_result = false;
      for (uint32_t i = 0; i < length;) {
        if (!pair_at(i)) {
          units[kept++] = units[i++];
          after_result = false;
          continue;
        }
        if (after_result) {
          changes.gained_before.add(result, count, place);
        } else if (kept > 0) {
          changes.lost_before[units[kept - 1]].count += static_cast<int64_t>(count);
          changes.gained_before.add(units[kept - 1], count, place);
        }
        if (i + 2 < length) {
          changes.lost_after[units[i + 2]].count += static_cast<int64_t>(count);
          // What follows may be the pair once more: then result has result after it.
          if (!pair_at(i + 2)) changes.gained_after.add(units[i + 2], count, place);
        }
        units[kept++] = result;
        i += 2;
        after_result = true;
      }
      if (kept < length) words_.shorten(place, kept);
    }
  }

  void lose(uint64_t key, int64_t count) {
    const uint32_t pair = pairs_.find(key);
    if (pair != TrackedPairs::kNone) pairs_[pair].count -= count;
  }

  /// Tracks the gained pairs that are frequent enough; a rarer one cannot become frequent any more.
  template <typename KeyOf>
  void gain(const Gains& gains, const KeyOf& key_of) {
    numbers_.resize(static_cast<size_t>(search_.first_result + search_.merges), TrackedPairs::kNone);
    bool any = false;
    for (const auto& [unit, last_word, count, words] : gains.all()) {
      if (count < limit_) continue;
      const uint32_t number = pairs_.find_or_add(key_of(unit));
      pairs_[number].count = count;
      pairs_[number].words.reserve(words);
      numbers_[static_cast<size_t>(unit)] = number;
      queue_.push({count, pairs_[number].key, number});
      any = true;
    }
    if (!any) return;
    for (const auto& [unit, word] : gains.words()) {
      const uint32_t number = numbers_[static_cast<size_t>(unit)];
      if (number != TrackedPairs::kNone) pairs_[number].words.push_back(word);
    }
    for (const auto& change : gains.all()) numbers_[static_cast<size_t>(change.unit)] = TrackedPairs::kNone;
  }

  const MergeSearch& search_;
  const std::atomic<bool>& cancelled_;
  const int64_t min_count_;
  int64_t limit_ = std::numeric_limits<int64_t>::max();
  TrainingWords<Unit> words_;
  TrackedPairs pairs_;
  std::priority_queue<Candidate> queue_;
  std::vector<StepChanges> changes_;  // one a thread
  std::vector<uint32_t> numbers_;     // by unit, while a step's gains are entered
};

}  // namespace

std::vector<int32_t> find_merges(WordCounts& counts, const MergeSearch& search,
                                 const std::atomic<bool>& cancelled) {
  const int64_t units = search.first_result + search.merges;
  if (units <= UINT16_MAX) return MergeLoop<uint16_t>(counts, search, cancelled).run();
  return MergeLoop<uint32_t>(counts, search, cancelled).run();
}

}  // namespace anneal
