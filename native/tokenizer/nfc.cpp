#include "tokenizer/nfc.h"

#include <algorithm>
#include <cstdint>
#include <iterator>
#include <unordered_map>
#include <vector>

#include "data/utf8.h"
#include "tokenizer/char_classes.h"
#include "tokenizer/unicode_nfc.h"
#include "tokenizer/word_hash.h"

namespace anneal {
namespace {

// Hangul syllables are composed by arithmetic (Unicode, section 3.12).
constexpr uint32_t kSyllable = 0xAC00, kLead = 0x1100, kVowel = 0x1161, kTail = 0x11A7;
constexpr uint32_t kLeads = 19, kVowels = 21, kTails = 28, kSyllables = kLeads * kVowels * kTails;

class Tables {
 public:
  Tables() : combining_(std::vector<uint8_t>()), steady_(std::vector<uint8_t>()) {
    std::vector<uint8_t> combining(kCodePoints);
    std::vector<uint8_t> steady(kCodePoints + 1, 1);
    for (const auto& [point, value] : unicode::kCombining) {
      combining[point] = static_cast<uint8_t>(value);
      steady[point] = 0;
    }
    for (size_t i = 0; i < std::size(unicode::kDecompositions); i += 2 + unicode::kDecompositions[i + 1]) {
      decompositions_.emplace(unicode::kDecompositions[i], i + 1);
      steady[unicode::kDecompositions[i]] = 0;
    }
    for (const auto& [first, second, composed] : unicode::kCompositions) {
      compositions_.emplace(key(first, second), composed);
      steady[composed] = 1;
    }
    for (const auto& [first, second, composed] : unicode::kCompositions) steady[second] = 0;
    for (uint32_t i = 0; i < kVowels; ++i) steady[kVowel + i] = 0;
    for (uint32_t i = 1; i < kTails; ++i) steady[kTail + i] = 0;
    combining_ = CodePointTable(std::move(combining));
    steady_ = CodePointTable(std::move(steady));
  }

  [[nodiscard]] uint8_t combining(uint32_t point) const { return combining_[point]; }
  /// Whether the character is in form C whatever stands before it, and begins a new composition.
  [[nodiscard]] bool is_steady(uint32_t point) const { return point >= kCodePoints || steady_[point] != 0; }

  void decompose(uint32_t point, std::vector<uint32_t>& out) const {
    if (point - kSyllable < kSyllables) {
      const uint32_t index = point - kSyllable;
      out.push_back(kLead + index / (kVowels * kTails));
      out.push_back(kVowel + index / kTails % kVowels);
      if (index % kTails != 0) out.push_back(kTail + index % kTails);
    } else if (const auto found = decompositions_.find(point); found != decompositions_.end()) {
      const uint32_t* parts = unicode::kDecompositions + found->second;
      out.insert(out.end(), parts + 1, parts + 1 + *parts);
    } else {
      out.push_back(point);
    }
  }

  /// 0 when they do not compose.
  [[nodiscard]] uint32_t compose(uint32_t first, uint32_t second) const {
    if (first - kLead < kLeads && second - kVowel < kVowels) {
      return kSyllable + ((first - kLead) * kVowels + (second - kVowel)) * kTails;
    }
    if (first - kSyllable < kSyllables && (first - kSyllable) % kTails == 0 &&
        second - kTail - 1 < kTails - 1) {
      return first + (second - kTail);
    }
    const auto found = compositions_.find(key(first, second));
    return found == compositions_.end() ? 0 : found->second;
  }

 private:
  static uint64_t key(uint32_t first, uint32_t second) { return uint64_t{first} << 32 | second; }

  CodePointTable combining_, steady_;
  std::unordered_map<uint32_t, size_t> decompositions_;  // place of the number of parts
  std::unordered_map<uint64_t, uint32_t> compositions_;
};

const Tables& tables() {
  static const Tables all;
  return all;
}

/// One stretch of decomposed characters in canonical order, composed in place.
void compose(std::vector<uint32_t>& points) {
  const Tables& all = tables();
  for (auto begin = points.begin(); begin != points.end();) {
    if (all.combining(*begin) == 0) {
      ++begin;
      continue;
    }
    const auto end = std::find_if(begin, points.end(), [&](uint32_t p) { return all.combining(p) == 0; });
    std::stable_sort(begin, end, [&](uint32_t a, uint32_t b) { return all.combining(a) < all.combining(b); });
    begin = end;
  }
  size_t kept = 0;
  size_t starter = SIZE_MAX;
  uint8_t last = 0;  // class of the character kept last, when that is not the starter
  for (const uint32_t point : points) {
    const uint8_t combining = all.combining(point);
    if (starter != SIZE_MAX && (kept == starter + 1 || last < combining)) {
      if (const uint32_t composed = all.compose(points[starter], point); composed != 0) {
        points[starter] = composed;
        continue;
      }
    }
    if (combining == 0) starter = kept;
    last = combining;
    points[kept++] = point;
  }
  points.resize(kept);
}

}  // namespace

std::string_view to_nfc(std::string_view text, std::string& out) {
  const Tables& all = tables();
  const auto* begin = reinterpret_cast<const Byte*>(text.data());
  const Byte* end = begin + text.size();
  const Byte* copied = begin;  // what lies before is in `out`
  const Byte* last = begin;    // the character before p
  out.clear();
  std::vector<uint32_t> points;
  for (const Byte* p = begin; p < end;) {
    const Char c = char_at(p, end);
    if (c.point < 0x80 || all.is_steady(c.point)) {
      last = p;
      p += c.length;
      continue;
    }
    // From the character before, with which this one may compose, to the next one that is steady.
    const Byte* from = last;
    points.clear();
    if (from < p) {
      const Char before = char_at(from, end);
      if (before.point == kInvalid) {
        from = p;
      } else {
        all.decompose(before.point, points);
      }
    }
    while (p < end) {
      const Char next = char_at(p, end);
      if (all.is_steady(next.point)) break;
      all.decompose(next.point, points);
      p += next.length;
    }
    compose(points);
    out.append(reinterpret_cast<const char*>(copied), static_cast<size_t>(from - copied));
    for (const uint32_t point : points) append_utf8(point, out);
    copied = last = p;
  }
  if (copied == begin) return text;
  out.append(reinterpret_cast<const char*>(copied), static_cast<size_t>(end - copied));
  return out;
}

}  // namespace anneal
