// Words of a text as a list, for tests.
#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "tokenizer/split.h"

namespace anneal {

using Words = std::vector<std::string>;

inline Words split(SplitPattern pattern, std::string_view text) {
  Words words;
  for_each_word(pattern, text, [&](std::string_view word) { words.emplace_back(word); });
  return words;
}

constexpr SplitPattern kPatterns[] = {SplitPattern::kGpt2, SplitPattern::kCl100k, SplitPattern::kLlama3};

}  // namespace anneal
