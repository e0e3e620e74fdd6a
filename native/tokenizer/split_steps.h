// The scanners behind the split patterns. A step looks at the start of a text and gives the end of its first
// piece: a match of the step's expression, or what stands before the next match. Pieces are never empty, and
// follow from what stands after their start alone.
#pragma once

#include "tokenizer/char_classes.h"

namespace anneal::split_steps {

/// Up to `end`, from a start that each step is given.
class Text {
 public:
  explicit Text(const Byte* end) : end_(end), classes_(char_classes()), ascii_(classes_.first()) {}

  [[nodiscard]] const Byte* end() const { return end_; }
  [[nodiscard]] CharClass class_of(uint32_t point) const { return classes_[point]; }
  [[nodiscard]] Char at(const Byte* p) const { return char_at(p, end_); }
  /// Class of the character at p; of none at the end.
  [[nodiscard]] CharClass class_at(const Byte* p) const {
    return p < end_ ? classes_[at(p).point] : CharClass{0};
  }
  [[nodiscard]] const Byte* after(const Byte* p) const { return p + at(p).length; }

  /// First position at or after p whose character is not of these classes.
  [[nodiscard]] const Byte* skip(const Byte* p, CharClass wanted) const {
    while (p < end_) {
      if (*p < 0x80) {
        if ((ascii_[*p] & wanted) == 0) break;
        ++p;
      } else {
        const Char c = multibyte_at(p, end_);
        if ((classes_[c.point] & wanted) == 0) break;
        p += c.length;
      }
    }
    return p;
  }
  /// First position at or after p whose character is of these classes.
  [[nodiscard]] const Byte* skip_to(const Byte* p, CharClass unwanted) const {
    return skip_while(p, [&](uint32_t point) { return (classes_[point] & unwanted) == 0; });
  }
  template <typename Accept>
  [[nodiscard]] const Byte* skip_while(const Byte* p, const Accept& accept) const {
    while (p < end_) {
      if (*p < 0x80) {
        if (!accept(*p)) break;
        ++p;
      } else {
        const Char c = multibyte_at(p, end_);
        if (!accept(c.point)) break;
        p += c.length;
      }
    }
    return p;
  }

 private:
  const Byte* end_;
  const CodePointTable& classes_;
  const uint8_t* ascii_;
};

inline bool is_newline(uint32_t point) { return point == '\r' || point == '\n'; }

inline const Byte* newlines_end(const Text& text, const Byte* p) {
  while (p < text.end() && is_newline(*p)) ++p;
  return p;
}

/// End of a contraction ('s 't 're 've 'm 'll 'd) at p, or p when there is none. Case-insensitive matching
/// folds as Unicode does, where U+017F (long s) equals s.
template <bool kIgnoreCase>
const Byte* contraction_end(const Text& text, const Byte* p) {
  if (p >= text.end() || *p != '\'') return p;
  const auto lower = [&](const Byte* at) -> int {
    if (at >= text.end()) return 0;
    return kIgnoreCase && *at >= 'A' && *at <= 'Z' ? *at + 32 : *at;
  };
  const int first = lower(p + 1);
  const int second = lower(p + 2);
  if (first == 's' || first == 't' || first == 'm' || first == 'd') return p + 2;
  if (second == 'e' && (first == 'r' || first == 'v')) return p + 3;
  if (first == 'l' && second == 'l') return p + 3;
  if (kIgnoreCase && first == 0xC5 && second == 0xBF) return p + 3;
  return p;
}

/// `\s+(?!\S)|\s+` at a space: the run of spaces, less its last one when that stands before a word.
inline const Byte* space_end(const Text& text, const Byte* p) {
  const Byte* last = p;
  const Byte* q = p;
  while (q < text.end()) {
    const Char c = text.at(q);
    if ((text.class_of(c.point) & kSpace) == 0) return last > p ? last : q;
    last = q;
    q += c.length;
  }
  return q;
}

/// `\s*[\r\n]+|\s+(?!\S)|\s+` at a space: up to the last line break of the run, if it has one.
inline const Byte* line_end(const Text& text, const Byte* p) {
  const Byte* after_newline = nullptr;
  const Byte* q = p;
  while (q < text.end()) {
    const Char c = text.at(q);
    if ((text.class_of(c.point) & kSpace) == 0) break;
    q += c.length;
    if (is_newline(c.point)) after_newline = q;
  }
  return after_newline != nullptr ? after_newline : space_end(text, p);
}

inline const Byte* gpt2(const Text& text, const Byte* p) {
  if (const Byte* q = contraction_end<false>(text, p); q > p) return q;
  const auto run = [&](const Byte* from, CharClass c) {
    if ((c & kLetter) != 0) return text.skip(text.after(from), kLetter);
    if ((c & kNumber) != 0) return text.skip(text.after(from), kNumber);
    return text.skip_to(text.after(from), kSpace | kLetter | kNumber);
  };
  const CharClass first = text.class_at(p);
  if ((first & kSpace) == 0) return run(p, first);
  if (*p == ' ' && p + 1 < text.end()) {
    const CharClass second = text.class_at(p + 1);
    if ((second & kSpace) == 0) return run(p + 1, second);
  }
  return space_end(text, p);
}

inline const Byte* up_to_three_numbers(const Text& text, const Byte* p) {
  for (int i = 0; i < 3 && (text.class_at(p) & kNumber) != 0; ++i) p = text.after(p);
  return p;
}

/// cl100k and its kin. kDigits: the most numbers in a word. kMarks: marks are as letters.
template <int kDigits, bool kMarks>
const Byte* cl100k(const Text& text, const Byte* p) {
  constexpr CharClass kWord = kMarks ? kLetter | kMark : kLetter;
  if (const Byte* q = contraction_end<true>(text, p); q > p) return q;
  const Char c = text.at(p);
  const CharClass first = text.class_of(c.point);
  const Byte* next = p + c.length;
  if ((first & kWord) != 0) return text.skip(next, kWord);
  if ((first & kNumber) != 0) return kDigits == 1 ? next : up_to_three_numbers(text, p);
  const auto symbols_end = [&](const Byte* from) {
    return newlines_end(text, text.skip_to(from, kSpace | kWord | kNumber));
  };
  if (!is_newline(c.point) && next < text.end()) {
    const CharClass second = text.class_at(next);
    if ((second & kWord) != 0) return text.skip(next, kWord);
    if (c.point == ' ' && (second & (kSpace | kNumber)) == 0) return symbols_end(next);
  }
  return (first & kSpace) == 0 ? symbols_end(p) : line_end(text, p);
}

/// A word of o200k: capitals, then small letters, where letters without case and marks are both:
/// `[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]*[\p{Ll}\p{Lm}\p{Lo}\p{M}]+` at p, or p when it does not match.
inline const Byte* cased_end(const Text& text, const Byte* p) {
  constexpr CharClass kBoth = kOtherLetter | kMark;
  const Byte* after_both = p;
  const Byte* q = p;
  while (q < text.end()) {
    const Char c = text.at(q);
    const CharClass found = text.class_of(c.point);
    if ((found & (kUpper | kBoth)) == 0) break;
    q += c.length;
    if ((found & kBoth) != 0) after_both = q;
  }
  const Byte* small = text.skip(q, kLower | kBoth);
  return small > q ? small : after_both;
}

/// kDigits: the most numbers in a word. kContractions: a word has its contraction with it.
template <int kDigits, bool kContractions>
const Byte* o200k(const Text& text, const Byte* p) {
  const Char c = text.at(p);
  const CharClass first = text.class_of(c.point);
  const Byte* next = p + c.length;
  if ((first & kNumber) != 0) return kDigits == 1 ? next : up_to_three_numbers(text, p);
  // One character that is no letter, number or line break may stand before the word.
  const Byte* word = (first & kLetter) == 0 && !is_newline(c.point) ? next : p;
  const Byte* q = cased_end(text, word);
  if (q == word && (first & kMark) != 0) q = cased_end(text, word = p);
  if (q == word) q = text.skip(word, kUpper);
  if (q > word) return kContractions ? contraction_end<true>(text, q) : q;
  const auto symbols_end = [&](const Byte* from) {
    return text.skip_while(text.skip_to(from, kSpace | kLetter | kNumber),
                           [](uint32_t point) { return is_newline(point) || point == '/'; });
  };
  if (c.point == ' ' && next < text.end() && (text.class_at(next) & (kSpace | kLetter | kNumber)) == 0) {
    return symbols_end(next);
  }
  return (first & kSpace) == 0 ? symbols_end(p) : line_end(text, p);
}

/// A match of DeepSeek-V3's third expression at p, or p.
inline const Byte* deepseek3_match(const Text& text, const Byte* p) {
  constexpr CharClass kWord = kLetter | kMark;
  const auto is_latin = [](uint32_t point) { return (point | 32) >= 'a' && (point | 32) <= 'z'; };
  const Char c = text.at(p);
  const CharClass first = text.class_of(c.point);
  const Byte* next = p + c.length;
  if (c.point > ' ' && c.point < 0x7F && (first & (kPunctuation | kSymbol)) != 0) {
    if (const Byte* q = text.skip_while(next, is_latin); q > next) return q;
  }
  if ((first & kWord) != 0) return text.skip(next, kWord);
  if ((first & (kPunctuation | kSymbol)) == 0 && !is_newline(c.point) && (text.class_at(next) & kWord) != 0) {
    return text.skip(next, kWord);
  }
  const Byte* symbols = c.point == ' ' ? next : p;
  if ((text.class_at(symbols) & (kPunctuation | kSymbol)) != 0) {
    return newlines_end(text, text.skip(symbols, kPunctuation | kSymbol));
  }
  return (first & kSpace) != 0 ? line_end(text, p) : p;
}

inline const Byte* deepseek3_words(const Text& text, const Byte* p) {
  if (const Byte* q = deepseek3_match(text, p); q > p) return q;
  do {
    p = text.after(p);
  } while (p < text.end() && deepseek3_match(text, p) == p);
  return p;
}

/// Runs of characters that `accept` takes, and of those that it does not.
template <typename Accept>
const Byte* runs(const Text& text, const Byte* p, const Accept& accept) {
  if (accept(text.at(p).point)) return text.skip_while(p, accept);
  return text.skip_while(p, [&](uint32_t point) { return !accept(point); });
}

/// `\p{N}{1,3}`
inline const Byte* numbers_by_three(const Text& text, const Byte* p) {
  const Byte* q = up_to_three_numbers(text, p);
  return q > p ? q : text.skip_to(p, kNumber);
}

/// `[一-龥぀-ゟ゠-ヿ]+`
inline const Byte* han_and_kana(const Text& text, const Byte* p) {
  return runs(text, p, [](uint32_t point) {
    return (point >= 0x4E00 && point <= 0x9FA5) || (point >= 0x3040 && point <= 0x30FF);
  });
}

/// The pre-tokenizer Digits with individual_digits.
inline const Byte* digit_by_digit(const Text& text, const Byte* p) {
  static const CodePointTable digits = membership(unicode::kDigits);
  if (digits[text.at(p).point] != 0) return text.after(p);
  return text.skip_while(p, [&](uint32_t point) { return digits[point] == 0; });
}

/// The pre-tokenizer Punctuation, `Contiguous`.
inline const Byte* punctuation_runs(const Text& text, const Byte* p) {
  static const CodePointTable punctuation = membership(unicode::kPunctuation);
  return runs(text, p, [&](uint32_t point) { return punctuation[point] != 0; });
}

/// The pre-tokenizer Digits over the byte-level alphabet, which writes some bytes as numbers (GPT-2's `²` is
/// byte B2): pieces may end inside a character.
inline const Byte* byte_digit_runs(const Text& text, const Byte* p) {
  const auto is_digit = [](Byte b) {
    return (b >= '0' && b <= '9') || b == 0xB2 || b == 0xB3 || b == 0xB9 || (b >= 0xBC && b <= 0xBE);
  };
  const bool digits = is_digit(*p);
  while (++p < text.end() && is_digit(*p) == digits) {
  }
  return p;
}

/// `[0-9][0-9][0-9]`
inline const Byte* three_digits(const Text& text, const Byte* p) {
  const auto match = [&](const Byte* at) {
    const auto digit = [&](int i) { return at[i] >= '0' && at[i] <= '9'; };
    return text.end() - at >= 3 && digit(0) && digit(1) && digit(2);
  };
  if (match(p)) return p + 3;
  while (++p < text.end() && !match(p)) {
  }
  return p;
}

/// Spaces as SentencePiece writes them (U+2581), a run of them or each alone, then all up to the next one.
template <bool kEach>
const Byte* before_spaces(const Text& text, const Byte* p) {
  const auto is_space = [&](const Byte* at) {
    return text.end() - at >= 3 && at[0] == 0xE2 && at[1] == 0x96 && at[2] == 0x81;
  };
  if (is_space(p)) p += 3;
  if (!kEach) {
    while (is_space(p)) p += 3;
  }
  while (p < text.end() && !is_space(p)) ++p;
  return p;
}

inline const Byte* everything(const Text& text, const Byte*) { return text.end(); }

}  // namespace anneal::split_steps
