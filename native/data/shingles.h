// Documents as the sets that near duplicates are found by: hashes of runs of words or of characters.
//
// Words are maximal runs of letters, marks and numbers, ASCII letters in lower case; each character of a
// script without spaces (Han, kana) is a word. Everything else only separates. A character shingle is a run
// of code points of the words joined by single spaces. The hashes are stored by runs that may be spread over
// machines: they depend on nothing but the text.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

namespace anneal {

enum class ShingleUnit { kWord, kCharacter };

/// Scratch memory of one thread.
class Shingler {
 public:
  /// `length`: units of a shingle, at least 1.
  Shingler(ShingleUnit unit, int length) : unit_(unit), length_(static_cast<size_t>(length)) {}

  /// Hashes of the shingles of `text` (UTF-8; what is invalid separates), in order and with repeats. A text
  /// with fewer units than `length` has one shingle, of all of them; one with none has no shingle.
  const std::vector<uint32_t>& shingles(std::string_view text);

 private:
  void words(std::string_view text);
  void characters(std::string_view text);
  void roll();

  ShingleUnit unit_;
  size_t length_;
  std::vector<uint64_t> units_;  // a hash for each word or character
  std::string word_;
  std::vector<uint32_t> shingles_;
};

}  // namespace anneal
