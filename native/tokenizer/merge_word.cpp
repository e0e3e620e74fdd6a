#include "tokenizer/merge_word.h"

#include <algorithm>
#include <bit>
#include <type_traits>

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "tokenizer/merge_word.cpp"
#include <hwy/foreach_target.h>
#include <hwy/highway.h>

HWY_BEFORE_NAMESPACE();
namespace anneal::HWY_NAMESPACE {

namespace hn = hwy::HWY_NAMESPACE;

using Keys = hn::CappedTag<uint32_t, 16>;

/// The keys of up to kVectors vectors of pairs, in registers: a store of one key would hold up the load of
/// all.
template <size_t kVectors>
size_t merge_units(const MergeTable& table, int32_t* ids, const uint32_t* keys, size_t length) {
  const Keys d;
  const size_t lanes = hn::Lanes(d);
  hn::Vec<Keys> vectors[kVectors];
  for (size_t v = 0; v < kVectors; ++v) vectors[v] = hn::Load(d, keys + v * lanes);
  const auto set = [&](size_t place, uint32_t key) HWY_ATTR {
    const auto wanted = hn::Set(d, static_cast<uint32_t>(place));
    for (size_t v = 0; v < kVectors; ++v) {
      const auto here = hn::Eq(hn::Iota(d, static_cast<uint32_t>(v * lanes)), wanted);
      vectors[v] = hn::IfThenElse(here, hn::Set(d, key), vectors[v]);
    }
  };
  constexpr uint32_t kNone = UINT32_MAX;
  // Units stay where they are; a bit for each that was not merged away, and one for the end.
  uint64_t there = (uint64_t{2} << length) - 1;
  while (true) {
    auto smallest = vectors[0];
    for (size_t v = 1; v < kVectors; ++v) smallest = hn::Min(smallest, vectors[v]);
    const uint32_t key = hn::GetLane(hn::MinOfLanes(d, smallest));
    const uint32_t rank = key >> 8;
    if (rank == kNone >> 8) break;
    const size_t best = key & 0xFF;
    const uint64_t behind = there & ~uint64_t{1} << best;
    const size_t gone = static_cast<size_t>(std::countr_zero(behind));
    const size_t after = static_cast<size_t>(std::countr_zero(behind & (behind - 1)));
    const uint64_t before = there & ((uint64_t{1} << best) - 1);
    there ^= uint64_t{1} << gone;
    const int32_t id = table.result(rank);
    ids[best] = id;
    set(gone, kNone);
    set(best, after < length ? PairKeys::key(table.rank(id, ids[after]), best) : kNone);
    if (before != 0) {
      const size_t previous = static_cast<size_t>(std::bit_width(before)) - 1;
      set(previous, PairKeys::key(table.rank(ids[previous], id), previous));
    }
  }
  size_t kept = 0;
  for (there ^= uint64_t{1} << length; there != 0; there &= there - 1)
    ids[kept++] = ids[std::countr_zero(there)];
  return kept;
}

size_t merge_in_vectors(const MergeTable& table, int32_t* ids, uint32_t* keys, size_t length) {
  constexpr size_t kLanes = hn::MaxLanes(Keys());
  const auto in_vectors_of = [&]<size_t kPairs>(std::integral_constant<size_t, kPairs>) {
    std::fill(keys + length - 1, keys + kPairs, UINT32_MAX);
    return merge_units<kPairs / kLanes>(table, ids, keys, length);
  };
  if (length <= 16) return in_vectors_of(std::integral_constant<size_t, 16>());
  if (length <= 32) return in_vectors_of(std::integral_constant<size_t, 32>());
  return in_vectors_of(std::integral_constant<size_t, 64>());
}

}  // namespace anneal::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace anneal {

HWY_EXPORT(merge_in_vectors);

size_t merge_word(const MergeTable& table, int32_t* ids, PairKeys& keys, size_t length) {
  return length < 2 ? length : HWY_DYNAMIC_DISPATCH(merge_in_vectors)(table, ids, keys.of, length);
}

}  // namespace anneal
#endif
