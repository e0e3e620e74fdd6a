// Words of ASCII text, 64 bytes at once: where a word begins follows from the classes of the bytes around,
// each class a word of 64 bits. A window begins where a word begins, as a step does, so nothing is carried
// from one to the next; what a window does not settle is left to the step.
#pragma once

#include <algorithm>
#include <bit>
#include <cstddef>
#include <cstdint>

#include "tokenizer/split_steps.h"
#include "tokenizer/word_hash.h"

namespace anneal::split_steps {

/// Bit i is byte i. Bytes that are not known are of no class.
struct Window {
  uint64_t letter, number, space, other;   // each known byte is of one of these
  uint64_t blank, line_break, apostrophe;  // U+0020 and \r \n of the spaces, ' of the others
  size_t known;                            // bytes up to the first that is not ASCII, or the end
  bool ends_text;                          // all up to the end is known
};

/// Whether the four bytes at p are ASCII: with fewer nothing is settled.
[[nodiscard]] inline bool is_worth_a_window(const Byte* p, const Byte* end) {
  return end - p >= 4 && (load_number<uint32_t>(reinterpret_cast<const char*>(p)) & 0x80808080u) == 0;
}

/// The bytes at p, the first of them ASCII; memory up to `readable_end` may be read.
[[nodiscard]] Window window_at(const Byte* p, const Byte* end, const Byte* readable_end);

/// The first n of 64 bits, n > 0.
[[nodiscard]] inline uint64_t first_bits(size_t n) { return UINT64_MAX >> (64 - n); }

/// The bits of `runs` that lie in a run whose last bit is in `last`.
[[nodiscard]] inline uint64_t runs_up_to(uint64_t last, uint64_t runs) {
  uint64_t found = last & runs;
  for (int shift = 1; shift < 64; shift *= 2) {
    found |= runs & found >> shift;
    runs &= runs >> shift;
  }
  return found;
}

/// Starts that do not hang on what is not known: one hangs on two bytes behind it at most, within spaces on
/// all up to their end.
[[nodiscard]] inline uint64_t settled(const Window& window, uint64_t starts) {
  starts &= ~uint64_t{1};
  if (window.ends_text) return starts & first_bits(window.known);
  const uint64_t words = window.letter | window.number | window.other;
  const size_t last = std::min<size_t>(window.known - 3, static_cast<size_t>(std::bit_width(words)));
  return starts & first_bits(last + 1);
}

/// Contractions end words and begin none inside.
template <bool kIgnoreCase>
uint64_t with_contractions(const Text& text, const Byte* p, const Window& window, uint64_t starts) {
  for (uint64_t left = window.apostrophe & (starts | 1); left != 0; left &= left - 1) {
    const int at = std::countr_zero(left);
    const auto length = contraction_end<kIgnoreCase>(text, p + at) - (p + at);
    if (length == 0) continue;
    starts &= ~(uint64_t{3} << at << 1);
    starts |= uint64_t{1} << at << length;
  }
  return starts;
}

/// Where words begin inside the window (not at its own start), for each step that has such a function.
using WindowStarts = uint64_t (*)(const Text&, const Byte* p, const Window&);

inline uint64_t gpt2_starts(const Text& text, const Byte* p, const Window& window) {
  const auto& [letter, number, space, other, blank, line_break, apostrophe, known, ends_text] = window;
  const uint64_t runs = (letter & ~(letter << 1)) | (number & ~(number << 1)) | (other & ~(other << 1));
  const uint64_t words = letter | number | other;
  const uint64_t starts = (runs & ~(blank << 1)) | (space & (~(space << 1) | words >> 1));
  return settled(window, with_contractions<false>(text, p, window, starts));
}

template <int kDigits>
uint64_t cl100k_starts(const Text& text, const Byte* p, const Window& window) {
  const auto& [letter, number, space, other, blank, line_break, apostrophe, known, ends_text] = window;
  const uint64_t words = letter | number | other;
  // Symbols take a space before them along, and line breaks after them: adding carries through a run.
  const uint64_t symbols = other & ~(other << 1 | blank << 1);
  const uint64_t taken = line_break & ~(line_break + (line_break & other << 1));
  // One symbol that no space or symbol stands before goes with letters after it, as do spaces but line
  // breaks.
  const uint64_t inner = space & ~line_break;
  uint64_t starts = (letter & ~(letter << 1 | inner << 1 | symbols << 1)) | symbols;
  if (kDigits == 1) {
    starts |= number;
  } else {
    const uint64_t three = number & number << 1 & number << 2;
    for (uint64_t first = number & ~(number << 1); first != 0; first = first << 3 & three & number << 3)
      starts |= first;
  }
  // Spaces go up to their last line break; of those behind it the last stands alone or goes with what
  // follows.
  const uint64_t left = space & ~taken;
  starts |= (left & ~(left << 1)) | (inner & words >> 1);
  uint64_t behind = inner & line_break << 1;
  if (const uint64_t before_break = inner & line_break >> 1; before_break != 0)
    behind &= ~runs_up_to(before_break, inner);
  return settled(window, with_contractions<true>(text, p, window, starts | behind));
}

template <auto kStep>
inline constexpr WindowStarts kStartsOf = nullptr;
template <>
inline constexpr WindowStarts kStartsOf<gpt2> = gpt2_starts;
template <>
inline constexpr WindowStarts kStartsOf<cl100k<3, false>> = cl100k_starts<3>;
template <>
inline constexpr WindowStarts kStartsOf<cl100k<1, false>> = cl100k_starts<1>;
template <>
inline constexpr WindowStarts kStartsOf<cl100k<1, true>> = cl100k_starts<1>;

}  // namespace anneal::split_steps
