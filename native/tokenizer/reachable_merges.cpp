// Why others can be left out. Say that in some word a merge joins two tokens, and look at the stretch of the
// word that they make up. Until then no merge has crossed its borders, so each that was made inside was the
// first of those inside as well: the stretch alone goes the same way, and its last merge is this one. So of
// all merges that lead to a token, only the last one that the token's own units go through is ever made; to
// leave out pairs that are never the first to be merged changes nothing else.
#include "tokenizer/reachable_merges.h"

#include <algorithm>

#include "tokenizer/merge_table.h"

namespace anneal {
namespace {

/// Longer tokens keep all their merges: they are few.
constexpr size_t kMaxUnits = 32;

using Ids = std::vector<int32_t>;

/// What each id is made of, as far as known; empty altogether where an id is made of different units.
std::vector<Ids> units_of(const Ids& merges, const Ids& units, size_t ids) {
  std::vector<Ids> made(ids);
  for (const int32_t unit : units) made[static_cast<size_t>(unit)] = {unit};
  // A part may be the result of a later merge.
  std::vector<bool> done(merges.size() / 3);
  for (bool any = true; any;) {
    any = false;
    for (size_t i = 0; i < done.size(); ++i) {
      if (done[i]) continue;
      const Ids& left = made[static_cast<size_t>(merges[3 * i])];
      const Ids& right = made[static_cast<size_t>(merges[3 * i + 1])];
      if (left.empty() || right.empty()) continue;
      done[i] = any = true;
      Ids& result = made[static_cast<size_t>(merges[3 * i + 2])];
      if (result.empty()) {
        Ids joined = left;
        joined.insert(joined.end(), right.begin(), right.end());
        result = std::move(joined);
      } else if (result.size() != left.size() + right.size() ||
                 !std::equal(left.begin(), left.end(), result.begin()) ||
                 !std::equal(right.rbegin(), right.rend(), result.rbegin())) {
        return {};
      }
    }
  }
  return made;
}

/// The last merge that makes one token of these units; kNoRank when there is none.
uint32_t last_merge(const MergeTable& table, Ids ids) {
  uint32_t last = MergeTable::kNoRank;
  while (ids.size() > 1) {
    size_t best = 0;
    last = MergeTable::kNoRank;
    for (size_t i = 0; i + 1 < ids.size(); ++i) {
      const uint32_t rank = table.rank(ids[i], ids[i + 1]);
      if (rank < last) {
        last = rank;
        best = i;
      }
    }
    if (last == MergeTable::kNoRank) break;
    ids[best] = table.result(last);
    ids.erase(ids.begin() + static_cast<ptrdiff_t>(best) + 1);
  }
  return last;
}

}  // namespace

std::vector<int32_t> reachable_merges(std::vector<int32_t> merges, const std::vector<int32_t>& units) {
  Ids results;
  for (size_t i = 2; i < merges.size(); i += 3) results.push_back(merges[i]);
  std::sort(results.begin(), results.end());
  if (std::adjacent_find(results.begin(), results.end()) == results.end()) return merges;

  const MergeTable table(merges);
  const auto last_id = static_cast<size_t>(std::max(*std::max_element(merges.begin(), merges.end()),
                                                    *std::max_element(units.begin(), units.end())));
  const std::vector<Ids> made = units_of(merges, units, last_id + 1);
  if (made.empty()) return merges;
  std::vector<uint32_t> only(made.size());
  for (size_t id = 0; id < made.size(); ++id) {
    if (made[id].size() <= kMaxUnits) only[id] = last_merge(table, made[id]);
  }
  Ids reachable;
  for (size_t i = 0; i < merges.size(); i += 3) {
    const auto id = static_cast<size_t>(merges[i + 2]);
    if (made[id].size() > kMaxUnits || only[id] == i / 3) {
      for (size_t j = i; j < i + 3; ++j) reachable.push_back(merges[j]);
    }
  }
  return reachable;
}

}  // namespace anneal
