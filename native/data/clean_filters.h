// The published filters, one call each: the rule that drops the document, or nothing. Verdicts, and the texts
// that C4 leaves, are those of datatrove's filters of the same names under the words of clean_text.h.
#pragma once

#include <optional>
#include <string>

#include "data/clean_rules.h"
#include "data/clean_text.h"

namespace anneal {

/// Counts of 64-bit keys; cleared for each use in time of what is to be counted.
class KeyCounts {
 public:
  struct Entry {
    uint64_t key;
    uint32_t count, first;
  };
  /// Empties the table and makes room for this many keys.
  void reset(size_t keys);
  /// The entry of a key, with count 0 where it is new. Key 0 stands for 1.
  Entry& at(uint64_t key) {
    key += key == 0 ? 1 : 0;
    for (size_t i = key >> shift_;; i = (i + 1) & mask_) {
      if (entries_[i].key == key) return entries_[i];
      if (entries_[i].key == 0) {
        entries_[i].key = key;
        return entries_[i];
      }
    }
  }

 private:
  std::vector<Entry> entries_;
  size_t mask_ = 0;
  int shift_ = 63;
};

/// A set of 64-bit keys; cleared like KeyCounts.
class KeySet {
 public:
  /// Empties the set and makes room for this many keys.
  void reset(size_t keys);
  /// Whether the key is new. Key 0 stands for 1.
  bool insert(uint64_t key) {
    key += key == 0 ? 1 : 0;
    for (size_t i = key >> shift_;; i = (i + 1) & mask_) {
      if (entries_[i] == key) return false;
      if (entries_[i] == 0) {
        entries_[i] = key;
        return true;
      }
    }
  }

 private:
  std::vector<uint64_t> entries_;
  size_t mask_ = 0;
  int shift_ = 63;
};

/// What the filters keep from document to document, so that none allocates.
struct FilterScratch {
  KeyCounts counts;
  KeySet keys;
  std::vector<uint32_t> counters, pairs, prefixes, candidates;
  std::vector<uint8_t> seen;
  std::vector<Span> parts;
  std::string text, line, lowered;
  CleanText part;
};

std::optional<Drop> gopher_repetition(const GopherRepetition& rules, CleanText& text, FilterScratch& scratch);
std::optional<Drop> gopher_quality(const GopherQuality& rules, CleanText& text);
std::optional<Drop> fineweb(const Fineweb& rules, CleanText& text, FilterScratch& scratch);
/// Leaves the lines that are kept in scratch.text; the changes are told in `findings`.
std::optional<Drop> c4(const C4& rules, CleanText& text, FilterScratch& scratch, Findings& findings);

/// `language` is the index of the text's language, -1 where it is not known. A drop has its word's place (in
/// lower case) among the findings.
std::optional<Drop> c4_badwords(const C4BadWords& rules, const CleanText& text, int language,
                                FilterScratch& scratch, Findings& findings);

struct Duplicates {
  size_t elements = 0, characters = 0;
};
/// How many of these parts were there before, and their characters.
Duplicates find_duplicates(const CleanText& text, const std::vector<Span>& parts, FilterScratch& scratch);

}  // namespace anneal
