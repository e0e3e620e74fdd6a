// Unicode's normalization form C, by the version of Unicode that Hugging Face `tokenizers` follows.
#pragma once

#include <string>
#include <string_view>

namespace anneal {

/// The text in form C: `text` itself where it is so already, else a view of `out`. Bytes that are not UTF-8
/// stay, and nothing composes across them.
[[nodiscard]] std::string_view to_nfc(std::string_view text, std::string& out);

}  // namespace anneal
