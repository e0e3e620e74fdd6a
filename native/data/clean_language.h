// The language of a text by a table of byte n-grams: the algorithm and the scores of `eld` (Efficient
// Language Detector, Apache-2.0), whose tables src/data/cleaning/language.ts reads from its package. Results
// equal eld's own. It looks at the first 350 bytes or so of letters.
#pragma once

#include <array>
#include <cstdint>
#include <span>
#include <string>
#include <string_view>
#include <vector>

namespace anneal {

struct LanguageTable {
  /// An n-gram of up to 6 letters (eld's letters, one a byte): letter i at bits 8 i, the length at bits 56
  /// and up.
  std::vector<uint64_t> keys;
  /// Exclusive end of each n-gram's scores: a language's index and its points.
  std::vector<int32_t> score_ends;
  std::vector<uint8_t> score_languages, score_points;
  /// eld's letter of each byte beyond ASCII.
  std::array<uint8_t, 256> letters{};
  /// Upper and lower case in turn.
  std::vector<uint32_t> lower;
  size_t num_languages = 0;
};

struct DetectedLanguage {
  int index = -1;  // of the language; -1: none
  double score = 0;
};

/// What a thread keeps between documents.
struct LanguageScratch {
  std::string letters;
  std::vector<uint64_t> seen;
  std::vector<int64_t> scores;
};

class LanguageDetector {
 public:
  /// Throws std::invalid_argument if the parts of the table do not fit together.
  explicit LanguageDetector(const LanguageTable& table);
  /// `text` is valid UTF-8.
  [[nodiscard]] DetectedLanguage detect(std::string_view text, LanguageScratch& scratch) const;
  [[nodiscard]] size_t size() const { return num_languages_; }

 private:
  void add_scores(uint64_t key, std::vector<int64_t>& scores) const;
  void spell(std::string_view text, std::string& out) const;

  /// A slot of the hash table; no n-gram has key 0. A slot and its scores are all that a look-up touches.
  struct Slot {
    uint64_t key;
    uint32_t begin, end;  // in scores_
  };
  struct Score {
    uint8_t language, points;
  };
  size_t num_languages_;
  std::array<uint8_t, 256> letters_;
  std::vector<uint32_t> lower_;  // by code point below 0x10000
  std::vector<Slot> slots_;
  std::vector<Score> scores_;
  int shift_ = 0;
};

}  // namespace anneal
