#include "tokenizer/merge_word.h"

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "tokenizer/merge_word.cpp"
#include <hwy/foreach_target.h>
#include <hwy/highway.h>

HWY_BEFORE_NAMESPACE();
namespace anneal::HWY_NAMESPACE {

namespace hn = hwy::HWY_NAMESPACE;

// Units stay where they are, linked to their neighbours: one that was merged away has no rank.
size_t merge_units(const MergeTable& table, int32_t* ids, uint32_t* ranks, size_t length) {
  const hn::CappedTag<uint32_t, 16> d;
  const size_t lanes = hn::Lanes(d);
  uint8_t next[kMaxMergedWord];
  uint8_t previous[kMaxMergedWord];
  for (size_t i = 0; i < length; ++i) {
    next[i] = static_cast<uint8_t>(i + 1);
    previous[i] = static_cast<uint8_t>(i - 1);
  }
  size_t padded = length - 1;
  do {
    ranks[padded++] = MergeTable::kNoRank;
  } while (padded % lanes != 0);
  while (true) {
    auto smallest = hn::Load(d, ranks);
    for (size_t i = lanes; i < padded; i += lanes) smallest = hn::Min(smallest, hn::Load(d, ranks + i));
    const uint32_t rank = hn::GetLane(hn::MinOfLanes(d, smallest));
    if (rank == MergeTable::kNoRank) break;
    const auto wanted = hn::Set(d, rank);
    size_t best = 0;
    for (;; best += lanes) {
      const auto found = hn::FindFirstTrue(d, hn::Eq(hn::Load(d, ranks + best), wanted));
      if (found < 0) continue;
      best += static_cast<size_t>(found);
      break;
    }
    const size_t gone = next[best];
    const size_t after = next[gone];
    const int32_t id = table.result(rank);
    ids[best] = id;
    next[best] = static_cast<uint8_t>(after);
    ranks[gone] = MergeTable::kNoRank;
    ranks[best] = MergeTable::kNoRank;
    if (after < length) {
      previous[after] = static_cast<uint8_t>(best);
      ranks[best] = table.rank(id, ids[after]);
    }
    if (best > 0) ranks[previous[best]] = table.rank(ids[previous[best]], id);
  }
  size_t kept = 0;
  for (size_t i = 0; i < length; i = next[i]) ids[kept++] = ids[i];
  return kept;
}

}  // namespace anneal::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace anneal {

HWY_EXPORT(merge_units);

size_t merge_word(const MergeTable& table, int32_t* ids, PairRanks& ranks, size_t length) {
  return length < 2 ? length : HWY_DYNAMIC_DISPATCH(merge_units)(table, ids, ranks.of, length);
}

}  // namespace anneal
#endif
