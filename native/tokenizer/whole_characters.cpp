// Why a character may begin as its token. While its bytes are not all merged, the next of its own merges can
// be made, and that has a rank of at most R, the highest that the character alone needs. Another merge could
// come between only if it joined a piece at the character's start with what stands before it, or one at its
// end with what stands after, by a rank below R. Where no merge of the vocabulary does so, whatever the
// neighbours are, the character becomes whole first.
#include "tokenizer/whole_characters.h"

#include <algorithm>
#include <array>
#include <string>

#include "data/utf8.h"
#include "tokenizer/char_classes.h"

namespace anneal {
namespace {

/// The lowest rank by which a token is joined with what stands outside a character that it begins or ends.
struct OuterRanks {
  std::vector<uint32_t> before, after;
};

OuterRanks outer_ranks(const std::vector<int32_t>& merges, const std::vector<int32_t>& byte_ids) {
  const size_t size =
      static_cast<size_t>(std::max(*std::max_element(byte_ids.begin(), byte_ids.end()),
                                   merges.empty() ? 0 : *std::max_element(merges.begin(), merges.end()))) +
      1;
  // Whether a token begins in the middle of a character; a result begins as its left part does.
  std::vector<uint8_t> continues(size);
  for (size_t byte = 0x80; byte < 0xC0; ++byte) continues[static_cast<size_t>(byte_ids[byte])] = 1;
  const auto at = [&](size_t i) { return static_cast<size_t>(merges[i]); };
  // Parts may come after their results: what is not known to continue counts as if it did not, which is the
  // safe side.
  for (size_t i = 0; i < merges.size(); i += 3) continues[at(i + 2)] = continues[at(i)];
  OuterRanks ranks{std::vector<uint32_t>(size, MergeTable::kNoRank),
                   std::vector<uint32_t>(size, MergeTable::kNoRank)};
  for (size_t i = 0; i < merges.size(); i += 3) {
    const auto rank = static_cast<uint32_t>(i / 3);
    ranks.before[at(i + 1)] = std::min(ranks.before[at(i + 1)], rank);
    if (continues[at(i + 1)] == 0) ranks.after[at(i)] = std::min(ranks.after[at(i)], rank);
  }
  return ranks;
}

}  // namespace

std::vector<int32_t> whole_characters(const MergeTable& table, const std::vector<int32_t>& merges,
                                      const std::vector<int32_t>& byte_ids) {
  const OuterRanks outer = outer_ranks(merges, byte_ids);
  std::vector<int32_t> tokens(kCodePoints + 1, -1);
  std::string bytes;
  for (uint32_t point = 0x80; point < kCodePoints; ++point) {
    if (point == 0xD800) point = 0xE000;
    bytes.clear();
    append_utf8(point, bytes);
    size_t length = bytes.size();
    std::array<int32_t, 4> ids{};
    for (size_t i = 0; i < length; ++i) ids[i] = byte_ids[static_cast<Byte>(bytes[i])];
    uint32_t highest = 0;                         // of the ranks that the character needs
    uint32_t lowest_outer = MergeTable::kNoRank;  // of those that could come between
    while (length > 1) {
      lowest_outer = std::min({lowest_outer, outer.before[static_cast<size_t>(ids[0])],
                               outer.after[static_cast<size_t>(ids[length - 1])]});
      size_t best = 0;
      uint32_t rank = MergeTable::kNoRank;
      for (size_t i = 0; i + 1 < length; ++i) {
        const uint32_t found = table.rank(ids[i], ids[i + 1]);
        if (found < rank) {
          rank = found;
          best = i;
        }
      }
      if (rank == MergeTable::kNoRank) break;
      highest = std::max(highest, rank);
      ids[best] = table.result(rank);
      for (size_t i = best + 2; i < ids.size(); ++i) ids[i - 1] = ids[i];
      --length;
    }
    if (length == 1 && highest < lowest_outer) tokens[point] = ids[0];
  }
  return tokens;
}

}  // namespace anneal
