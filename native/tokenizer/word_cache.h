// Ids of words and parts of words that were seen before, for one thread. Two tables, each of buckets of one
// cache line: most words are short, have few ids and lie two to a line; others have a line for themselves. A
// new word takes the place of the one that came to its bucket first, so the size is fixed.
#pragma once

#include <algorithm>
#include <array>
#include <cstdint>
#include <cstring>
#include <iterator>
#include <string_view>

#include "tokenizer/huge_array.h"
#include "tokenizer/word_hash.h"

namespace anneal {

class WordCache {
 public:
  static constexpr size_t kShortBytes = 16;
  static constexpr size_t kLongBytes = 40;
  static constexpr size_t kShortIds = 3;

  /// A word as it is looked for. Parts of words are kept apart from words.
  struct Query {
    uint64_t low, high;  // its first kShortBytes, zeros behind a shorter word
    uint64_t hash;
    const char* begin;
    size_t length;
    uint8_t tag;  // length and kind

    [[nodiscard]] std::string_view word() const { return {begin, length}; }
    [[nodiscard]] bool is_part() const { return (tag & kPart) != 0; }
    /// Whether a character of three or four bytes begins in the first kShortBytes.
    [[nodiscard]] bool has_wide_character() const {
      return (((low & low << 1 & low << 2) | (high & high << 1 & high << 2)) & 0x8080808080808080u) != 0;
    }
  };

  WordCache() : short_(kShortBuckets, {}), long_(kLongSlots, {}) {}

  /// Fills in what is needed for find(), field by field, as they are read soon. `readable_end`: end of the
  /// memory that the word is part of.
  static void ask(Query& query, std::string_view word, bool is_part, const char* readable_end) {
    const size_t length = std::min(word.size(), kShortBytes);
    uint64_t first[2]{0, 0};
    if (readable_end - word.data() >= static_cast<ptrdiff_t>(kShortBytes)) {
      first[0] = load_number<uint64_t>(word.data()) & kMasks[length + 8];
      first[1] = load_number<uint64_t>(word.data() + 8) & kMasks[length];
    } else {
      std::memcpy(first, word.data(), length);
    }
    query.low = first[0];
    query.high = first[1];
    query.begin = word.data();
    query.length = word.size();
    query.tag = static_cast<uint8_t>(word.size() | (is_part ? kPart : 0));
    query.hash = word.size() <= kShortBytes
                     ? mix_bits(first[0] ^ 0x9E3779B97F4A7C15u, (first[1] + query.tag) ^ 0xC2B2AE3D27D4EB4Fu)
                     : hash_word(word);
  }

  void prefetch(const Query& query) const {
    __builtin_prefetch(query.length <= kShortBytes
                           ? static_cast<const void*>(&short_[query.hash & (kShortBuckets - 1)])
                           : &long_[query.hash & (kLongSlots - 1)]);
  }

  /// Writes the word's ids to `out`, which has room for kShortIds and for one for each byte; returns how
  /// many, 0 when it is not here.
  size_t find(const Query& query, int32_t* out) const {
    if (query.length > kShortBytes) return find_long(query, out);
    for (const ShortSlot& slot : short_[query.hash & (kShortBuckets - 1)].slots) {
      if (slot.low == query.low && slot.high == query.high && slot.tag == query.tag) {
        std::memcpy(out, slot.ids, sizeof(slot.ids));
        return slot.count > 0 ? slot.count : find_long(query, out);
      }
    }
    return 0;
  }

  void add(const Query& query, const int32_t* ids, size_t count) {
    const bool is_short = count <= kShortIds;
    if (query.length <= kShortBytes) {
      auto& [newer, older] = short_[query.hash & (kShortBuckets - 1)].slots;
      older = newer;
      newer.low = query.low;
      newer.high = query.high;
      newer.tag = query.tag;
      newer.count = is_short ? static_cast<uint8_t>(count) : uint8_t{0};
      if (is_short) {
        std::memcpy(newer.ids, ids, count * sizeof(*ids));
        return;
      }
    }
    const size_t bytes = count * sizeof(*ids);
    if (query.length > kLongBytes || query.length + bytes > sizeof(LongSlot::bytes)) return;
    LongSlot& slot = long_[query.hash & (kLongSlots - 1)];
    slot.tag = query.tag;
    slot.count = static_cast<uint8_t>(count);
    std::memcpy(slot.bytes, query.begin, query.length);
    std::memcpy(std::end(slot.bytes) - bytes, ids, bytes);
  }

 private:
  static constexpr uint8_t kPart = 0x80;
  size_t find_long(const Query& query, int32_t* out) const {
    const LongSlot& slot = long_[query.hash & (kLongSlots - 1)];
    if (slot.tag != query.tag || std::memcmp(slot.bytes, query.begin, query.length) != 0) return 0;
    const size_t bytes = slot.count * sizeof(*out);
    std::memcpy(out, std::end(slot.bytes) - bytes, bytes);
    return slot.count;
  }

  static constexpr size_t kShortBuckets = size_t{1} << 17;  // 8 MiB
  static constexpr size_t kLongSlots = size_t{1} << 15;     // 2 MiB

  /// kMasks[n + 8] has the first n bytes of a number set, for n <= 0 none, for n >= 8 all.
  static constexpr std::array<uint64_t, 25> kMasks = [] {
    std::array<uint64_t, 25> masks{};
    for (size_t i = 8; i < masks.size(); ++i) {
      masks[i] = i >= 16 ? UINT64_MAX : (uint64_t{1} << 8 * (i - 8)) - 1;
    }
    return masks;
  }();

  struct ShortSlot {
    uint64_t low = 0, high = 0;
    int32_t ids[kShortIds]{};
    uint8_t tag = 0;    // 0: empty
    uint8_t count = 0;  // 0: more than fit; they are in the other table, unless another word took its place
  };
  struct alignas(64) ShortBucket {
    std::array<ShortSlot, 2> slots;
  };
  struct alignas(64) LongSlot {
    char bytes[62]{};  // the word, and its ids at the end
    uint8_t tag = 0;
    uint8_t count = 0;
  };
  static_assert(sizeof(ShortBucket) == 64 && sizeof(LongSlot) == 64);

  HugeArray<ShortBucket> short_;
  HugeArray<LongSlot> long_;
};

}  // namespace anneal
