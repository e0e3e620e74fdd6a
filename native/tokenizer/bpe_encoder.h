// Text to token ids by byte-pair encoding: the pair of neighbours with the earliest merge is joined until no
// pair has one; of equal pairs the leftmost goes first.
//
// Work is done in the space of vocabulary ids, so that several merges may lead to the same token. Each thread
// keeps a cache of short words; long words use a heap, so no input takes more than O(n log n).
#pragma once

#include <cstdint>
#include <memory>
#include <mutex>
#include <string_view>
#include <vector>

#include "data/text_batch.h"
#include "tokenizer/split.h"

namespace anneal {

/// Ids of many documents end to end, and for each document the (exclusive) end of its ids.
struct EncodedBatch {
  std::vector<int32_t> ids;
  std::vector<double> ends;
};

class BpeEncoder {
 public:
  /// `merges`: left and right unit in turn, as BpeTrainer gives them. `ids[u]` is the vocabulary id of unit u
  /// (256 bytes in printable order, then one for each merge). Throws std::invalid_argument on sizes or units
  /// that do not fit.
  BpeEncoder(SplitPattern pattern, std::vector<int32_t> merges, std::vector<int32_t> ids, int threads);
  ~BpeEncoder();
  BpeEncoder(const BpeEncoder&) = delete;
  BpeEncoder& operator=(const BpeEncoder&) = delete;

  /// Ids of one text, on the calling thread. May be called while encode_batch runs.
  [[nodiscard]] std::vector<int32_t> encode(std::string_view text) const;

  /// Many documents on all threads.
  [[nodiscard]] EncodedBatch encode_batch(const TextBatch& documents) const;

 private:
  struct Slot;
  class WordCache;
  class MergeTable;

  void append(std::string_view text, WordCache& cache, std::vector<int32_t>& out) const;
  void merge_short(std::vector<int32_t>& word, std::vector<int32_t>& out) const;
  void merge_long(std::vector<int32_t>& word, std::vector<int32_t>& out) const;

  SplitPattern pattern_;
  std::unique_ptr<MergeTable> table_;
  std::vector<int32_t> byte_ids_;  // [256], by byte value
  // caches_[0] belongs to encode(), caches_[1 + t] to thread t of encode_batch().
  std::vector<std::unique_ptr<WordCache>> caches_;
  mutable std::mutex encode_mutex_;
  mutable std::mutex batch_mutex_;
};

}  // namespace anneal
