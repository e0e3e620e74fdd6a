// Characters of UTF-8 text and the classes that the split patterns speak of.
//
// A byte that is not part of a valid sequence is a character of its own, of no class.
#pragma once

#include <array>
#include <cstdint>
#include <span>
#include <vector>

#include "tokenizer/unicode_classes.h"

namespace anneal {

using Byte = unsigned char;

/// Bits of a character's class; a set of classes is their union.
using CharClass = uint8_t;
inline constexpr CharClass kUpper = 1;         // \p{Lu}\p{Lt}
inline constexpr CharClass kLower = 2;         // \p{Ll}
inline constexpr CharClass kOtherLetter = 4;   // \p{Lm}\p{Lo}
inline constexpr CharClass kMark = 8;          // \p{M}
inline constexpr CharClass kNumber = 16;       // \p{N}
inline constexpr CharClass kSpace = 32;        // \s
inline constexpr CharClass kPunctuation = 64;  // \p{P}
inline constexpr CharClass kSymbol = 128;      // \p{S}
inline constexpr CharClass kLetter = kUpper | kLower | kOtherLetter;

inline constexpr uint32_t kCodePoints = 0x110000;
/// In the place of a code point: a byte that is not UTF-8.
inline constexpr uint32_t kInvalid = kCodePoints;

/// One byte for every code point, and 0 for kInvalid, in pages of which equal ones are kept once.
class CodePointTable {
 public:
  explicit CodePointTable(std::vector<uint8_t> values);
  [[nodiscard]] uint8_t operator[](uint32_t point) const {
    return pages_[(size_t{index_[point >> kPageBits]} << kPageBits) | (point & (kPageSize - 1))];
  }

  /// Values of the first 256 code points.
  [[nodiscard]] const uint8_t* first() const { return &pages_[size_t{index_[0]} << kPageBits]; }

 private:
  static constexpr int kPageBits = 8;
  static constexpr size_t kPageSize = size_t{1} << kPageBits;
  std::array<uint8_t, (kCodePoints >> kPageBits) + 1> index_{};
  std::vector<uint8_t> pages_;
};

[[nodiscard]] const CodePointTable& char_classes();
/// 1 for the code points of these ranges.
[[nodiscard]] CodePointTable membership(std::span<const unicode::Range> ranges);

struct Char {
  uint32_t point;  // kInvalid for a byte that is not UTF-8
  uint32_t length;
};

/// The character at p < end, whose first byte is 0x80 or more.
[[nodiscard]] inline Char multibyte_at(const Byte* p, const Byte* end) {
  constexpr Char kBad{kInvalid, 1};
  const auto left = end - p;
  const auto continues = [&](int i) { return i < left && (p[i] & 0xC0) == 0x80; };
  const auto low = [&](int i) { return static_cast<uint32_t>(p[i] & 0x3F); };
  if (*p < 0xE0) {
    // Below C2: a continuation byte, or an overlong form.
    return *p < 0xC2 || !continues(1) ? kBad : Char{(*p & 0x1Fu) << 6 | low(1), 2};
  }
  if (*p < 0xF0) {
    if (!continues(1) || !continues(2)) return kBad;
    const uint32_t point = (*p & 0x0Fu) << 12 | low(1) << 6 | low(2);
    return point < 0x800 || (point >= 0xD800 && point < 0xE000) ? kBad : Char{point, 3};
  }
  if (*p > 0xF4 || !continues(1) || !continues(2) || !continues(3)) return kBad;
  const uint32_t point = (*p & 0x07u) << 18 | low(1) << 12 | low(2) << 6 | low(3);
  return point < 0x10000 || point >= kCodePoints ? kBad : Char{point, 4};
}

[[nodiscard]] inline Char char_at(const Byte* p, const Byte* end) {
  return *p < 0x80 ? Char{*p, 1} : multibyte_at(p, end);
}

}  // namespace anneal
