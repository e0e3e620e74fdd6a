// Cutting text into words before byte-pair encoding, as GPT-2, GPT-4 (cl100k) and Llama 3 do it.
//
// Each pattern is a hand-built scanner that gives the same words as the published regular expression does in
// Hugging Face `tokenizers`; the character classes \p{L}, \p{N} and \s come from unicode_tables.h. Words are
// never empty and cover the text without gaps. Text is UTF-8; a byte that is not part of a valid sequence
// counts as a character of its own that is neither letter, number nor space.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string_view>

namespace anneal {

/// The expressions behind the names:
///   kGpt2    's|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+
///   kCl100k  (?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}
///            | ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+
///   kLlama3  the same language as kCl100k; models name it apart.
enum class SplitPattern { kGpt2, kCl100k, kLlama3 };

/// Bytes of the first word of `text`; `text` must not be empty. Looks ahead, so `text` must reach to the end
/// of the document.
[[nodiscard]] size_t first_word_length(SplitPattern pattern, std::string_view text);

/// Calls visit(word) for each word of `text`, in order.
template <typename Visit>
void for_each_word(SplitPattern pattern, std::string_view text, Visit&& visit) {
  while (!text.empty()) {
    const size_t length = first_word_length(pattern, text);
    visit(text.substr(0, length));
    text.remove_prefix(length);
  }
}

}  // namespace anneal
