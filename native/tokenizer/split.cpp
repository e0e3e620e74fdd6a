#include "tokenizer/split.h"

#include <algorithm>
#include <stdexcept>

#include "tokenizer/split_spaced.h"
#include "tokenizer/split_windows.h"

namespace anneal {

struct WordCursor::Access {
  using Step = const Byte* (*)(const split_steps::Text&, const Byte*);

  static const Byte* bytes(const char* p) { return reinterpret_cast<const Byte*>(p); }
  static const char* chars(const Byte* p) { return reinterpret_cast<const char*>(p); }

  /// Each step cuts the pieces of the one before it.
  template <Step... kSteps>
  static size_t fill(WordCursor& cursor, std::span<const char*> ends) {
    constexpr std::array kAll{kSteps...};
    constexpr size_t kOuter = kAll.size() - 1;
    static_assert(kOuter <= kMaxSteps);
    size_t count = 0;
    const Byte* p = bytes(cursor.at_);
    const Byte* piece_end = bytes(cursor.end_);
    while (count < ends.size() && cursor.at_ < cursor.end_) {
      // The innermost piece that is not used up; what is inside it is cut anew.
      size_t depth = kOuter;
      while (depth > 0 && cursor.at_ >= cursor.piece_ends_[depth - 1]) --depth;
      for (; depth < kOuter; ++depth) {
        const char* limit = depth == 0 ? cursor.end_ : cursor.piece_ends_[depth - 1];
        cursor.piece_ends_[depth] = chars(kAll[depth](split_steps::Text(bytes(limit)), p));
      }
      if constexpr (kOuter > 0) piece_end = bytes(cursor.piece_ends_[kOuter - 1]);
      const split_steps::Text text(piece_end);
      constexpr split_steps::WindowStarts kStarts = starts_of<kSteps...>();
      while (count < ends.size() && p < piece_end) {
        if (kStarts != nullptr && split_steps::is_worth_a_window(p, piece_end)) {
          const Byte* const begin = p;
          uint64_t starts = kStarts(text, p, split_steps::window_at(p, piece_end, bytes(cursor.end_)));
          for (; starts != 0 && count < ends.size(); starts &= starts - 1) {
            p = begin + std::countr_zero(starts);
            ends[count++] = chars(p);
          }
          if (p > begin) continue;
        }
        p = last<kSteps...>(text, p);
        ends[count++] = chars(p);
      }
      cursor.at_ = chars(p);
    }
    return count;
  }

  /// The last of the steps, as a call that the compiler can see through.
  template <Step kFirst, Step... kRest>
  static const Byte* last(const split_steps::Text& text, const Byte* p) {
    if constexpr (sizeof...(kRest) == 0) {
      return kFirst(text, p);
    } else {
      return last<kRest...>(text, p);
    }
  }

  template <Step kFirst, Step... kRest>
  static constexpr split_steps::WindowStarts starts_of() {
    if constexpr (sizeof...(kRest) == 0) {
      return split_steps::kStartsOf<kFirst>;
    } else {
      return starts_of<kRest...>();
    }
  }

  static Fill fill_of(SplitPattern pattern) {
    using namespace split_steps;
    switch (pattern) {
      case SplitPattern::kGpt2:
        return fill<gpt2>;
      case SplitPattern::kGpt2Digits:
        return fill<digit_by_digit, gpt2>;
      case SplitPattern::kFalcon:
        return fill<punctuation_runs, gpt2, byte_digit_runs, three_digits>;
      case SplitPattern::kCl100k:
      case SplitPattern::kLlama3:
        return fill<cl100k<3, false>>;
      case SplitPattern::kQwen2:
        return fill<cl100k<1, false>>;
      case SplitPattern::kQwen35:
        return fill<cl100k<1, true>>;
      case SplitPattern::kO200k:
        return fill<o200k<3, true>>;
      case SplitPattern::kTekken:
        return fill<o200k<1, false>>;
      case SplitPattern::kDeepSeek3:
        return fill<numbers_by_three, han_and_kana, deepseek3_words>;
      case SplitPattern::kDeepSeekLlm:
        return fill<each_newline, spaced_cased_letters, spaced_signs, spaces_at_end, han_kana_hangul,
                    digit_by_digit>;
      case SplitPattern::kDeepSeekCoder:
        return fill<each_newline, spaced_class<kLetter>, spaced_class<kPunctuation>, han_kana_hangul,
                    digit_by_digit>;
      case SplitPattern::kBloom:
        return fill<bloom>;
      case SplitPattern::kSpaces:
        return fill<before_spaces<false>>;
      case SplitPattern::kSpacesDigits:
        return fill<before_spaces<false>, digit_by_digit>;
      case SplitPattern::kEachSpace:
        return fill<before_spaces<true>>;
      case SplitPattern::kNone:
        return fill<everything>;
    }
    throw std::invalid_argument("an unknown split pattern");
  }
};

WordCursor::WordCursor(SplitPattern pattern, std::string_view text)
    : at_(text.data()), end_(text.data() + text.size()), fill_(Access::fill_of(pattern)) {
  piece_ends_.fill(at_);
}

}  // namespace anneal
