// Spaces written as another text, as SentencePiece writes them (U+2581).
#pragma once

#include <string>
#include <string_view>

namespace anneal {

/// Appends `text` to `out` with `space` in the place of each U+0020.
inline void append_with_spaces(std::string_view text, std::string_view space, std::string& out) {
  for (size_t at = 0;;) {
    const size_t found = text.find(' ', at);
    out.append(text.substr(at, found - at));
    if (found == std::string_view::npos) return;
    out.append(space);
    at = found + 1;
  }
}

}  // namespace anneal
