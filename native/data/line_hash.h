// The hash by which equal lines of different documents are known.
#pragma once

#include <string_view>

#include "data/stable_hash.h"

namespace anneal {

/// Of the line without ASCII white space at both ends.
inline uint64_t line_hash(std::string_view line) {
  constexpr std::string_view kSpace = " \t\r\n\v\f";
  const size_t begin = line.find_first_not_of(kSpace);
  if (begin == std::string_view::npos) return stable_hash({});
  return stable_hash(line.substr(begin, line.find_last_not_of(kSpace) + 1 - begin));
}

}  // namespace anneal
