// Text to token ids, as Hugging Face `tokenizers` goes about it: added tokens are found, what stands between
// them is normalized, cut into words (split.h), and each word encoded by byte-pair encoding (bpe_model.h).
// Each thread keeps the ids of words that it saw (word_cache.h).
#pragma once

#include <cstdint>
#include <memory>
#include <mutex>
#include <string>
#include <string_view>
#include <vector>

#include "data/text_batch.h"
#include "tokenizer/added_tokens.h"
#include "tokenizer/bpe_model.h"
#include "tokenizer/split.h"

namespace anneal {

/// What is put before a stretch of text, unless it begins so already.
enum class PrefixRule { kNever, kFirst /* of a text */, kAlways };

struct BpeEncoderOptions {
  SplitPattern pattern = SplitPattern::kGpt2;
  BpeModelParts model;
  std::vector<AddedToken> added;

  // Normalization, in this order.
  bool nfc = false;
  std::string prepend;  // before each stretch of text that is not empty
  std::string space;    // in the place of U+0020; empty: it stays

  // After normalized added tokens were found.
  std::string late_space;  // as `space`
  std::string prefix;
  PrefixRule prefix_rule = PrefixRule::kNever;

  int threads = 1;
};

/// Ids of many documents end to end, and for each document the (exclusive) end of its ids.
struct EncodedBatch {
  std::vector<int32_t> ids;
  std::vector<double> ends;
};

class BpeEncoder {
 public:
  /// Throws std::invalid_argument on options that do not fit.
  explicit BpeEncoder(BpeEncoderOptions options);
  ~BpeEncoder();
  BpeEncoder(const BpeEncoder&) = delete;
  BpeEncoder& operator=(const BpeEncoder&) = delete;

  /// Ids of one text, on the calling thread. May be called while encode_batch runs. Without specials, special
  /// tokens inside the text are text.
  [[nodiscard]] std::vector<int32_t> encode(std::string_view text, bool with_specials) const;

  /// Many documents on all threads.
  [[nodiscard]] EncodedBatch encode_batch(const TextBatchView& documents, bool with_specials) const;

 private:
  struct Worker;

  Worker& worker(size_t i) const;
  void append(std::string_view text, bool with_specials, Worker& worker) const;
  void append_normalized(std::string_view text, bool is_first, bool with_specials, Worker& worker) const;
  void append_words(std::string_view text, Worker& worker) const;
  std::string_view normalized(std::string_view text, Worker& worker) const;

  BpeEncoderOptions options_;
  BpeModel model_;
  AddedTokens raw_added_;
  std::unique_ptr<AddedTokens> normalized_added_;
  // workers_[0] belongs to encode(), workers_[1 + t] to thread t of encode_batch(); each is made on first
  // use.
  mutable std::vector<std::unique_ptr<Worker>> workers_;
  mutable std::mutex encode_mutex_;
  mutable std::mutex batch_mutex_;
};

}  // namespace anneal
