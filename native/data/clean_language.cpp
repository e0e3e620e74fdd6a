#include "data/clean_language.h"

#include <algorithm>
#include <stdexcept>

#include "data/unicode.h"
#include "tokenizer/word_hash.h"

namespace anneal {
namespace {

constexpr size_t kMaxUnits = 1000;   // of UTF-16, that are looked at
constexpr size_t kCutAtSpace = 350;  // bytes after which the next space ends the text
constexpr size_t kCutAnywhere = 380;
constexpr size_t kLongestWord = 70;
constexpr size_t kGram = 4, kStride = 3;
constexpr int kBasePoints = 53;  // of an n-gram: the table holds what is above
constexpr size_t kSeen = 1024;   // slots for the n-grams of a text, which are no more than its bytes
constexpr char kGap = '\0';      // between words: some of eld's letters are spaces
constexpr double kScale = 25;    // of scores to 0..1

/// What is beyond 16 bits parts words.
bool is_letter(uint32_t point) { return point < 0x10000 && (unicode_properties(point) & kLetter) != 0; }

bool is_apostrophe(uint32_t point) { return point == '\'' || point == '`' || point == 0x2019; }

/// The key of an n-gram of up to 4 letters, with a space before and after where a word begins and ends.
/// Longer ones, which no table holds, have a hash.
uint64_t key_of(bool begins, std::string_view gram, bool ends) {
  if (gram.size() > kGram) return hash_word(gram) | uint64_t{1} << 63;
  uint64_t key = 0;
  size_t length = 0;
  const auto put = [&](char letter) {
    key |= uint64_t{static_cast<unsigned char>(letter)} << (8 * length++);
  };
  if (begins) put(' ');
  for (const char letter : gram) put(letter);
  if (ends) put(' ');
  return key | static_cast<uint64_t>(length) << 56;
}

}  // namespace

LanguageDetector::LanguageDetector(const LanguageTable& table)
    : num_languages_(table.num_languages), letters_(table.letters), lower_(0x10000) {
  const size_t scores = table.score_languages.size();
  const bool fits = table.score_ends.size() == table.keys.size() && table.score_points.size() == scores &&
                    std::ranges::is_sorted(table.score_ends) && table.lower.size() % 2 == 0 &&
                    std::ranges::find(table.keys, uint64_t{0}) == table.keys.end() &&
                    (table.keys.empty() || (table.score_ends.front() >= 0 &&
                                            static_cast<size_t>(table.score_ends.back()) == scores)) &&
                    std::ranges::all_of(table.score_languages,
                                        [&](uint8_t language) { return language < table.num_languages; });
  if (!fits) throw std::invalid_argument("options.rules.language.model: its parts do not fit together");
  for (size_t i = 0; i < scores; ++i) scores_.push_back({table.score_languages[i], table.score_points[i]});
  for (uint32_t point = 0; point < lower_.size(); ++point) lower_[point] = point;
  for (size_t i = 0; i < table.lower.size(); i += 2) {
    if (table.lower[i] < lower_.size()) lower_[table.lower[i]] = table.lower[i + 1];
  }
  size_t capacity = 2;
  shift_ = 63;
  while (capacity < 2 * table.keys.size()) {
    capacity *= 2;
    --shift_;
  }
  slots_.resize(capacity);
  uint32_t begin = 0;
  for (size_t i = 0; i < table.keys.size(); ++i) {
    const auto end = static_cast<uint32_t>(table.score_ends[i]);
    size_t at = hash_pair(table.keys[i]) >> shift_;
    while (slots_[at].key != 0) at = (at + 1) & (capacity - 1);
    slots_[at] = {table.keys[i], begin, end};
    begin = end;
  }
}

/// The text's words in eld's letters, lower case, kGap between two. What is no letter parts words, except
/// apostrophes before a letter or at the end.
void LanguageDetector::spell(std::string_view text, std::string& out) const {
  out.clear();
  size_t bytes = 0;
  std::string pending;  // apostrophes since the last letter
  bool gap = false;     // something else since then
  bool done = false;
  uint32_t before = 0;  // the letter before this one, 0 after a gap
  const auto put = [&](uint32_t point) {
    if (done) return;
    if (point < 0x80) {
      out.push_back(static_cast<char>(point));
      ++bytes;
    } else {
      const size_t begin = out.size();
      append_utf8(point, out);
      bytes += out.size() - begin;
      for (size_t i = begin; i < out.size(); ++i) {
        out[i] = static_cast<char>(letters_[static_cast<unsigned char>(out[i])]);
      }
    }
    done = bytes > kCutAnywhere;
  };
  const auto end_gap = [&] {
    if (gap && !out.empty() && !done) {
      out.push_back(kGap);
      done = bytes > kCutAtSpace || ++bytes > kCutAnywhere;
    }
    for (size_t i = 0; i < pending.size(); i += utf8_length(static_cast<unsigned char>(pending[i]))) {
      put(utf8_point(&pending[i]));
    }
    if (gap || !pending.empty()) before = 0;
    pending.clear();
    gap = false;
  };
  constexpr uint32_t kSigma = 0x3A3, kFinalSigma = 0x3C2, kDottedI = 0x130, kDotAbove = 0x307;
  for (size_t at = 0, units = 0; at < text.size() && units < kMaxUnits && !done;) {
    const uint32_t point = utf8_point(&text[at]);
    at += utf8_length(static_cast<unsigned char>(text[at]));
    units += point < 0x10000 ? 1 : 2;
    const bool letter = is_letter(point);
    if (!letter) {
      if (is_apostrophe(point)) {
        append_utf8(point, pending);
      } else {
        gap = true;
        pending.clear();
      }
      continue;
    }
    end_gap();
    if (point == kSigma) {
      const bool more = at < text.size() && units < kMaxUnits && is_letter(utf8_point(&text[at]));
      put(before != 0 && !more ? kFinalSigma : lower_[point]);
    } else if (point == kDottedI) {
      put('i');
      put(kDotAbove);
    } else {
      put(lower_[point]);
    }
    before = point;
  }
  if (!done && !pending.empty()) end_gap();
}

void LanguageDetector::add_scores(uint64_t key, std::vector<int64_t>& scores) const {
  for (size_t at = hash_pair(key) >> shift_; slots_[at].key != 0; at = (at + 1) & (slots_.size() - 1)) {
    if (slots_[at].key != key) continue;
    for (uint32_t i = slots_[at].begin; i < slots_[at].end; ++i) {
      scores[scores_[i].language] += scores_[i].points + kBasePoints;
    }
    return;
  }
}

DetectedLanguage LanguageDetector::detect(std::string_view text, LanguageScratch& scratch) const {
  spell(text, scratch.letters);
  const std::string_view letters = scratch.letters;
  scratch.scores.assign(num_languages_, 0);
  scratch.seen.assign(kSeen, 0);
  size_t grams = 0;
  const auto count = [&](uint64_t key) {
    size_t slot = hash_pair(key) % kSeen;
    while (scratch.seen[slot] != 0) {
      if (scratch.seen[slot] == key) return;
      slot = (slot + 1) % kSeen;
    }
    scratch.seen[slot] = key;
    ++grams;
    add_scores(key, scratch.scores);
  };
  for (size_t begin = 0; begin < letters.size();) {
    const size_t end = std::min(letters.find(kGap, begin), letters.size());
    const std::string_view word = letters.substr(begin, end - begin);
    begin = end + 1;
    if (word.empty()) continue;
    const size_t length = std::min(word.size(), kLongestWord);
    size_t at = 0;
    for (; at + kGram < length; at += kStride) count(key_of(at == 0, word.substr(at, kGram), false));
    count(key_of(at == 0, word.substr(length > kGram ? length - kGram : 0), true));
  }
  const auto best = std::ranges::max_element(scratch.scores);
  if (best == scratch.scores.end() || *best == 0) return {};
  const double mean = static_cast<double>(*best) / static_cast<double>(grams);
  return {static_cast<int>(best - scratch.scores.begin()), mean / (mean + kScale)};
}

}  // namespace anneal
