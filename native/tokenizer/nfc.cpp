#include "tokenizer/nfc.h"

#include <cstdint>
#include <span>
#include <unordered_map>
#include <utility>
#include <vector>

#include "data/composition.h"
#include "data/utf8.h"
#include "tokenizer/char_classes.h"
#include "tokenizer/unicode_nfc.h"

namespace anneal {
namespace {

/// Unicode 17's, less what is newer than the version of `tokenizers`, for fast look-up.
class Tables {
 public:
  Tables() : combining_(std::vector<uint8_t>()), steady_(std::vector<uint8_t>()) {
    const CodePointTable newer = membership(unicode::kNewer);
    std::vector<uint8_t> combining(kCodePoints);
    std::vector<uint8_t> steady(kCodePoints + 1, 1);
    for (const CombiningRange& range : combining_ranges()) {
      for (uint32_t point = range.first; point <= range.last; ++point) {
        if (newer[point] != 0) continue;
        combining[point] = range.combining_class;
        steady[point] = 0;
      }
    }
    for (const Decomposition& entry : decompositions()) {
      if (newer[entry.from] != 0) continue;
      decompositions_.emplace(entry.from, entry.parts());
      steady[entry.from] = 0;
    }
    for (const auto& [first, second, composed] : compositions()) {
      if (newer[composed] != 0) continue;
      compositions_.emplace(key(first, second), composed);
      steady[composed] = 1;
    }
    for (const auto& [pair, composed] : compositions_) steady[pair & UINT32_MAX] = 0;
    for (uint32_t i = 0; i < hangul::kVowels; ++i) steady[hangul::kVowel + i] = 0;
    for (uint32_t i = 1; i < hangul::kTrails; ++i) steady[hangul::kTrail + i] = 0;
    combining_ = CodePointTable(std::move(combining));
    steady_ = CodePointTable(std::move(steady));
  }

  [[nodiscard]] uint8_t combining_class(uint32_t point) const { return combining_[point]; }
  [[nodiscard]] std::span<const uint32_t> decomposition(uint32_t point) const {
    const auto found = decompositions_.find(point);
    return found == decompositions_.end() ? std::span<const uint32_t>() : found->second;
  }
  [[nodiscard]] uint32_t composition(uint32_t first, uint32_t second) const {
    const auto found = compositions_.find(key(first, second));
    return found == compositions_.end() ? 0 : found->second;
  }

  /// Whether the character is in form C whatever stands before it, and begins a new composition.
  [[nodiscard]] bool is_steady(uint32_t point) const { return point >= kCodePoints || steady_[point] != 0; }

 private:
  static uint64_t key(uint32_t first, uint32_t second) { return uint64_t{first} << 32 | second; }

  CodePointTable combining_, steady_;
  std::unordered_map<uint32_t, std::span<const uint32_t>> decompositions_;
  std::unordered_map<uint64_t, uint32_t> compositions_;
};

const Tables& tables() {
  static const Tables all;
  return all;
}

}  // namespace

std::string_view to_nfc(std::string_view text, std::string& out) {
  const Tables& all = tables();
  const auto* begin = reinterpret_cast<const Byte*>(text.data());
  const Byte* end = begin + text.size();
  const Byte* copied = begin;  // what lies before is in `out`
  const Byte* last = begin;    // the character before p
  out.clear();
  std::vector<Mark> marks;
  for (const Byte* p = begin; p < end;) {
    const Char c = char_at(p, end);
    if (c.point < 0x80 || all.is_steady(c.point)) {
      last = p;
      p += c.length;
      continue;
    }
    // From the character before, with which this one may compose, to the next one that is steady.
    const Byte* from = last;
    marks.clear();
    if (from < p) {
      const Char before = char_at(from, end);
      if (before.point == kInvalid) {
        from = p;
      } else {
        append_decomposed(all, before.point, marks);
      }
    }
    while (p < end) {
      const Char next = char_at(p, end);
      if (all.is_steady(next.point)) break;
      append_decomposed(all, next.point, marks);
      p += next.length;
    }
    compose(all, marks);
    out.append(reinterpret_cast<const char*>(copied), static_cast<size_t>(from - copied));
    for (const Mark& mark : marks) append_utf8(mark.point, out);
    copied = last = p;
  }
  if (copied == begin) return text;
  out.append(reinterpret_cast<const char*>(copied), static_cast<size_t>(end - copied));
  return out;
}

}  // namespace anneal
