// Lines or paragraphs of a document, as deduplication compares and removes them.
//
// A line is compared without white space (ASCII) at its ends. A paragraph is a run of lines that are not
// blank, compared with every run of white space taken as one space. Their hashes are stored, so they must not
// change.
#pragma once

#include <algorithm>
#include <cstdint>
#include <cstring>
#include <string>
#include <string_view>

#include "data/line_hash.h"
#include "data/unicode.h"

namespace anneal {

enum class TextPart { kLine, kParagraph };

/// 0xFF or 0, so that loops over it are vectors.
inline unsigned char ascii_space(unsigned char c) {
  const bool space = (c == ' ') | (static_cast<unsigned char>(c - 9) < 5);
  return space ? 0xFF : 0;
}
inline bool is_ascii_space(char c) { return ascii_space(static_cast<unsigned char>(c)) != 0; }

/// Replaces `out` by the text without white space (ASCII) at its ends, and one space for every run of it
/// inside.
inline void collapse_space(std::string_view text, std::string& out) {
  constexpr size_t kBlock = 64;
  out.resize(text.size());
  const char* from = text.data();
  char* to = out.data();
  bool gap = false;
  for (size_t i = 0; i < text.size();) {
    size_t end = std::min(text.size(), i + kBlock);
    if (!gap && i + kBlock < text.size() && (to != out.data() || !is_ascii_space(from[i]))) {
      // A block without two white spaces in a row, its border included, is copied: a loop for vectors.
      unsigned char block[kBlock + 1], copy[kBlock];
      std::memcpy(block, from + i, kBlock + 1);
      unsigned char run = 0;
      for (size_t j = 0; j < kBlock; ++j) {
        const unsigned char space = ascii_space(block[j]);
        run = static_cast<unsigned char>(run | (space & ascii_space(block[j + 1])));
        copy[j] = space ? ' ' : block[j];
      }
      std::memcpy(to, copy, kBlock);
      if (!run) {
        to += kBlock;
        i = end;
        continue;
      }
    }
    for (; i < end; ++i) {
      if (is_ascii_space(from[i])) {
        gap = true;
        continue;
      }
      if (gap && to != out.data()) *to++ = ' ';
      gap = false;
      *to++ = from[i];
    }
  }
  out.resize(static_cast<size_t>(to - out.data()));
}

/// Calls visit(hash, begin, end) for each part with at least `min_characters` characters when collapsed; its
/// bytes reach to where the next part or the blank lines before it begin. `scratch` is memory of the caller.
template <typename Visit>
void for_each_text_part(std::string_view text, TextPart part, size_t min_characters, std::string& scratch,
                        const Visit& visit) {
  const auto end_part = [&](size_t begin, size_t end) {
    const std::string_view bytes = text.substr(begin, end - begin);
    collapse_space(bytes, scratch);
    if (scratch.empty() || count_characters(scratch) < min_characters) return;
    visit(part == TextPart::kLine ? line_hash(bytes) : stable_hash(scratch), begin, end);
  };
  size_t paragraph = std::string_view::npos;  // where the current one began
  for (size_t begin = 0; begin < text.size();) {
    const size_t found = text.find('\n', begin);
    const size_t end = found == std::string_view::npos ? text.size() : found + 1;
    if (part == TextPart::kLine) {
      end_part(begin, end);
    } else {
      bool blank = true;
      for (size_t at = begin; at < end && blank; ++at) blank = is_ascii_space(text[at]);
      if (blank && paragraph != std::string_view::npos) {
        end_part(paragraph, begin);
        paragraph = std::string_view::npos;
      } else if (!blank && paragraph == std::string_view::npos) {
        paragraph = begin;
      }
    }
    begin = end;
  }
  if (paragraph != std::string_view::npos) end_part(paragraph, text.size());
}

}  // namespace anneal
