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

#include "data/words.h"

namespace anneal {

enum class ShingleUnit { kWord, kCharacter };

/// Our own, never 0; or, for those who must agree with datasketch, the beginning of the SHA-1 of the
/// shingle's words joined by single spaces (much slower), as its older scheme takes it, or mixed as its newer
/// one does.
enum class ShingleHash { kRolling, kSha1, kMixedSha1 };

/// Scratch memory of one thread.
class Shingler {
 public:
  /// `length`: units of a shingle, at least 1.
  Shingler(ShingleUnit unit, int length, ShingleHash hash)
      : unit_(unit), length_(static_cast<size_t>(length)), hash_(hash) {}

  /// Hashes of the shingles of `text` (UTF-8; what is invalid separates), in order and with repeats. A text
  /// with fewer units than `length` has one shingle, of all of them; one with none has no shingle.
  const std::vector<uint32_t>& shingles(std::string_view text);

 private:
  void words();
  void characters();
  void roll();
  void hash_texts();

  ShingleUnit unit_;
  size_t length_;
  ShingleHash hash_;
  PlainWords words_;
  std::vector<uint64_t> units_;  // a hash for each word or character
  std::string joined_;           // words, for SHA-1
  std::vector<size_t> begins_;   // of the units in `joined_`
  std::vector<size_t> ends_;
  std::vector<uint32_t> shingles_;
};

}  // namespace anneal
