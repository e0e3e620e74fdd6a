// Training of byte-pair encoding: words are counted while text comes in, then merges are found
// (bpe_merges.h).
//
// Units over bytes: 0..255 are the bytes in the order of GPT-2's printable characters (byte_units.h), 256 + i
// is the result of merge i. Units over characters: 0 is what is not of the alphabet and never merged, then
// the alphabet by code point, then results. So merges and ties are those of Hugging Face's BpeTrainer, whose
// ids follow the same alphabets. Counts are 64-bit. The result does not depend on the number of threads or on
// the order of the documents; with a bound on the number of words it may depend on the order.
#pragma once

#include <atomic>
#include <cstdint>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "data/text_batch.h"
#include "tokenizer/alphabet.h"
#include "tokenizer/bpe_merges.h"
#include "tokenizer/bpe_model.h"
#include "tokenizer/split.h"
#include "tokenizer/word_counts.h"

namespace anneal {

struct TrainerOptions {
  SplitPattern pattern = SplitPattern::kGpt2;
  int threads = 1;
  /// Distinct words that are kept, about; 0: all.
  uint64_t max_words = 0;
  /// Text is brought into Unicode's form C first.
  bool nfc = false;
  /// Takes the place of U+0020; empty: it stays.
  std::string space = {};
  /// Put before a text that is not empty.
  std::string prefix = {};
};

/// What was counted so far.
struct WordTotals {
  uint64_t distinct = 0;
  /// Rare words were dropped this many times; words with fewer occurrences than `dropped_below` since the
  /// time before were.
  uint64_t prunings = 0;
  uint64_t dropped_below = 0;
};

/// A vocabulary that training goes on from: words are encoded with it first, units are its ids, and merges
/// make new ones from `first_result` on.
struct BaseVocabulary {
  /// With the text of all tokens: a pair that would make one of them again is passed over.
  BpeModelParts model;
  int32_t first_result = 0;
};

struct TrainOptions {
  int64_t merges = 0;
  /// Pairs that occur less often (or never) are not merged.
  int64_t min_frequency = 0;
  /// Words that occur less often are left out.
  uint64_t min_word_count = 0;
  /// Tokens that no merge may make.
  TextBatch taken = {};
  /// At most one of the two; `alphabet`: characters in the place of bytes, as code points in rising order.
  const BaseVocabulary* base = nullptr;
  const std::vector<uint32_t>* alphabet = nullptr;
};

class BpeTrainer {
 public:
  explicit BpeTrainer(const TrainerOptions& options);
  BpeTrainer(const BpeTrainer&) = delete;
  BpeTrainer& operator=(const BpeTrainer&) = delete;

  /// Counts the words of these documents. Calls must not overlap.
  void feed(const TextBatch& documents);

  [[nodiscard]] WordTotals totals();

  /// Characters of the words that were counted, to train with.
  [[nodiscard]] std::vector<uint32_t> alphabet(const AlphabetOptions& options);

  /// Left and right unit of each merge in turn; fewer than wanted where no pair is frequent enough. Uses up
  /// what was counted. Stops early, with what it has, when `cancelled` becomes true.
  [[nodiscard]] std::vector<int32_t> train(const TrainOptions& options, const std::atomic<bool>& cancelled);

 private:
  struct NewTokens;

  [[nodiscard]] std::string_view prepared(std::string_view text, std::string& composed,
                                          std::string& replaced) const;
  [[nodiscard]] std::vector<int32_t> train_on(const BaseVocabulary& base, MergeSearch& search,
                                              NewTokens& tokens, const std::atomic<bool>& cancelled);
  [[nodiscard]] std::vector<int32_t> train_over(const std::vector<uint32_t>& alphabet, MergeSearch& search,
                                                NewTokens& tokens, const std::atomic<bool>& cancelled);
  void gather();
  void prune();

  TrainerOptions options_;
  std::vector<std::unique_ptr<WordCounts>> counts_;  // one a thread; gather() adds them to the first
  uint64_t bytes_since_prune_ = 0;
  WordTotals totals_;
};

}  // namespace anneal
