// Lines or paragraphs of a document, as deduplication compares and removes them.
//
// A line is compared without white space (ASCII) at its ends. A paragraph is a run of lines that are not
// blank, compared with every run of white space taken as one space. Their hashes are stored, so they must not
// change.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>

#include "data/line_hash.h"
#include "data/unicode.h"

namespace anneal {

enum class TextPart { kLine, kParagraph };

inline bool is_ascii_space(char c) { return c == ' ' || (c >= '\t' && c <= '\r'); }

/// Replaces `out` by the text without white space (ASCII) at its ends, and one space for every run of it
/// inside.
inline void collapse_space(std::string_view text, std::string& out) {
  out.clear();
  bool gap = false;
  for (const char c : text) {
    if (is_ascii_space(c)) {
      gap = true;
      continue;
    }
    if (gap && !out.empty()) out.push_back(' ');
    gap = false;
    out.push_back(c);
  }
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
