// Where a word can be cut before it is merged: at borders of characters that no merge of the vocabulary ever
// joins. The parts of a word are merged on their own, and most Chinese characters are parts by themselves,
// whose ids are known beforehand. Exact: see character_cuts.cpp.
#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <functional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "tokenizer/char_classes.h"

namespace anneal {

/// What a vocabulary says about a character (of the basic plane; the others are not cut off).
struct alignas(16) CutCharacter {
  static constexpr size_t kMaxIds = 3;
  /// Bits of `before` and `after`: a border is joined by a token that begins inside the left character, by
  /// one that ends inside the right one, where both sides have the bit; or whatever the other side is.
  static constexpr uint8_t kBeginsInside = 1, kEndsInside = 2, kAlways = 4;

  int32_t ids[kMaxIds]{};  // where it is a part by itself
  uint8_t count = 0;       // 0: they are not known here
  uint8_t before = kAlways, after = kAlways;
};

class CharacterCuts {
 public:
  /// Writes the ids of a part to the second argument, which has room for one for each byte.
  using Encode = std::function<size_t(std::string_view, int32_t*)>;

  /// What words start from: ids and their texts.
  using Units = std::vector<std::pair<int32_t, std::string>>;

  /// `whole`: words that are not merged, and so not cut.
  CharacterCuts(const std::vector<int32_t>& merges, const Units& units,
                const std::vector<std::string_view>& whole, const Encode& encode);

  /// Cuts a word: calls visit(part, known), where `known` is null or has the part's ids.
  template <typename Visit>
  void cut(std::string_view word, const Visit& visit) const {
    const auto* p = reinterpret_cast<const Byte*>(word.data());
    const Byte* const end = p + word.size();
    const Byte* part = p;
    Char left = char_at(p, end);
    const CutCharacter* left_character = &character(left.point);
    const auto visit_part = [&] {
      const bool known = p == part + left.length && left_character->count > 0;
      visit(std::string_view(reinterpret_cast<const char*>(part), static_cast<size_t>(p - part)),
            known ? left_character : nullptr);
    };
    for (p += left.length; p < end; p += left.length) {
      const Char right = char_at(p, end);
      const CutCharacter* right_character = &character(right.point);
      if (!joined(left.point, *left_character, right.point, *right_character)) {
        visit_part();
        part = p;
      }
      left = right;
      left_character = right_character;
    }
    visit_part();
  }

 private:
  [[nodiscard]] const CutCharacter& character(uint32_t point) const {
    return characters_[std::min<uint32_t>(point, kBasicPlane)];
  }
  /// False only where no merge joins the two characters.
  [[nodiscard]] bool joined(uint32_t left, const CutCharacter& left_character, uint32_t right,
                            const CutCharacter& right_character) const {
    constexpr uint8_t kAlways = CutCharacter::kAlways;
    if ((left | right) < 0x80) return true;
    if ((left_character.after & right_character.before) != 0) return true;
    if (((left_character.after | right_character.before) & kAlways) != 0) return true;
    const uint64_t bit = hash(left, right) & bit_mask_;
    return (pairs_[bit >> 6] >> (bit & 63) & 1) != 0;
  }
  static uint64_t hash(uint32_t left, uint32_t right) {
    return ((uint64_t{left} << 21 | right) * 0x9E3779B97F4A7C15u) >> 32;
  }

  static constexpr uint32_t kBasicPlane = 0x10000;

  std::vector<CutCharacter> characters_;  // by code point; the last is all that are not of the basic plane
  std::vector<uint64_t> pairs_;           // one bit for several pairs of characters: set where a merge joins
  uint64_t bit_mask_;
};

}  // namespace anneal
