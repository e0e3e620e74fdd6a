// Documents as the sets that near duplicates are found by: hashes of runs of words or of characters.
//
// Words are those of data/words.h. A character shingle is a run of code points of the words joined by single
// spaces. The hashes are stored by runs that may be spread over
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
  /// `length`: units of a shingle, at least 1. `sha1`: a shingle's hash is the beginning of the SHA-1 of its
  /// words joined by single spaces (datasketch's hash), for those who must agree with others; much slower.
  Shingler(ShingleUnit unit, int length, bool sha1)
      : unit_(unit), length_(static_cast<size_t>(length)), sha1_(sha1) {}

  /// Hashes of the shingles of `text` (UTF-8; what is invalid separates), in order and with repeats. A text
  /// with fewer units than `length` has one shingle, of all of them; one with none has no shingle.
  const std::vector<uint32_t>& shingles(std::string_view text);

 private:
  void words(std::string_view text);
  void characters(std::string_view text);
  void roll();
  void hash_texts(std::string_view text);

  ShingleUnit unit_;
  size_t length_;
  bool sha1_;
  std::vector<uint64_t> units_;  // a hash for each word or character
  std::string word_;
  std::string joined_;          // words, for SHA-1
  std::vector<size_t> begins_;  // of the units in `joined_`
  std::vector<size_t> ends_;
  std::vector<uint32_t> shingles_;
};

}  // namespace anneal
