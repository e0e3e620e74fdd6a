// Words of a text as duplicates and overlap see them: maximal runs of letters, marks and numbers, ASCII
// letters in lower case; each character of a script without spaces (Han, kana) is a word. Everything else,
// invalid UTF-8 included, only separates. Hashes of words are stored: what a word is must not change.
#pragma once

#include <array>
#include <cstdint>
#include <string>
#include <string_view>

#include "data/unicode.h"

namespace anneal {

/// Lower case of ASCII letters, digits as they are, 0 for every other byte.
inline constexpr std::array<char, 256> kLowerAscii = [] {
  std::array<char, 256> table{};
  for (int c = '0'; c <= '9'; ++c) table[static_cast<size_t>(c)] = static_cast<char>(c);
  for (int c = 'a'; c <= 'z'; ++c) table[static_cast<size_t>(c)] = static_cast<char>(c);
  for (int c = 'A'; c <= 'Z'; ++c) table[static_cast<size_t>(c)] = static_cast<char>(c - 'A' + 'a');
  return table;
}();

/// Calls visit(word, begin, end) for each word, in lower case, with its bytes in `text`; `word` is scratch
/// memory.
template <typename Visit>
void for_each_plain_word(std::string_view text, std::string& word, const Visit& visit) {
  word.clear();
  size_t begin = 0;
  const auto end_word = [&](size_t end) {
    if (word.empty()) return;
    visit(std::string_view(word), begin, end);
    word.clear();
  };
  for (size_t at = 0; at < text.size();) {
    const auto byte = static_cast<unsigned char>(text[at]);
    if (byte < 0x80) {
      const char letter = kLowerAscii[byte];
      if (letter == 0) {
        end_word(at);
      } else {
        if (word.empty()) begin = at;
        word.push_back(letter);
      }
      ++at;
      continue;
    }
    const uint32_t bytes = utf8_length(byte);
    const std::string_view character = text.substr(at, bytes);
    if (valid_utf8_prefix(character) != bytes) {
      end_word(at++);
      continue;
    }
    const uint32_t properties = unicode_properties(utf8_point(character.data()));
    if (properties & kIdeograph) {
      end_word(at);
      visit(character, at, at + bytes);
    } else if (properties & kWordCharacter) {
      if (word.empty()) begin = at;
      word.append(character);
    } else {
      end_word(at);
    }
    at += bytes;
  }
  end_word(text.size());
}

}  // namespace anneal
