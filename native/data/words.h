// Words of a text as duplicates and overlap see them: maximal runs of letters, marks and numbers, ASCII
// letters in lower case; each character of a script without spaces (Han, kana) is a word. Everything else,
// invalid UTF-8 included, only separates. Hashes of words are stored: what a word is must not change.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <string_view>
#include <vector>

#include "data/byte_bits.h"
#include "data/stable_hash.h"

namespace anneal {

/// Memory of one thread.
class PlainWords {
 public:
  struct Place {
    size_t begin, end;  // in the text
  };

  /// Finds the words of a text; those of the text before are gone.
  void find(std::string_view text);

  [[nodiscard]] std::span<const Place> places() const { return {places_.data(), count_}; }

  /// In lower case; may be read 8 bytes beyond its end.
  [[nodiscard]] std::string_view word(Place place) const {
    return {lower_.data() + place.begin, place.end - place.begin};
  }
  [[nodiscard]] uint64_t hash(Place place) const {
    return stable_hash_padded(lower_.data() + place.begin, place.end - place.begin);
  }

 private:
  void mark_high(std::string_view text);

  std::vector<char> lower_;    // the text with its ASCII letters in lower case, then zeros
  ByteBits word_;              // bytes of words
  ByteBits high_;              // bytes that are not ASCII
  ByteBits border_;            // a word that has this byte begins with it
  std::vector<Place> places_;  // the first count_ are those of the text
  size_t count_ = 0;
};

}  // namespace anneal
