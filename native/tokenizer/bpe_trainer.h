// Training of byte-level byte-pair encoding: words are counted while text comes in, then the most frequent
// pair of neighbouring units is merged again and again.
//
// Units: 0..255 are the bytes in the order of GPT-2's printable characters (byte_units.h), 256 + i is the
// result of merge i. Of equally frequent pairs the one with the smaller left unit, then the smaller right
// unit, comes first: the order of Hugging Face's BpeTrainer, whose ids follow the same alphabet. Counts are
// 64-bit. The result does not depend on the number of threads or on the order of the documents.
#pragma once

#include <atomic>
#include <cstdint>
#include <memory>
#include <string_view>
#include <vector>

#include "data/text_batch.h"
#include "tokenizer/split.h"

namespace anneal {

class BpeTrainer {
 public:
  BpeTrainer(SplitPattern pattern, int threads);
  ~BpeTrainer();
  BpeTrainer(const BpeTrainer&) = delete;
  BpeTrainer& operator=(const BpeTrainer&) = delete;

  /// Counts the words of these documents. Calls must not overlap.
  void feed(const TextBatch& documents);

  /// Up to `merges` merges, as left and right unit in turn; fewer when no pair occurs at least
  /// `min_frequency` times (and once). Stops early, with what it has, when `cancelled` becomes true.
  [[nodiscard]] std::vector<int32_t> train(int64_t merges, int64_t min_frequency,
                                           const std::atomic<bool>& cancelled);

 private:
  class WordCounts;

  SplitPattern pattern_;
  // One table a thread; they are added up in train().
  std::vector<std::unique_ptr<WordCounts>> counts_;
};

}  // namespace anneal
