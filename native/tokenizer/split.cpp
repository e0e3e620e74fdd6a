#include "tokenizer/split.h"

#include <cstring>
#include <vector>

#include "tokenizer/unicode_tables.h"

namespace anneal {
namespace {

enum CharClass : uint8_t { kOther = 0, kLetter = 1, kNumber = 2, kSpace = 3 };

constexpr uint32_t kCodePoints = 0x110000;

/// Class of every code point, one byte each: only the pages that the text uses are ever touched.
class ClassTable {
 public:
  ClassTable() : classes_(kCodePoints, kOther) {
    for (const UnicodeRange& range : kUnicodeRanges) {
      std::memset(classes_.data() + range.first, range.char_class, range.last - range.first + 1);
    }
  }
  [[nodiscard]] CharClass operator[](uint32_t point) const { return static_cast<CharClass>(classes_[point]); }

 private:
  std::vector<uint8_t> classes_;
};

const ClassTable& class_table() {
  static const ClassTable table;
  return table;
}

struct Char {
  uint32_t point;  // kCodePoints for an invalid byte
  uint32_t length;
  CharClass char_class;
};

using Byte = unsigned char;

/// Reads the text as characters. Positions are byte pointers in [begin, end].
class Scanner {
 public:
  explicit Scanner(std::string_view text)
      : begin_(reinterpret_cast<const Byte*>(text.data())),
        end_(begin_ + text.size()),
        table_(class_table()) {}

  [[nodiscard]] const Byte* begin() const { return begin_; }
  [[nodiscard]] const Byte* end() const { return end_; }

  /// The character at p < end().
  [[nodiscard]] Char at(const Byte* p) const {
    if (*p < 0x80) return {*p, 1, table_[*p]};
    return multibyte(p);
  }

  /// First position at or after p that is not of this class.
  [[nodiscard]] const Byte* skip(const Byte* p, CharClass wanted) const {
    while (p < end_) {
      const Char c = at(p);
      if (c.char_class != wanted) break;
      p += c.length;
    }
    return p;
  }

 private:
  [[nodiscard]] Char multibyte(const Byte* p) const {
    constexpr Char kInvalid{kCodePoints, 1, kOther};
    const auto left = end_ - p;
    const auto continues = [&](int i) { return i < left && (p[i] & 0xC0) == 0x80; };
    const auto low = [&](int i) { return static_cast<uint32_t>(p[i] & 0x3F); };
    if (*p < 0xC2) return kInvalid;  // continuation byte, or an overlong form
    if (*p < 0xE0) {
      if (!continues(1)) return kInvalid;
      const uint32_t point = (*p & 0x1Fu) << 6 | low(1);
      return {point, 2, table_[point]};
    }
    if (*p < 0xF0) {
      if (!continues(1) || !continues(2)) return kInvalid;
      const uint32_t point = (*p & 0x0Fu) << 12 | low(1) << 6 | low(2);
      if (point < 0x800 || (point >= 0xD800 && point < 0xE000)) return kInvalid;
      return {point, 3, table_[point]};
    }
    if (*p < 0xF5) {
      if (!continues(1) || !continues(2) || !continues(3)) return kInvalid;
      const uint32_t point = (*p & 0x07u) << 18 | low(1) << 12 | low(2) << 6 | low(3);
      if (point < 0x10000 || point >= kCodePoints) return kInvalid;
      return {point, 4, table_[point]};
    }
    return kInvalid;
  }

  const Byte* begin_;
  const Byte* end_;
  const ClassTable& table_;
};

bool is_newline(uint32_t point) { return point == '\r' || point == '\n'; }

/// End of a contraction ('s 't 're 've 'm 'll 'd) at p, or p when there is none. Case-insensitive matching
/// folds as Unicode does, where U+017F (long s) equals s.
const Byte* contraction_end(const Scanner& scanner, const Byte* p, bool ignore_case) {
  if (*p != '\'') return p;
  const auto lower = [&](const Byte* at) -> int {
    if (at >= scanner.end()) return 0;
    return ignore_case && *at >= 'A' && *at <= 'Z' ? *at + 32 : *at;
  };
  const int first = lower(p + 1);
  const int second = lower(p + 2);
  if (first == 's' || first == 't' || first == 'm' || first == 'd') return p + 2;
  if (second == 'e' && (first == 'r' || first == 'v')) return p + 3;
  if (first == 'l' && second == 'l') return p + 3;
  if (ignore_case && first == 0xC5 && second == 0xBF) return p + 3;
  return p;
}

/// `\s+(?!\S)|\s+` at a space: the run of spaces, less its last one when that stands before a word.
const Byte* space_end(const Scanner& scanner, const Byte* p) {
  const Byte* last = p;
  const Byte* q = p;
  while (q < scanner.end()) {
    const Char c = scanner.at(q);
    if (c.char_class != kSpace) return last > p ? last : q;
    last = q;
    q += c.length;
  }
  return q;
}

const Byte* gpt2_end(const Scanner& scanner) {
  const Byte* p = scanner.begin();
  if (const Byte* q = contraction_end(scanner, p, false); q > p) return q;
  const Char first = scanner.at(p);
  if (first.char_class != kSpace) return scanner.skip(p + first.length, first.char_class);
  if (first.point == ' ' && p + 1 < scanner.end()) {
    const Char second = scanner.at(p + 1);
    if (second.char_class != kSpace) return scanner.skip(p + 1 + second.length, second.char_class);
  }
  return space_end(scanner, p);
}

/// ` ?[^\s\p{L}\p{N}]+[\r\n]*` from its first symbol on.
const Byte* symbols_end(const Scanner& scanner, const Byte* p) {
  p = scanner.skip(p, kOther);
  while (p < scanner.end() && is_newline(*p)) ++p;
  return p;
}

/// `\s*[\r\n]+|\s+(?!\S)|\s+`: spaces up to the last line break of the run, if it has one.
const Byte* line_end(const Scanner& scanner, const Byte* p) {
  const Byte* after_newline = nullptr;
  const Byte* q = p;
  while (q < scanner.end()) {
    const Char c = scanner.at(q);
    if (c.char_class != kSpace) break;
    q += c.length;
    if (is_newline(c.point)) after_newline = q;
  }
  return after_newline != nullptr ? after_newline : space_end(scanner, p);
}

const Byte* cl100k_end(const Scanner& scanner) {
  const Byte* p = scanner.begin();
  if (const Byte* q = contraction_end(scanner, p, true); q > p) return q;
  const Char first = scanner.at(p);
  const Byte* next = p + first.length;
  if (first.char_class == kLetter) return scanner.skip(next, kLetter);
  if (first.char_class == kNumber) {
    for (int digits = 1; digits < 3 && next < scanner.end(); ++digits) {
      const Char c = scanner.at(next);
      if (c.char_class != kNumber) break;
      next += c.length;
    }
    return next;
  }
  if (!is_newline(first.point) && next < scanner.end()) {
    const Char second = scanner.at(next);
    if (second.char_class == kLetter) return scanner.skip(next + second.length, kLetter);
    if (first.point == ' ' && second.char_class == kOther) return symbols_end(scanner, next);
  }
  if (first.char_class == kOther) return symbols_end(scanner, p);
  return line_end(scanner, p);
}

}  // namespace

size_t first_word_length(SplitPattern pattern, std::string_view text) {
  const Scanner scanner(text);
  const Byte* end = pattern == SplitPattern::kGpt2 ? gpt2_end(scanner) : cl100k_end(scanner);
  return static_cast<size_t>(end - scanner.begin());
}

}  // namespace anneal
