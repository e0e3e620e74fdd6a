// What a session is made for: its model, its largest microbatch, its generation slots.
#pragma once

#include <algorithm>
#include <cstdint>
#include <vector>

#include "backend/backend.h"
#include "engine/optimizer_state.h"
#include "model/adapter.h"
#include "model/architecture.h"

namespace anneal {

/// Documented field by field in src/native/addon.ts.
struct SessionOptions {
  Architecture architecture;
  int threads = 1;
  bool trainable = false;  // the base; adapters say so themselves
  std::vector<AdapterOptions> adapters;
  int64_t max_tokens = 0;
  int64_t max_sequences = 0;
  int64_t max_scored = 0;
  int64_t max_targets = 0;  // 0: max_scored
  bool recompute = false;
  bool keep_logits = false;
  int64_t generation_slots = 0;
  int64_t generation_length = 0;
  int64_t generation_rows = 0;  // 0: generation_slots * generation_length
  OptimizerName optimizer = OptimizerName::kAdamW;

  [[nodiscard]] bool any_trainable() const {
    return trainable || std::ranges::any_of(adapters, &AdapterOptions::trainable);
  }
  /// Whether the base or an adapter has a scalar head.
  [[nodiscard]] bool any_score_head() const {
    return architecture.score_head || std::ranges::any_of(adapters, &AdapterOptions::score_head);
  }
  /// Rows of one pass of generation: one of each running sequence, and some of prompts. No more than compute
  /// each row by itself.
  [[nodiscard]] int64_t generation_pass_rows() const {
    if (generation_slots == 0) return 0;
    return std::min(kIndependentRows, std::max(max_tokens, generation_slots + kPageRows));
  }
  /// Pages of the key/value cache.
  [[nodiscard]] int64_t generation_pages() const {
    const int64_t pages_each = (generation_length + kPageRows - 1) / kPageRows;
    return generation_rows > 0 ? (generation_rows + kPageRows - 1) / kPageRows
                               : generation_slots * pages_each;
  }
  /// Rows of logits that generation holds at once.
  [[nodiscard]] int64_t generation_head_rows() const {
    constexpr int64_t kMost = 128;
    return std::min(generation_slots, kMost);
  }
  /// Scored rows whose logits a forward keeps for its backward.
  [[nodiscard]] int64_t kept_logit_rows() const {
    constexpr int64_t kMostFloats = int64_t{1} << 26;
    return keep_logits && any_trainable() ? std::min(max_scored, kMostFloats / architecture.vocab_size) : 0;
  }
  /// Rows that the activations of one pass hold.
  [[nodiscard]] int64_t max_rows() const { return std::max(max_tokens, generation_pass_rows()); }
  [[nodiscard]] int64_t target_capacity() const { return max_targets > 0 ? max_targets : max_scored; }
  /// Rows whose final hidden state is needed at once.
  [[nodiscard]] int64_t max_head_rows() const { return std::max(max_scored, generation_head_rows()); }
};

/// Throws std::invalid_argument that names the field.
void validate(const SessionOptions& options);

}  // namespace anneal
