// Canonical composition (Unicode Standard Annex 15). Text is looked through for the few code points that NFC
// may change; only the segment around one, from the starter before it to the next that nothing can change, is
// decomposed, ordered and composed.
#include <algorithm>
#include <span>
#include <vector>

#include "data/unicode.h"

namespace anneal {
namespace {

struct ClassRange {
  uint32_t first, last;
  uint8_t combining_class;
};
struct Decomposition {
  uint32_t from, to[4];  // zeros at the end
};
struct Composition {
  uint32_t first, second, composed;
};

#include "data/unicode_normalization.inc"

// Hangul syllables are composed by rule (Unicode Standard, section 3.12).
constexpr uint32_t kSyllables = 0xAC00, kLeads = 0x1100, kVowels = 0x1161, kTrails = 0x11A7;
constexpr uint32_t kLeadCount = 19, kVowelCount = 21, kTrailCount = 28;
constexpr uint32_t kSyllableCount = kLeadCount * kVowelCount * kTrailCount;

uint8_t combining_class(uint32_t point) {
  const auto* found = std::ranges::lower_bound(kCombiningClasses, point, {}, &ClassRange::last);
  return found != std::end(kCombiningClasses) && found->first <= point ? found->combining_class : 0;
}

/// What two code points compose to, or 0.
uint32_t compose(uint32_t first, uint32_t second) {
  if (first - kLeads < kLeadCount && second - kVowels < kVowelCount) {
    return kSyllables + ((first - kLeads) * kVowelCount + (second - kVowels)) * kTrailCount;
  }
  if (first - kSyllables < kSyllableCount && (first - kSyllables) % kTrailCount == 0 &&
      second - kTrails - 1 < kTrailCount - 1) {
    return first + (second - kTrails);
  }
  const auto less = [](const Composition& entry, const std::pair<uint32_t, uint32_t>& key) {
    return std::pair(entry.first, entry.second) < key;
  };
  const auto* found =
      std::lower_bound(std::begin(kCompositions), std::end(kCompositions), std::pair(first, second), less);
  const bool equal = found != std::end(kCompositions) && found->first == first && found->second == second;
  return equal ? found->composed : 0;
}

struct Mark {
  uint32_t point;
  uint8_t combining_class;
};

void append_decomposed(uint32_t point, std::vector<Mark>& out) {
  if (point - kSyllables < kSyllableCount) {
    const uint32_t index = point - kSyllables;
    const uint32_t trail = index % kTrailCount;
    out.push_back({kLeads + index / (kVowelCount * kTrailCount), 0});
    out.push_back({kVowels + index / kTrailCount % kVowelCount, 0});
    if (trail != 0) out.push_back({kTrails + trail, 0});
    return;
  }
  const auto* found = std::ranges::lower_bound(kDecompositions, point, {}, &Decomposition::from);
  if (found == std::end(kDecompositions) || found->from != point) {
    out.push_back({point, combining_class(point)});
    return;
  }
  for (const uint32_t part : found->to) {
    if (part != 0) out.push_back({part, combining_class(part)});
  }
}

/// The NFC of one segment.
void compose_segment(std::string_view segment, std::vector<Mark>& marks, std::string& out) {
  marks.clear();
  for (size_t at = 0; at < segment.size(); at += utf8_length(static_cast<unsigned char>(segment[at]))) {
    append_decomposed(utf8_point(segment.data() + at), marks);
  }
  for (size_t begin = 0; begin < marks.size();) {
    if (marks[begin].combining_class == 0) {
      ++begin;
      continue;
    }
    size_t end = begin;
    while (end < marks.size() && marks[end].combining_class != 0) ++end;
    std::ranges::stable_sort(std::span(marks).subspan(begin, end - begin), {}, &Mark::combining_class);
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
      if (const uint32_t composed = compose(marks[starter].point, mark.point); composed != 0) {
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
  for (size_t i = 0; i < kept; ++i) append_utf8(marks[i].point, out);
}

}  // namespace

size_t normalize_nfc(std::string_view text, std::string& out, size_t& first) {
  size_t changed = 0;
  size_t copied = 0;  // of `text` to `out`
  size_t starter = 0;
  std::vector<Mark> marks;
  std::string composed;
  for (size_t at = 0; at < text.size();) {
    if (const size_t ascii = ascii_prefix(text.substr(at)); ascii > 0) {
      at += ascii;
      starter = at - 1;
      continue;
    }
    const auto sensitive = [&](size_t i) {
      return (unicode_properties(utf8_point(text.data() + i)) & kNfcSensitive) != 0;
    };
    const auto next = [&](size_t i) { return i + utf8_length(static_cast<unsigned char>(text[i])); };
    if (!sensitive(at)) {
      starter = at;
      at = next(at);
      continue;
    }
    do at = next(at);
    while (at < text.size() && sensitive(at));
    const std::string_view segment = text.substr(starter, at - starter);
    composed.clear();
    compose_segment(segment, marks, composed);
    if (composed != segment) {
      if (changed++ == 0) out.clear();
      out.append(text.substr(copied, starter - copied));
      if (changed == 1) first = out.size();
      out.append(composed);
      copied = at;
    }
    starter = at;
  }
  if (changed > 0) out.append(text.substr(copied));
  return changed;
}

}  // namespace anneal
