// Characters of several bytes that byte-pair encoding makes one token of before it does anything else with
// their bytes, so that encoding may begin with that token. Exact: see whole_characters.cpp.
#pragma once

#include <cstdint>
#include <vector>

#include "tokenizer/merge_table.h"

namespace anneal {

/// Token by code point, -1 for characters that must begin as bytes. `merges` are those of the table,
/// `byte_ids` the ids of the byte values.
[[nodiscard]] std::vector<int32_t> whole_characters(const MergeTable& table,
                                                    const std::vector<int32_t>& merges,
                                                    const std::vector<int32_t>& byte_ids);

}  // namespace anneal
