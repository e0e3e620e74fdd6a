// What a pair of neighbouring ids merges to: open addressing, at most half full, 8 bytes a slot. Most pairs
// that are asked for do not merge; nearly all of these are told by a bitmap, which is small enough for a
// core's own cache.
#pragma once

#include <algorithm>
#include <bit>
#include <cstdint>
#include <stdexcept>
#include <string>
#include <vector>

#include "tokenizer/huge_array.h"
#include "tokenizer/word_hash.h"

namespace anneal {

class MergeTable {
 public:
  static constexpr uint32_t kNoRank = UINT32_MAX;

  /// `merges`: left, right and resulting id in turn; earlier ones go first. Of two with one pair the later
  /// counts, as in Hugging Face `tokenizers`. Throws std::invalid_argument on ids that are negative or too
  /// large.
  explicit MergeTable(const std::vector<int32_t>& merges)
      : slots_(std::bit_ceil(std::max<size_t>(16, merges.size() / 3 * 2 + 1)), kFree),
        maybe_(std::bit_ceil(std::max<size_t>(64, merges.size() / 3 * 16)) / 64) {
    if (merges.size() % 3 != 0 || merges.size() / 3 >= kMaxMerges) {
      throw std::invalid_argument("merges are triples of ids, at most " + std::to_string(kMaxMerges) +
                                  ": got " + std::to_string(merges.size()) + " numbers");
    }
    for (size_t i = 0; i < merges.size(); i += 3) {
      for (size_t j = i; j < i + 3; ++j) {
        if (merges[j] < 0 || merges[j] >= kMaxId) {
          throw std::invalid_argument("merge " + std::to_string(i / 3) + " has the id " +
                                      std::to_string(merges[j]) + "; ids lie below " +
                                      std::to_string(kMaxId));
        }
      }
      const uint64_t pair = key(merges[i], merges[i + 1]);
      const uint64_t hash = hash_pair(pair);
      slots_[index(pair, hash)] = pair << kRankBits | (i / 3);
      maybe_[hash >> 38 & (maybe_.size() - 1)] |= uint64_t{1} << (hash >> 32 & 63);
      results_.push_back(merges[i + 2]);
    }
    first_result_ = results_.empty() ? 0 : results_[0];
    for (size_t i = 0; i < results_.size(); ++i) {
      in_order_ = in_order_ && results_[i] == first_result_ + static_cast<int32_t>(i);
    }
  }

  /// kNoRank when the pair is not merged.
  [[nodiscard]] uint32_t rank(int32_t left, int32_t right) const {
    const uint64_t pair = key(left, right);
    const uint64_t hash = hash_pair(pair);
    if ((maybe_[hash >> 38 & (maybe_.size() - 1)] >> (hash >> 32 & 63) & 1) == 0) return kNoRank;
    const uint64_t slot = slots_[index(pair, hash)];
    return slot == kFree ? kNoRank : static_cast<uint32_t>(slot & kMaxMerges);
  }
  [[nodiscard]] int32_t result(uint32_t rank) const {
    return in_order_ ? first_result_ + static_cast<int32_t>(rank) : results_[rank];
  }

 private:
  static constexpr int kIdBits = 20;
  static constexpr int kRankBits = 24;
  static constexpr int32_t kMaxId = int32_t{1} << kIdBits;
  static constexpr size_t kMaxMerges = (size_t{1} << kRankBits) - 1;
  static constexpr uint64_t kFree = UINT64_MAX;

  static uint64_t key(int32_t left, int32_t right) {
    return static_cast<uint64_t>(left) << kIdBits | static_cast<uint64_t>(right);
  }
  [[nodiscard]] size_t index(uint64_t pair, uint64_t hash) const {
    const size_t mask = slots_.size() - 1;
    size_t i = hash & mask;
    while (slots_[i] >> kRankBits != pair && slots_[i] != kFree) i = (i + 1) & mask;
    return i;
  }

  HugeArray<uint64_t> slots_;    // pair, then rank
  std::vector<uint64_t> maybe_;  // 16 bits for each merge
  std::vector<int32_t> results_;
  // Results are most often numbered in the order of the merges: then they need not be read.
  bool in_order_ = true;
  int32_t first_result_ = 0;
};

}  // namespace anneal
