// The rules of a cleaner: their settings, their names, and what they say of a document. Where each comes from
// stands in docs/cleaning.md.
#pragma once

#include <array>
#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <utility>
#include <vector>

namespace anneal {

class LanguageDetector;
class LowerCase;
class WordFinder;

/// Rules by their place in the list of names; n-gram rules of GopherRepetition follow the last one.
enum Rule : uint16_t {
  kInvalidUtf8,
  kMojibake,
  kControlCharacters,
  kNfc,
  kBoilerplateLines,
  kMaxLineLength,
  kMinDocumentLength,
  kMaxDocumentLength,
  kLanguage,
  kLanguageScore,
  kDupParaFrac,
  kDupParaCharFrac,
  kDupLineFrac,
  kDupLineCharFrac,
  kMinDocWords,
  kMaxDocWords,
  kMinAvgWordLength,
  kMaxAvgWordLength,
  kHashRatio,
  kEllipsisRatio,
  kBulletLines,
  kEllipsisLines,
  kAlphaWords,
  kStopWords,
  kC4MaxWordLength,
  kC4Citations,
  kC4TerminalPunct,
  kC4MinWords,
  kC4LoremIpsum,
  kC4Javascript,
  kC4CurlyBracket,
  kC4Policy,
  kC4MinSentences,
  kC4BadWords,
  kEmpty,
  kLinePunctRatio,
  kShortLineRatio,
  kCharDupRatio,
  kListRatio,
  kEmail,
  kIp,
  kPhone,
  kCreditCard,
  kIban,
  kAwsKey,
  kGithubToken,
  kPrivateKey,
  kJwt,
  kSlackToken,
  kGoogleApiKey,
  kGenericSecret,
  kFixedRules,
};

/// 0: not applied, in all of these.
struct GopherQuality {
  double min_doc_words, max_doc_words, min_avg_word_length, max_avg_word_length, max_symbol_word_ratio,
      max_bullet_lines_ratio, max_ellipsis_lines_ratio, min_alpha_words_ratio, min_stop_words;
  std::vector<std::string> stop_words;
};

struct GopherRepetition {
  double dup_line_frac, dup_para_frac, dup_line_char_frac, dup_para_char_frac;
  /// Length of the n-gram and its bound, from short to long.
  std::vector<std::pair<uint32_t, double>> top_n_grams, dup_n_grams;
};

struct C4 {
  bool remove_citations, no_terminal_punct, lorem_ipsum, javascript, curly_bracket, policy;
  /// -1: not applied.
  int64_t min_num_sentences, min_words_per_line, max_word_length;
};

struct C4BadWords {
  /// By index of a language: its words; null: it has none. The other one is for texts whose language is not
  /// known.
  std::vector<std::shared_ptr<const WordFinder>> lists;
  std::shared_ptr<const WordFinder> default_list;
  std::shared_ptr<const LowerCase> lower_case;
  /// The share of the documents with such words that stay, chosen by a hash of their text.
  double keep_fraction;
  uint64_t seed;
};

struct Fineweb {
  double line_punct_thr, short_line_thr, char_duplicates_ratio, new_line_ratio;
  int64_t short_line_length;
  bool line_punct_exclude_zero;
};

enum class PatternAction : uint8_t { kIgnore, kDrop, kMask };

struct CleanRules {
  bool mojibake = false, nfc = false, control_characters = false;
  std::vector<uint64_t> boilerplate_lines;  // hashes, sorted
  int64_t max_line_length = 0, min_document_length = 0, max_document_length = 0;
  std::shared_ptr<const LanguageDetector> detector;
  /// By index of a language: whether it is wanted; and for each group of filters whether it is applied to it.
  std::vector<bool> languages;
  double min_language_score = 0;
  std::optional<GopherRepetition> gopher_repetition;
  std::optional<GopherQuality> gopher_quality;
  std::optional<C4> c4;
  std::optional<C4BadWords> c4_badwords;
  std::optional<Fineweb> fineweb;
  /// Empty: all languages.
  std::vector<bool> gopher_repetition_languages, gopher_quality_languages, c4_languages,
      c4_badwords_languages, fineweb_languages;
  /// From kEmail to kGenericSecret.
  std::array<PatternAction, kFixedRules - kEmail> patterns{};
};

/// Names in the order of Rule, then those of the n-gram rules.
std::vector<std::string> rule_names(const CleanRules& rules);

/// The rule that drops a document, and what it measured.
struct Drop {
  uint16_t rule;
  double measure;
};

/// What the rules did to one document.
class Findings {
 public:
  struct Change {
    uint16_t rule;
    uint32_t count;
    size_t first;  // place of the first one in the text as it was just after the rule
  };
  void clear() { changes.clear(); }
  void add(uint16_t rule, size_t place, uint32_t count = 1) {
    for (Change& change : changes) {
      if (change.rule == rule) {
        change.count += count;
        return;
      }
    }
    changes.push_back({rule, count, place});
  }
  std::vector<Change> changes;
};

}  // namespace anneal
