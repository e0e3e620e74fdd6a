// Cutting text into words before byte-pair encoding, as the tokenizers of the model families do it.
//
// Each pattern is made of hand-built scanners (split_steps.h) that give the same words as the published
// regular expressions and pre-tokenizers do in Hugging Face `tokenizers`. Words are never empty and cover the
// text without gaps. Text is UTF-8; a byte that is not part of a valid sequence counts as a character of its
// own that is neither letter, mark, number, punctuation, symbol nor space.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <span>
#include <string_view>

namespace anneal {

/// The families; src/tokenizer/split_patterns.ts holds the expressions behind the names.
enum class SplitPattern {
  kGpt2,         // GPT-2, GPT-NeoX, Phi-1 and -2, OLMo 1
  kGpt2Digits,   // StarCoder, SmolLM: numbers digit by digit, then as GPT-2
  kFalcon,       // punctuation, GPT-2, numbers, those by three digits
  kCl100k,       // GPT-4, Phi-4, OLMo 2: numbers by three
  kLlama3,       // the same language as kCl100k; models name it apart
  kQwen2,        // cl100k with single digits
  kQwen35,       // the same, with marks as letters
  kO200k,        // GPT-4o, gpt-oss, Llama 4
  kTekken,       // Mistral's: o200k with single digits and without contractions
  kDeepSeek3,    // numbers by three, Han and kana, then words
  kDeepSeekLlm,  // DeepSeek LLM and V2: line breaks, letters with case, signs, scripts without spaces, digits
  kDeepSeekCoder,  // the same with all letters and punctuation
  kBloom,          // up to punctuation, with a space before
  kSpaces,         // SentencePiece's: before U+2581 that follows another character
  kSpacesDigits,   // the same, and each digit a word
  kEachSpace,      // before each U+2581
  kNone,           // the text is one word
};
/// The names in TypeScript, in the order above.
inline constexpr const char* kSplitPatternNames[] = {
    "gpt2",    "gpt2_digits", "falcon",        "cl100k",     "llama3",       "qwen2",
    "qwen3_5", "o200k",       "tekken",        "deepseek3",  "deepseek_llm", "deepseek_coder",
    "bloom",   "spaces",      "spaces_digits", "each_space", "none"};

/// Gives the words of a text in portions.
class WordCursor {
 public:
  WordCursor(SplitPattern pattern, std::string_view text);

  /// Writes the ends of the next words, as many as fit; 0 at the end of the text. A word begins where the one
  /// before it ended.
  size_t next(std::span<const char*> ends) { return fill_(*this, ends); }

  struct Access;

 private:
  using Fill = size_t (*)(WordCursor&, std::span<const char*>);
  static constexpr size_t kMaxSteps = 5;

  const char* at_;
  const char* end_;
  Fill fill_;
  // End of the piece that each step but the last is in.
  std::array<const char*, kMaxSteps> piece_ends_;
};

/// Calls visit(word) for each word of `text`, in order.
template <typename Visit>
void for_each_word(SplitPattern pattern, std::string_view text, Visit&& visit) {
  WordCursor cursor(pattern, text);
  std::array<const char*, 128> ends;
  const char* begin = text.data();
  while (const size_t count = cursor.next(ends)) {
    for (size_t i = 0; i < count; ++i) {
      visit(std::string_view(begin, static_cast<size_t>(ends[i] - begin)));
      begin = ends[i];
    }
  }
}

}  // namespace anneal
