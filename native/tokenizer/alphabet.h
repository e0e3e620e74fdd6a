// The characters that a vocabulary of characters begins with: the most frequent ones of the counted words.
// Others are written as their bytes.
#pragma once

#include <cstdint>
#include <string_view>
#include <vector>

#include "tokenizer/word_counts.h"

namespace anneal {

struct AlphabetOptions {
  /// Share of all characters of the text that the alphabet covers at least, as SentencePiece has it; 1: all.
  double coverage = 1;
  /// Characters at most; 0: no bound.
  size_t limit = 0;
};

/// Code points in rising order. Of equally frequent characters the smaller code point comes first; bytes that
/// are not UTF-8 are no characters.
[[nodiscard]] std::vector<uint32_t> find_alphabet(WordCounts& words, const AlphabetOptions& options,
                                                  int threads);

/// The units of words over an alphabet: 1 + the place of a character, 0 for what is not of the alphabet.
class CharacterUnits {
 public:
  /// Code points in rising order; throws std::invalid_argument otherwise.
  explicit CharacterUnits(const std::vector<uint32_t>& alphabet);

  void append(std::string_view word, std::vector<int32_t>& units) const;

 private:
  std::vector<int32_t> unit_of_;  // by code point
};

}  // namespace anneal
