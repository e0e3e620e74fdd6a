// The distinct words of a text as units, in the form that merging works on: one record after another, so that
// a record is found, read and rewritten in one place of memory.
//
// A record is length (4 bytes), count (8 bytes), units; it begins at a multiple of 4 bytes. Merging shortens
// words; what becomes free is filled with kFree, which no length equals, until compact() closes the gaps.
// Records lie in as many ranges as word counts have shards.
#pragma once

#include <algorithm>
#include <array>
#include <atomic>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <functional>
#include <memory>
#include <stdexcept>
#include <string_view>
#include <utility>
#include <vector>

#include "tokenizer/parallel.h"
#include "tokenizer/word_counts.h"

namespace anneal {

/// Appends the units of a word.
using UnitsOfWord = std::function<void(std::string_view word, std::vector<int32_t>& units)>;

/// Place of a record, in steps of 4 bytes from the first.
using WordPlace = uint32_t;

/// `Unit`: uint16_t or uint32_t, as many values as there may be units.
template <typename Unit>
class TrainingWords {
 public:
  static constexpr size_t kRanges = WordCounts::kShards;

  struct Word {
    uint64_t count;
    uint32_t length;
    Unit* units;
  };

  /// Takes the words out of `counts`, shard by shard. Words of one unit are left out.
  TrainingWords(WordCounts& counts, const UnitsOfWord& units_of, int threads,
                const std::atomic<bool>& cancelled) {
    size_t steps = 0;
    for (size_t range = 0; range < kRanges; ++range) {
      ranges_[range] = {steps, steps};
      counts.shard(range).for_each([&](std::string_view word, uint64_t) {
        if (word.size() > 1) steps += steps_of(word.size());
      });
    }
    if (steps > UINT32_MAX) throw std::length_error("the distinct words take more than 16 GiB");
    // Not initialised: what shards do not hold any more and records do not hold yet costs no memory.
    memory_ = std::make_unique_for_overwrite<std::byte[]>(4 * steps);
    for_each_part(threads, kRanges, [&](int, size_t range) {
      const WordShard shard = std::exchange(counts.shard(range), {});
      std::vector<int32_t> units;
      shard.for_each([&](std::string_view word, uint64_t count) {
        if (word.size() < 2 || cancelled) return;
        units.clear();
        units_of(word, units);
        if (units.size() > 1) append(ranges_[range].second, units, count);
      });
    });
  }

  [[nodiscard]] Word word(size_t place) const {
    std::byte* record = memory_.get() + 4 * place;
    Word word;
    std::memcpy(&word.length, record, sizeof word.length);
    std::memcpy(&word.count, record + 4, sizeof word.count);
    word.units = reinterpret_cast<Unit*>(record + kHeader);
    return word;
  }

  void prefetch(size_t place) const { __builtin_prefetch(memory_.get() + 4 * place, 1); }

  /// Says that only the first `length` units of a word are left.
  void shorten(size_t place, uint32_t length) {
    std::byte* record = memory_.get() + 4 * place;
    uint32_t before;
    std::memcpy(&before, record, sizeof before);
    std::memcpy(record, &length, sizeof length);
    const size_t from = 4 * steps_of(length);
    std::memset(record + from, kFree, 4 * steps_of(before) - from);
  }

  /// Calls visit(place, word) for the words of the ranges that part `part` of `parts` has. Only between
  /// compact() and shorten().
  template <typename Visit>
  void for_each(size_t part, size_t parts, Visit&& visit) const {
    for (size_t range = part * kRanges / parts; range < (part + 1) * kRanges / parts; ++range) {
      for (size_t place = ranges_[range].first; place < ranges_[range].second;) {
        const Word found = word(place);
        visit(static_cast<WordPlace>(place), found);
        place += steps_of(found.length);
      }
    }
  }

  /// Closes the gaps and drops words of one unit; places change.
  void compact(int threads) {
    for_each_part(threads, kRanges, [&](int, size_t range) {
      size_t kept = ranges_[range].first;
      for (size_t place = kept; place < ranges_[range].second;) {
        const std::byte* record = memory_.get() + 4 * place;
        uint32_t length;
        std::memcpy(&length, record, sizeof length);
        if (length == kGap) {
          ++place;
          continue;
        }
        const size_t steps = steps_of(length);
        if (length > 1) {
          std::memmove(memory_.get() + 4 * kept, record, 4 * steps);
          kept += steps;
        }
        place += steps;
      }
      ranges_[range].second = kept;
    });
  }

 private:
  static constexpr size_t kHeader = 12;
  static constexpr int kFree = 0xFF;
  static constexpr uint32_t kGap = UINT32_MAX;

  static size_t steps_of(size_t length) { return (kHeader + length * sizeof(Unit) + 3) / 4; }

  void append(size_t& end, const std::vector<int32_t>& units, uint64_t count) {
    const auto length = static_cast<uint32_t>(units.size());
    std::byte* record = memory_.get() + 4 * end;
    std::memcpy(record, &length, sizeof length);
    std::memcpy(record + 4, &count, sizeof count);
    std::copy(units.begin(), units.end(), reinterpret_cast<Unit*>(record + kHeader));
    end += steps_of(length);
  }

  std::unique_ptr<std::byte[]> memory_;
  std::array<std::pair<size_t, size_t>, kRanges> ranges_{};  // first place, end
};

}  // namespace anneal
