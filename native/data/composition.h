// Canonical decomposition and composition of a few characters (Unicode Standard, section 3.11), over the
// tables of any version of Unicode, and the tables of version 17.
//
// `Tables` has combining_class(point), decomposition(point), which is full and empty where there is none, and
// composition(first, second), 0 where there is none; Hangul, which goes by arithmetic (section 3.12), is in
// none of them.
#pragma once

#include <algorithm>
#include <array>
#include <cstddef>
#include <cstdint>
#include <span>
#include <vector>

namespace anneal {

struct CombiningRange {
  uint32_t first, last;
  uint8_t combining_class;
};
struct Decomposition {
  uint32_t from;
  std::array<uint32_t, 4> to;  // zeros at the end

  [[nodiscard]] std::span<const uint32_t> parts() const {
    return std::span(to).first(static_cast<size_t>(std::ranges::find(to, 0U) - to.begin()));
  }
};
struct Composition {
  uint32_t first, second, composed;
};

/// Of Unicode 17, each sorted.
[[nodiscard]] std::span<const CombiningRange> combining_ranges();
[[nodiscard]] std::span<const Decomposition> decompositions();
[[nodiscard]] std::span<const Composition> compositions();

namespace hangul {
inline constexpr uint32_t kSyllable = 0xAC00, kLead = 0x1100, kVowel = 0x1161, kTrail = 0x11A7;
inline constexpr uint32_t kLeads = 19, kVowels = 21, kTrails = 28, kSyllables = kLeads * kVowels * kTrails;
}  // namespace hangul

struct Mark {
  uint32_t point;
  uint8_t combining_class;
};

template <typename Tables>
void append_decomposed(const Tables& tables, uint32_t point, std::vector<Mark>& out) {
  using namespace hangul;
  if (point - kSyllable < kSyllables) {
    const uint32_t index = point - kSyllable;
    out.push_back({kLead + index / (kVowels * kTrails), 0});
    out.push_back({kVowel + index / kTrails % kVowels, 0});
    if (index % kTrails != 0) out.push_back({kTrail + index % kTrails, 0});
    return;
  }
  const std::span<const uint32_t> parts = tables.decomposition(point);
  if (parts.empty()) out.push_back({point, tables.combining_class(point)});
  for (const uint32_t part : parts) out.push_back({part, tables.combining_class(part)});
}

/// What two code points compose to, or 0.
template <typename Tables>
[[nodiscard]] uint32_t compose_pair(const Tables& tables, uint32_t first, uint32_t second) {
  using namespace hangul;
  if (first - kLead < kLeads && second - kVowel < kVowels) {
    return kSyllable + ((first - kLead) * kVowels + (second - kVowel)) * kTrails;
  }
  if (first - kSyllable < kSyllables && (first - kSyllable) % kTrails == 0 &&
      second - kTrail - 1 < kTrails - 1) {
    return first + (second - kTrail);
  }
  return tables.composition(first, second);
}

/// Brings decomposed characters into canonical order and composes them, in place.
template <typename Tables>
void compose(const Tables& tables, std::vector<Mark>& marks) {
  const auto is_starter = [](const Mark& mark) { return mark.combining_class == 0; };
  for (auto begin = marks.begin(); begin != marks.end();) {
    begin = std::find_if_not(begin, marks.end(), is_starter);
    const auto end = std::find_if(begin, marks.end(), is_starter);
    std::stable_sort(begin, end,
                     [](const Mark& a, const Mark& b) { return a.combining_class < b.combining_class; });
    begin = end;
  }
  // `last` is the class of the mark kept before this one: a mark is blocked from the starter by one of the
  // same or a higher class, and a starter by anything between.
  size_t kept = 0;
  size_t starter = marks.size();
  int last = -1;
  for (size_t i = 0; i < marks.size(); ++i) {
    const Mark mark = marks[i];
    if (starter < kept && (last < mark.combining_class || last == -1)) {
      if (const uint32_t composed = compose_pair(tables, marks[starter].point, mark.point); composed != 0) {
        marks[starter].point = composed;
        continue;
      }
    }
    if (mark.combining_class == 0) {
      starter = kept;
      last = -1;
    } else {
      last = mark.combining_class;
    }
    marks[kept++] = mark;
  }
  marks.resize(kept);
}

}  // namespace anneal
