// The merges that some text leads to: files often hold several for a token, of which one is ever made.
#pragma once

#include <cstdint>
#include <vector>

namespace anneal {

/// `merges` (left, right and resulting id in turn; earlier ones go first) without those that are never made,
/// in their order: every word has the same ids by either. `units`: the ids that words start from. Gives all
/// of them where several texts have one id. Throws as MergeTable does.
[[nodiscard]] std::vector<int32_t> reachable_merges(std::vector<int32_t> merges,
                                                    const std::vector<int32_t>& units);

}  // namespace anneal
