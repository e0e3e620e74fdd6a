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
constexpr WordPlace kNoPlace = std::numeric_limits<WordPlace>::max();

struct Candidate {
  int64_t count;
  uint64_t key;
  uint32_t pair;
  /// Lower priority: rarer, or later in the order of pairs.
  bool operator<(const Candidate& other) const {
    return count != other.count ? count < other.count : key > other.key;
  }
};

/// What a step changes at the pairs of one kind, by their other unit.
class UnitChanges {
 public:
  struct Change {
    int32_t unit;
    WordPlace last_word;
    int64_t count;
    size_t words;
    uint32_t pair;  // that is tracked for it
  };

  void resize(size_t units) { slots_.resize(units); }

  void add(int32_t unit, uint64_t count, WordPlace word) {
    uint32_t& slot = slots_[static_cast<size_t>(unit)];
    if (slot == 0) {
      changes_.push_back({unit, kNoPlace, 0, 0, PairNumbers::kNone});
      slot = static_cast<uint32_t>(changes_.size());
    }
    Change& change = changes_[slot - 1];
    change.count += static_cast<int64_t>(count);
    if (change.last_word != word) ++change.words;
    change.last_word = word;
  }

  /// The change of this unit; null if there is none.
  [[nodiscard]] Change* find(int32_t unit) {
    const uint32_t slot = slots_[static_cast<size_t>(unit)];
    return slot == 0 ? nullptr : &changes_[slot - 1];
  }

  [[nodiscard]] std::vector<Change>& all() { return changes_; }

  void clear() {
    for (const Change& change : changes_) slots_[static_cast<size_t>(change.unit)] = 0;
    changes_.clear();
  }

 private:
  std::vector<uint32_t> slots_;  // by unit: 1 + number of its change, 0: none
  std::vector<Change> changes_;
};

/// What a step that merges (left, right) to result changes, in one part of the pair's words.
struct StepChanges {
  UnitChanges lost_before;    // (unit, left)
  UnitChanges lost_after;     // (right, unit)
  UnitChanges gained_before;  // (unit, result)
  UnitChanges gained_after;   // (result, unit)

  void resize(size_t units) {
    for (UnitChanges* changes : {&lost_before, &lost_after, &gained_before, &gained_after}) {
      changes->resize(units);
    }
  }
  void clear() {
    for (UnitChanges* changes : {&lost_before, &lost_after, &gained_before, &gained_after}) changes->clear();
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
      const int64_t count = tracked_.pairs[top.pair].count;
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
    tracked_ = {};
    words_.compact(search_.threads);
    tracked_ = track_pairs(words_, min_count_, limit_, search_.threads, limit_);
    for (uint32_t i = 0; i < tracked_.pairs.size(); ++i) {
      queue_.push({tracked_.pairs[i].count, tracked_.numbers.key(i), i});
    }
  }

  void merge(uint32_t pair, int32_t left, int32_t right, int32_t result) {
    const std::vector<WordPlace> words = std::move(tracked_.pairs[pair].words);
    const size_t parts = std::clamp<size_t>(words.size() / kWordsPerThread, 1, changes_.size());
    const std::span<StepChanges> changes = std::span(changes_).first(parts);
    const auto for_each_share = [&](const auto& work) {
      for_each_part(static_cast<int>(parts), parts, [&](int, size_t part) {
        const size_t begin = part * words.size() / parts;
        const size_t end = (part + 1) * words.size() / parts;
        work(std::span(words).subspan(begin, end - begin), changes[part]);
      });
    };
    for_each_share([&](std::span<const WordPlace> places, StepChanges& mine) {
      merge_words(places, static_cast<Unit>(left), static_cast<Unit>(right), static_cast<Unit>(result), mine);
    });
    for (StepChanges& part : changes) {
      for (const auto& lost : part.lost_before.all()) lose(pair_key(lost.unit, left), lost.count);
      for (const auto& lost : part.lost_after.all()) lose(pair_key(right, lost.unit), lost.count);
    }
    const bool before =
        gain(changes, &StepChanges::gained_before, [result](int32_t unit) { return pair_key(unit, result); });
    const bool after =
        gain(changes, &StepChanges::gained_after, [result](int32_t unit) { return pair_key(result, unit); });
    if (before || after) {
      for_each_share([&](std::span<const WordPlace> places, StepChanges& mine) {
        list_words(places, static_cast<Unit>(result), mine);
      });
    }
    for (StepChanges& part : changes) part.clear();
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
          changes.lost_before.add(units[kept - 1], count, place);
          changes.gained_before.add(units[kept - 1], count, place);
        }
        if (i + 2 < length) {
          changes.lost_after.add(units[i + 2], count, place);
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
    const uint32_t pair = tracked_.numbers.find(key);
    if (pair != PairNumbers::kNone) tracked_.pairs[pair].count -= count;
  }

  /// Tracks the gained pairs of one kind that are frequent enough (a rarer one cannot become frequent any
  /// more), and leaves in the changes of each part where its words begin in their lists. Whether there are
  /// any.
  template <typename KeyOf>
  bool gain(std::span<StepChanges> parts, UnitChanges StepChanges::*kind, const KeyOf& key_of) {
    bool any = false;
    for (size_t first = 0; first < parts.size(); ++first) {
      for (UnitChanges::Change& change : (parts[first].*kind).all()) {
        if (change.pair != PairNumbers::kNone) continue;  // an earlier part has it
        int64_t count = 0;
        for (StepChanges& part : parts.subspan(first)) {
          if (const auto* share = (part.*kind).find(change.unit)) count += share->count;
        }
        if (count < limit_) continue;
        const uint32_t number = tracked_.add(key_of(change.unit), count);
        size_t words = 0;
        for (StepChanges& part : parts.subspan(first)) {
          auto* share = (part.*kind).find(change.unit);
          if (share == nullptr) continue;
          share->pair = number;
          share->last_word = kNoPlace;
          words += std::exchange(share->words, words);
        }
        tracked_.pairs[number].words.resize(words);
        queue_.push({count, tracked_.numbers.key(number), number});
        any = true;
      }
    }
    return any;
  }

  /// Enters words that have been merged into the lists of the pairs that they gained.
  void list_words(std::span<const WordPlace> places, Unit result, StepChanges& changes) {
    const auto enter = [&](UnitChanges& kind, Unit unit, WordPlace place) {
      UnitChanges::Change* change = kind.find(unit);
      if (change == nullptr || change->pair == PairNumbers::kNone || change->last_word == place) return;
      change->last_word = place;
      tracked_.pairs[change->pair].words[change->words++] = place;
    };
    for (size_t at = 0; at < places.size(); ++at) {
      if (at + kAhead < places.size()) words_.prefetch(places[at + kAhead]);
      const auto [count, length, units] = words_.word(places[at]);
      for (uint32_t i = 0; i < length; ++i) {
        if (units[i] != result) continue;
        if (i > 0) enter(changes.gained_before, units[i - 1], places[at]);
        if (i + 1 < length && units[i + 1] != result) enter(changes.gained_after, units[i + 1], places[at]);
      }
    }
  }

  const MergeSearch& search_;
  const std::atomic<bool>& cancelled_;
  const int64_t min_count_;
  int64_t limit_ = std::numeric_limits<int64_t>::max();
  TrainingWords<Unit> words_;
  TrackedPairs tracked_;
  std::priority_queue<Candidate> queue_;
  std::vector<StepChanges> changes_;  // one a thread
};

}  // namespace

std::vector<int32_t> find_merges(WordCounts& counts, const MergeSearch& search,
                                 const std::atomic<bool>& cancelled) {
  const int64_t units = search.first_result + search.merges;
  if (units <= UINT16_MAX) return MergeLoop<uint16_t>(counts, search, cancelled).run();
  return MergeLoop<uint32_t>(counts, search, cancelled).run();
}

}  // namespace anneal
