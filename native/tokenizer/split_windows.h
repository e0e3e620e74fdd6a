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
  uint64_t letter, number, space, other;  // each known byte is of one of these
  uint64_t upper;                         // of the letters
  uint64_t blank, line_break;             // U+0020 and \r \n of the spaces
  uint64_t apostrophe, slash;             // of the others
  size_t known;                           // bytes up to the first that is not ASCII, or the end
  bool ends_text;                         // all up to the end is known
};

/// Whether the four bytes at p are ASCII: with fewer nothing is settled.
[[nodiscard]] inline bool is_worth_a_window(const Byte* p, const Byte* end) {
  return end - p >= 4 && (load_number<uint32_t>(reinterpret_cast<const char*>(p)) & 0x80808080u) == 0;
}

/// The bytes at p, the first of them ASCII; memory up to `readable_end` may be read.
[[nodiscard]] Window window_at(const Byte* p, const Byte* end, const Byte* readable_end);

/// The first n of 64 bits, n > 0.
[[nodiscard]] inline uint64_t first_bits(size_t n) { return UINT64_MAX >> (64 - n); }

/// The bits of `runs` from the starts of their runs up to those in `last`.
[[nodiscard]] inline uint64_t runs_up_to(uint64_t last, uint64_t runs) {
  uint64_t found = last & runs;
  for (int shift = 1; shift < 64; shift *= 2) {
    found |= runs & found >> shift;
    runs &= runs >> shift;
  }
  return found;
}

/// The bits of `runs` from those in `first` up to the ends of their runs.
[[nodiscard]] inline uint64_t runs_from(uint64_t first, uint64_t runs) {
  uint64_t found = first & runs;
  for (int shift = 1; shift < 64; shift *= 2) {
    found |= runs & found << shift;
    runs &= runs << shift;
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
  const auto first_of = [](uint64_t run) { return run & ~(run << 1); };
  const uint64_t words = window.letter | window.number | window.other;
  const uint64_t runs = first_of(window.letter) | first_of(window.number) | first_of(window.other);
  // The last space before a word stands apart: it goes with the word where it is U+0020.
  const uint64_t starts =
      (runs & ~(window.blank << 1)) | first_of(window.space) | (window.space & words >> 1);
  return settled(window, with_contractions<false>(text, p, window, starts));
}

/// Of numbers in words of kDigits at most.
template <int kDigits>
uint64_t number_starts(uint64_t number) {
  if (kDigits == 1) return number;
  static_assert(kDigits == 1 || kDigits == 3);
  uint64_t starts = 0;
  const uint64_t fourth = number & number << 1 & number << 2 & number << 3;
  for (uint64_t first = number & ~(number << 1); first != 0; first = first << 3 & fourth) starts |= first;
  return starts;
}

/// Of spaces that go up to their last line break; of those behind it the last stands alone or goes with what
/// follows. `taken`: line breaks that belong to the symbols before them.
inline uint64_t space_starts(const Window& window, uint64_t taken) {
  const uint64_t left = window.space & ~taken;
  const uint64_t inner = window.space & ~window.line_break;
  const uint64_t words = window.letter | window.number | window.other;
  uint64_t behind = inner & window.line_break << 1;
  if (const uint64_t before_break = inner & window.line_break >> 1; before_break != 0) {
    behind &= ~runs_up_to(before_break, inner);
  }
  return (left & ~(left << 1)) | (inner & words >> 1) | behind;
}

/// Of letters, and of symbols, which take a space before them along. A symbol that no space or symbol stands
/// before goes with letters after it, as do spaces but line breaks.
inline uint64_t letter_and_symbol_starts(const Window& window, uint64_t other) {
  const uint64_t symbols = other & ~(other << 1 | window.blank << 1);
  const uint64_t inner = window.space & ~window.line_break;
  return (window.letter & ~(window.letter << 1 | inner << 1 | symbols << 1)) | symbols;
}

template <int kDigits>
uint64_t cl100k_starts(const Text& text, const Byte* p, const Window& window) {
  // Line breaks after symbols go with them: adding carries through a run.
  const uint64_t breaks = window.line_break;
  const uint64_t taken = breaks & ~(breaks + (breaks & window.other << 1));
  const uint64_t starts = letter_and_symbol_starts(window, window.other) |
                          number_starts<kDigits>(window.number) | space_starts(window, taken);
  return settled(window, with_contractions<true>(text, p, window, starts));
}

template <int kDigits, bool kContractions>
uint64_t o200k_starts(const Text& text, const Byte* p, const Window& window) {
  // Slashes among the line breaks after symbols go with them as well.
  const uint64_t first_break = window.line_break & window.other << 1;
  const uint64_t taken = first_break == 0 ? 0 : runs_from(first_break, window.line_break | window.slash);
  const uint64_t lower = window.letter & ~window.upper;
  uint64_t starts = letter_and_symbol_starts(window, window.other & ~taken) | (window.upper & lower << 1) |
                    number_starts<kDigits>(window.number) | space_starts(window, taken);
  // A contraction belongs to the word before it, and no other follows.
  uint64_t ends = 0;
  for (uint64_t left = kContractions ? window.apostrophe & window.letter << 1 : 0; left != 0;
       left &= left - 1) {
    const int at = std::countr_zero(left);
    const auto length = contraction_end<true>(text, p + at) - (p + at);
    if (length == 0 || (ends >> at & 1) != 0) continue;
    ends = uint64_t{1} << at << length;
    starts = (starts & ~(uint64_t{7} << at)) | ends;
  }
  return settled(window, starts);
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
template <>
inline constexpr WindowStarts kStartsOf<o200k<3, true>> = o200k_starts<3, true>;
template <>
inline constexpr WindowStarts kStartsOf<o200k<1, false>> = o200k_starts<1, false>;

}  // namespace anneal::split_steps
