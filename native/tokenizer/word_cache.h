// Ids of words and parts of words that were seen before, for one thread. Two tables of a fixed size: most
// words are short, have few ids and lie two to a cache line; others have a line for themselves. A set of
// short words is two lines: new ones come to the second, where they push out the older, and those that are
// met again move to the first, where the frequent ones stay.
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
  static constexpr size_t kShortBytes = 15;
  static constexpr size_t kLongBytes = 40;
  static constexpr size_t kShortIds = 4;

  /// A word as it is looked for. Parts of words are kept apart from words.
  struct Query {
    // The bytes of a short word, zeros behind them, and in the last byte its length and kind; of others the
    // first 16.
    uint64_t low, high;
    uint64_t hash;
    const char* begin;
    size_t length;
    uint8_t tag;  // length, where it is at most kLongBytes, and kind

    [[nodiscard]] std::string_view word() const { return {begin, length}; }
    [[nodiscard]] bool is_part() const { return (tag & kPart) != 0; }
    [[nodiscard]] bool is_short() const { return length <= kShortBytes; }
    /// Whether a character of three or four bytes begins in the first kShortBytes.
    [[nodiscard]] bool has_wide_character() const {
      return (((low & low << 1 & low << 2) | (high & high << 1 & high << 2)) & 0x8080808080808080u) != 0;
    }
  };

  WordCache() : short_(kShortSets, {}), long_(kLongSlots, {}) {}

  /// Fills in what is needed for find(), field by field, as they are read soon. `readable_end`: end of the
  /// memory that the word is part of.
  static void ask(Query& query, std::string_view word, bool is_part, const char* readable_end) {
    uint64_t first[2]{0, 0};
    if (readable_end - word.data() >= static_cast<ptrdiff_t>(sizeof first)) {
      std::memcpy(first, word.data(), sizeof first);
    } else {
      std::memcpy(first, word.data(), word.size());
    }
    query.begin = word.data();
    query.length = word.size();
    query.tag = static_cast<uint8_t>((word.size() & ~kPart) | (is_part ? kPart : 0));
    if (query.is_short()) {
      query.low = first[0] & kMasks[word.size() + 8];
      query.high = (first[1] & kMasks[word.size()]) | (word.size() | (is_part ? kShortPart : 0)) << 56;
      query.hash = mix_bits(query.low ^ 0x9E3779B97F4A7C15u, query.high ^ 0xC2B2AE3D27D4EB4Fu);
    } else {
      query.low = first[0];
      query.high = first[1];
      query.hash = hash_word(word);
    }
  }

  void prefetch(const Query& query) const {
    __builtin_prefetch(query.is_short() ? static_cast<const void*>(&set_of(query)) : &long_slot_of(query));
  }

  /// Returned for a word whose ids do not fit beside it: they are in the other table, unless another took its
  /// place.
  static constexpr size_t kMoreIds = 7;

  /// Writes the ids of a short word to `out`, which has room for kShortIds; returns how many, 0 when it is
  /// not here, or kMoreIds.
  size_t find_short(const Query& query, int32_t* out) {
    ShortSlot* slots = short_[query.hash & (kShortSets - 1)].slots.data();
    const auto differs = [&](size_t i) {
      return (slots[i].low ^ query.low) | (slots[i].high ^ query.high) << kCountBits;
    };
    // Which of two it is cannot be foreseen: no branch.
    const auto either = [&](size_t first) -> ShortSlot* {
      const uint64_t left = differs(first);
      const uint64_t right = differs(first + 1);
      return left != 0 && right != 0 ? nullptr : slots + first + (left != 0 ? 1 : 0);
    };
    const ShortSlot* found = either(0);
    if (found == nullptr) {
      ShortSlot* again = either(2);
      if (again == nullptr) return 0;
      std::swap(*again, *(again - 2));
      found = again - 2;
    }
    std::memcpy(out, found->ids, sizeof(found->ids));
    return found->high >> (64 - kCountBits);
  }

  /// The same for any word, which may have more ids.
  size_t find_long(const Query& query, int32_t* out) const {
    const LongSlot& slot = long_slot_of(query);
    if (query.length > kLongBytes || slot.tag != query.tag ||
        std::memcmp(slot.bytes, query.begin, query.length) != 0)
      return 0;
    const size_t bytes = slot.count * sizeof(*out);
    std::memcpy(out, std::end(slot.bytes) - bytes, bytes);
    return slot.count;
  }

  void add(const Query& query, const int32_t* ids, size_t count) {
    if (query.is_short()) {
      auto& slots = short_[query.hash & (kShortSets - 1)].slots;
      ShortSlot& slot = slots[2];
      slots[3] = slot;
      slot.low = query.low;
      const bool fit = count <= kShortIds;
      slot.high = query.high | (fit ? count : kMoreIds) << (64 - kCountBits);
      if (fit) {
        std::copy_n(ids, count, slot.ids);
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
  static constexpr size_t kPart = 0x80;
  static constexpr uint64_t kShortPart = 0x10;
  static constexpr int kCountBits = 3;
  static constexpr size_t kShortSets = size_t{1} << 16;  // 8 MiB
  static constexpr size_t kLongSlots = size_t{1} << 16;  // 4 MiB

  /// kMasks[n + 8] has the first n bytes of a number set, for n <= 0 none, for n >= 8 all.
  static constexpr std::array<uint64_t, 24> kMasks = [] {
    std::array<uint64_t, 24> masks{};
    for (size_t i = 8; i < masks.size(); ++i) {
      masks[i] = i >= 16 ? UINT64_MAX : (uint64_t{1} << 8 * (i - 8)) - 1;
    }
    return masks;
  }();

  struct ShortSlot {
    uint64_t low = 0, high = 0;  // as in Query, and the number of ids in the highest bits; 0: empty
    int32_t ids[kShortIds]{};
  };
  struct alignas(128) ShortSet {
    std::array<ShortSlot, 4> slots;
  };
  struct alignas(64) LongSlot {
    char bytes[62]{};  // the word, and its ids at the end
    uint8_t tag = 0;
    uint8_t count = 0;
  };
  static_assert(sizeof(ShortSet) == 128 && sizeof(LongSlot) == 64);

  [[nodiscard]] const ShortSet& set_of(const Query& query) const {
    return short_[query.hash & (kShortSets - 1)];
  }
  [[nodiscard]] const LongSlot& long_slot_of(const Query& query) const {
    return long_[query.hash & (kLongSlots - 1)];
  }

  HugeArray<ShortSet> short_;
  HugeArray<LongSlot> long_;
};

}  // namespace anneal
