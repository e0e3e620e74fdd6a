// Canonical composition (Unicode Standard Annex 15). Text is looked through for the few code points that NFC
// may change; only the segment around one, from the starter before it to the next that nothing can change, is
// decomposed, ordered and composed (composition.h).
#include <algorithm>
#include <iterator>
#include <span>
#include <utility>
#include <vector>

#include "data/composition.h"
#include "data/unicode.h"

namespace anneal {
namespace {

#include "data/unicode_normalization.inc"

/// Looked up in the sorted lists: few characters are.
struct Tables {
  [[nodiscard]] static uint8_t combining_class(uint32_t point) {
    const auto* found = std::ranges::lower_bound(kCombiningClasses, point, {}, &CombiningRange::last);
    return found != std::end(kCombiningClasses) && found->first <= point ? found->combining_class : 0;
  }

  [[nodiscard]] static std::span<const uint32_t> decomposition(uint32_t point) {
    const auto* found = std::ranges::lower_bound(kDecompositions, point, {}, &Decomposition::from);
    return found != std::end(kDecompositions) && found->from == point ? found->parts()
                                                                      : std::span<const uint32_t>();
  }

  [[nodiscard]] static uint32_t composition(uint32_t first, uint32_t second) {
    const auto less = [](const Composition& entry, const std::pair<uint32_t, uint32_t>& key) {
      return std::pair(entry.first, entry.second) < key;
    };
    const auto* found =
        std::lower_bound(std::begin(kCompositions), std::end(kCompositions), std::pair(first, second), less);
    const bool equal = found != std::end(kCompositions) && found->first == first && found->second == second;
    return equal ? found->composed : 0;
  }
};

/// The NFC of one segment.
void compose_segment(std::string_view segment, std::vector<Mark>& marks, std::string& out) {
  marks.clear();
  for (size_t at = 0; at < segment.size(); at += utf8_length(static_cast<unsigned char>(segment[at]))) {
    append_decomposed(Tables{}, utf8_point(segment.data() + at), marks);
  }
  compose(Tables{}, marks);
  for (const Mark& mark : marks) append_utf8(mark.point, out);
}

}  // namespace

std::span<const CombiningRange> combining_ranges() { return kCombiningClasses; }
std::span<const Decomposition> decompositions() { return kDecompositions; }
std::span<const Composition> compositions() { return kCompositions; }

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
