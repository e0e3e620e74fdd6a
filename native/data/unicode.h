// Unicode for documents: UTF-8, properties of code points, canonical composition (NFC).
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "data/utf8.h"

namespace anneal {

/// Bits of unicode_properties(). Categories by Unicode 17; the rest as generate_unicode_data.py says.
enum UnicodeProperty : uint16_t {
  kLetter = 1 << 0,
  kWordCharacter = 1 << 1,  // letter, mark or number
  kNumber = 1 << 2,
  kDecimal = 1 << 3,
  kUpper = 1 << 4,
  kIdeograph = 1 << 5,  // Han and kana: scripts without spaces
  kSpace = 1 << 6,
  kSymbol = 1 << 7,    // datatrove's punctuation
  kTerminal = 1 << 8,  // ends a sentence, in any script
  kNfcSensitive = 1 << 9,
};

constexpr uint32_t kReplacementCharacter = 0xFFFD;

/// Two steps: a block of 256 code points, then the code point in it; equal blocks are stored once.
class UnicodeProperties {
 public:
  UnicodeProperties();
  [[nodiscard]] uint32_t at(uint32_t point) const { return values_[blocks_[point >> 8] + (point & 0xFF)]; }

 private:
  std::array<uint32_t, 0x1100> blocks_{};
  std::vector<uint16_t> values_;
};
extern const UnicodeProperties kUnicodeProperties;

/// The properties of a code point below 0x110000.
inline uint32_t unicode_properties(uint32_t point) { return kUnicodeProperties.at(point); }

/// Bytes of the character that begins with this byte, in valid UTF-8.
inline uint32_t utf8_length(unsigned char first) {
  return first < 0x80 ? 1 : first < 0xE0 ? 2 : first < 0xF0 ? 3 : 4;
}

inline bool is_continuation(char byte) { return (static_cast<unsigned char>(byte) & 0xC0) == 0x80; }

/// The code point that begins at `at`, in valid UTF-8.
inline uint32_t utf8_point(const char* at) {
  const auto byte = [at](int i) { return static_cast<uint32_t>(static_cast<unsigned char>(at[i])); };
  const uint32_t first = byte(0);
  if (first < 0x80) return first;
  if (first < 0xE0) return (first & 0x1F) << 6 | (byte(1) & 0x3F);
  if (first < 0xF0) return (first & 0x0F) << 12 | (byte(1) & 0x3F) << 6 | (byte(2) & 0x3F);
  return (first & 0x07) << 18 | (byte(1) & 0x3F) << 12 | (byte(2) & 0x3F) << 6 | (byte(3) & 0x3F);
}

/// Where the character that ends just before `end` begins; `begin` < `end`, valid UTF-8.
inline size_t previous_character(std::string_view text, size_t end) {
  do --end;
  while (end > 0 && is_continuation(text[end]));
  return end;
}

/// Bytes of ASCII at the beginning of the text.
size_t ascii_prefix(std::string_view text);

/// Bytes at the beginning of the text that are valid UTF-8.
size_t valid_utf8_prefix(std::string_view text);

/// Appends the text, U+FFFD in place of each maximal part of an invalid sequence (as the Encoding Standard
/// has it). Returns how many there were.
size_t append_valid_utf8(std::string_view text, std::string& out);

/// Code points of valid UTF-8.
size_t count_characters(std::string_view text);

/// The NFC of valid UTF-8. Returns how many segments (a starter and what follows it) differ; if none does,
/// `out` is not touched, otherwise it holds the whole text and `first` the place of the first change in it.
size_t normalize_nfc(std::string_view text, std::string& out, size_t& first);

}  // namespace anneal
