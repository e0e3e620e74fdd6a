// Ids of words that were seen before, for one thread. Two tables, each of buckets of one cache line: most
// words are short and lie two to a line; longer ones have a line for themselves. A new word takes the place
// of the one that came to its bucket first, so the size is fixed.
#pragma once

#include <array>
#include <cstdint>
#include <cstring>
#include <string_view>
#include <vector>

#include "tokenizer/word_hash.h"

namespace anneal {

class WordCache {
 public:
  static constexpr size_t kShortBytes = 16;
  static constexpr size_t kLongBytes = 40;
  static constexpr size_t kShortIds = 3;
  static constexpr size_t kLongIds = 5;

  /// A word of at most kShortBytes, as two numbers.
  struct Key {
    uint64_t low, high;
  };

  WordCache() : short_(kShortBuckets), long_(kLongBuckets) {}

  /// `readable_end`: end of the memory that the word is part of.
  static Key key(const char* word, size_t length, const char* readable_end) {
    Key key{0, 0};
    if (readable_end - word >= static_cast<ptrdiff_t>(kShortBytes)) {
      std::memcpy(&key, word, kShortBytes);
      key.low &= kMasks[length + 8];
      key.high &= kMasks[length];
    } else {
      std::memcpy(&key, word, length);
    }
    return key;
  }

  static uint64_t hash(const Key& key, size_t length) {
    return mix_bits(key.low ^ 0x9E3779B97F4A7C15u, (key.high + length) ^ 0xC2B2AE3D27D4EB4Fu);
  }

  void prefetch(uint64_t hash) const { __builtin_prefetch(&short_[hash & (kShortBuckets - 1)]); }

  /// Writes the word's ids to `out`, which has room for kShortIds, and returns how many; 0 when it is not
  /// here.
  size_t find(const Key& key, size_t length, uint64_t hash, int32_t* out) const {
    for (const ShortSlot& slot : short_[hash & (kShortBuckets - 1)].slots) {
      if (slot.key.low == key.low && slot.key.high == key.high && slot.length == length) {
        std::memcpy(out, slot.ids, sizeof(slot.ids));
        return slot.count;
      }
    }
    return 0;
  }

  void add(const Key& key, size_t length, uint64_t hash, const int32_t* ids, size_t count) {
    if (count > kShortIds) return;
    auto& [newer, older] = short_[hash & (kShortBuckets - 1)].slots;
    older = newer;
    newer.key = key;
    newer.length = static_cast<uint8_t>(length);
    newer.count = static_cast<uint8_t>(count);
    std::memcpy(newer.ids, ids, count * sizeof(*ids));
  }

  /// The same for words longer than kShortBytes; `out` has room for kLongIds.
  size_t find_long(std::string_view word, uint64_t hash, int32_t* out) const {
    const LongSlot& slot = long_[hash & (kLongBuckets - 1)];
    if (slot.length != word.size() || std::memcmp(slot.bytes, word.data(), word.size()) != 0) return 0;
    std::memcpy(out, slot.ids, sizeof(slot.ids));
    return slot.count;
  }

  void add_long(std::string_view word, uint64_t hash, const int32_t* ids, size_t count) {
    if (count > kLongIds || word.size() > kLongBytes) return;
    LongSlot& slot = long_[hash & (kLongBuckets - 1)];
    slot.length = static_cast<uint8_t>(word.size());
    slot.count = static_cast<uint8_t>(count);
    std::memcpy(slot.bytes, word.data(), word.size());
    std::memcpy(slot.ids, ids, count * sizeof(*ids));
  }

 private:
  static constexpr size_t kShortBuckets = size_t{1} << 17;  // 8 MiB
  static constexpr size_t kLongBuckets = size_t{1} << 15;   // 2 MiB

  /// kMasks[n + 8] has the first n bytes of a number set, for n <= 0 none, for n >= 8 all.
  static constexpr std::array<uint64_t, 25> kMasks = [] {
    std::array<uint64_t, 25> masks{};
    for (size_t i = 8; i < masks.size(); ++i) {
      masks[i] = i >= 16 ? UINT64_MAX : (uint64_t{1} << 8 * (i - 8)) - 1;
    }
    return masks;
  }();

  struct ShortSlot {
    Key key{0, 0};
    int32_t ids[kShortIds]{};
    uint8_t length = 0;  // 0: empty, as no word is
    uint8_t count = 0;
  };
  struct alignas(64) ShortBucket {
    std::array<ShortSlot, 2> slots;
  };
  struct alignas(64) LongSlot {
    char bytes[kLongBytes]{};
    int32_t ids[kLongIds]{};
    uint8_t length = 0;
    uint8_t count = 0;
  };
  static_assert(sizeof(ShortBucket) == 64 && sizeof(LongSlot) == 64);

  std::vector<ShortBucket> short_;
  std::vector<LongSlot> long_;
};

}  // namespace anneal
