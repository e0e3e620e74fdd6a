// How training stays fast: a pair of units gets its list of words once, in the step that makes the newer of
// its two units, and its count only falls afterwards. So a heap with stale counts (put back when one comes up
// too high) always finds the true maximum, and each step touches only the words that hold its pair.
#include "tokenizer/bpe_trainer.h"

#include <algorithm>
#include <queue>

#include "tokenizer/byte_units.h"
#include "tokenizer/parallel.h"
#include "tokenizer/word_hash.h"

namespace anneal {

/// Distinct words and how often each occurred: open addressing, the bytes in one arena.
class BpeTrainer::WordCounts {
 public:
  void add(std::string_view word, int64_t count) {
    if ((used_ + 1) * 2 > slots_.size()) grow();
    const uint64_t hash = hash_word(word);
    Slot& slot = find(hash, word);
    if (slot.count == 0) {
      slot = {hash, bytes_.size(), word.size(), 0};
      bytes_.insert(bytes_.end(), word.begin(), word.end());
      ++used_;
    }
    slot.count += count;
  }

  [[nodiscard]] size_t size() const { return used_; }
  [[nodiscard]] size_t num_bytes() const { return bytes_.size(); }

  /// Calls visit(word, count) for each distinct word.
  template <typename Visit>
  void for_each(Visit&& visit) const {
    for (const Slot& slot : slots_) {
      if (slot.count > 0) visit(text(slot), slot.count);
    }
  }

 private:
  struct Slot {
    uint64_t hash = 0;
    size_t offset = 0;
    size_t length = 0;
    int64_t count = 0;  // 0: free
  };

  [[nodiscard]] std::string_view text(const Slot& slot) const {
    return {bytes_.data() + slot.offset, slot.length};
  }

  Slot& find(uint64_t hash, std::string_view word) {
    const size_t mask = slots_.size() - 1;
    size_t i = hash & mask;
    while (slots_[i].count != 0 && (slots_[i].hash != hash || text(slots_[i]) != word)) i = (i + 1) & mask;
    return slots_[i];
  }

  void grow() {
    std::vector<Slot> old(std::max<size_t>(1024, slots_.size() * 2));
    old.swap(slots_);
    const size_t mask = slots_.size() - 1;
    for (const Slot& slot : old) {
      if (slot.count == 0) continue;
      size_t i = slot.hash & mask;
      while (slots_[i].count != 0) i = (i + 1) & mask;
      slots_[i] = slot;
    }
  }

  std::vector<Slot> slots_;
  std::vector<char> bytes_;
  size_t used_ = 0;
};

namespace {

/// A word as its current units; the vector of all units is shared by the words.
struct TrainedWord {
  size_t offset;
  size_t length;
  int64_t count;
};

struct Pair {
  uint64_t key = 0;
  int64_t count = 0;
  std::vector<uint32_t> words;  // that held the pair when it was made; may name one that lost it since
};

/// Index of each pair by its key; pairs are never removed.
class PairTable {
 public:
  PairTable() : slots_(size_t{1} << 16, kFree) {}

  [[nodiscard]] std::vector<Pair>& pairs() { return pairs_; }

  uint32_t find_or_add(uint64_t key) {
    if ((pairs_.size() + 1) * 2 > slots_.size()) grow();
    const size_t mask = slots_.size() - 1;
    size_t i = hash_pair(key) & mask;
    while (slots_[i] != kFree && pairs_[slots_[i]].key != key) i = (i + 1) & mask;
    if (slots_[i] == kFree) {
      slots_[i] = static_cast<uint32_t>(pairs_.size());
      pairs_.push_back({key, 0, {}});
    }
    return slots_[i];
  }

 private:
  static constexpr uint32_t kFree = UINT32_MAX;

  void grow() {
    slots_.assign(slots_.size() * 2, kFree);
    const size_t mask = slots_.size() - 1;
    for (uint32_t index = 0; index < pairs_.size(); ++index) {
      size_t i = hash_pair(pairs_[index].key) & mask;
      while (slots_[i] != kFree) i = (i + 1) & mask;
      slots_[i] = index;
    }
  }

  std::vector<uint32_t> slots_;
  std::vector<Pair> pairs_;
};

struct Candidate {
  int64_t count;
  uint64_t key;
  uint32_t pair;
  /// Lower priority: rarer, or later in the order of pairs.
  bool operator<(const Candidate& other) const {
    return count != other.count ? count < other.count : key > other.key;
  }
};

class MergeLoop {
 public:
  MergeLoop(size_t num_words, size_t num_units) {
    words_.reserve(num_words);
    units_.reserve(num_units);
  }

  void add_word(std::string_view word, int64_t count) {
    const auto index = static_cast<uint32_t>(words_.size());
    words_.push_back({units_.size(), word.size(), count});
    for (size_t i = 0; i < word.size(); ++i) {
      units_.push_back(kByteUnits[static_cast<unsigned char>(word[i])]);
      if (i > 0) gain(units_[units_.size() - 2], units_.back(), count, index);
    }
  }

  std::vector<int32_t> run(int64_t max_merges, int64_t min_count, const std::atomic<bool>& cancelled) {
    std::vector<int32_t> merges;
    enqueue_gained(min_count);
    while (static_cast<int64_t>(merges.size()) < 2 * max_merges && !queue_.empty() && !cancelled) {
      Candidate top = queue_.top();
      queue_.pop();
      const int64_t count = table_.pairs()[top.pair].count;
      if (count < top.count) {
        top.count = count;
        if (count >= min_count) queue_.push(top);
        continue;
      }
      const auto left = static_cast<int32_t>(top.key >> 32);
      const auto right = static_cast<int32_t>(top.key & UINT32_MAX);
      const auto result = static_cast<int32_t>(256 + merges.size() / 2);
      merges.push_back(left);
      merges.push_back(right);
      const std::vector<uint32_t> words = std::move(table_.pairs()[top.pair].words);
      for (const uint32_t word : words) merge_word(word, left, right, result);
      enqueue_gained(min_count);
    }
    return merges;
  }

 private:
  void gain(int32_t left, int32_t right, int64_t count, uint32_t word) {
    const uint32_t index = table_.find_or_add(pair_key(left, right));
    Pair& pair = table_.pairs()[index];
    if (pair.words.empty()) gained_.push_back(index);
    pair.count += count;
    if (pair.words.empty() || pair.words.back() != word) pair.words.push_back(word);
  }

  void lose(int32_t left, int32_t right, int64_t count) {
    table_.pairs()[table_.find_or_add(pair_key(left, right))].count -= count;
  }

  /// Puts the pairs that came up since the last call into the queue; a rarer one can never become a merge.
  void enqueue_gained(int64_t min_count) {
    for (const uint32_t index : gained_) {
      Pair& pair = table_.pairs()[index];
      if (pair.count >= min_count) {
        queue_.push({pair.count, pair.key, index});
      } else {
        pair.words = {};
      }
    }
    gained_.clear();
  }

  /// Replaces left, right by result from the left on, and moves the counts of the neighbouring pairs.
  void merge_word(uint32_t index, int32_t left, int32_t right, int32_t result) {
    TrainedWord& word = words_[index];
    int32_t* units = units_.data() + word.offset;
    size_t kept = 0;
    for (size_t i = 0; i < word.length;) {
      if (i + 1 < word.length && units[i] == left && units[i + 1] == right) {
        if (kept > 0) {
          lose(units[kept - 1], left, word.count);
          gain(units[kept - 1], result, word.count, index);
        }
        if (i + 2 < word.length) {
          lose(right, units[i + 2], word.count);
          gain(result, units[i + 2], word.count, index);
        }
        units[kept++] = result;
        i += 2;
      } else {
        units[kept++] = units[i++];
      }
    }
    word.length = kept;
  }

  std::vector<TrainedWord> words_;
  std::vector<int32_t> units_;
  PairTable table_;
  std::vector<uint32_t> gained_;
  std::priority_queue<Candidate> queue_;
};

}  // namespace

BpeTrainer::BpeTrainer(SplitPattern pattern, int threads) : pattern_(pattern) {
  for (int i = 0; i < std::max(1, threads); ++i) counts_.push_back(std::make_unique<WordCounts>());
}

BpeTrainer::~BpeTrainer() = default;

void BpeTrainer::feed(const TextBatch& documents) {
  for_each_part(static_cast<int>(counts_.size()), documents.size(), [&](int thread, size_t part) {
    WordCounts& counts = *counts_[static_cast<size_t>(thread)];
    for_each_word(pattern_, documents[part], [&](std::string_view word) { counts.add(word, 1); });
  });
}

std::vector<int32_t> BpeTrainer::train(int64_t merges, int64_t min_frequency,
                                       const std::atomic<bool>& cancelled) {
  WordCounts& all = *counts_.front();
  for (size_t i = 1; i < counts_.size(); ++i) {
    counts_[i]->for_each([&](std::string_view word, int64_t count) { all.add(word, count); });
    *counts_[i] = WordCounts();
  }
  MergeLoop loop(all.size(), all.num_bytes());
  all.for_each([&](std::string_view word, int64_t count) {
    if (word.size() > 1 && !cancelled) loop.add_word(word, count);
  });
  return loop.run(merges, std::max<int64_t>(1, min_frequency), cancelled);
}

}  // namespace anneal
