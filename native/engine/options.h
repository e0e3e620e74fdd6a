// What a session is made for: its model, its largest microbatch, its generation slots.
#pragma once

#include <algorithm>
#include <cstdint>
#include <vector>

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
  int64_t generation_slots = 0;
  int64_t generation_length = 0;
  OptimizerName optimizer = OptimizerName::kAdamW;

  [[nodiscard]] bool any_trainable() const {
    return trainable || std::ranges::any_of(adapters, &AdapterOptions::trainable);
  }
  /// Whether the base or an adapter has a scalar head.
  [[nodiscard]] bool any_score_head() const {
    return architecture.score_head || std::ranges::any_of(adapters, &AdapterOptions::score_head);
  }
  /// Rows that the activations of one pass hold: a microbatch, or one token of each running sequence.
  [[nodiscard]] int64_t max_rows() const {
    return max_tokens > generation_slots ? max_tokens : generation_slots;
  }
  [[nodiscard]] int64_t target_capacity() const { return max_targets > 0 ? max_targets : max_scored; }
  /// Rows whose final hidden state is needed at once.
  [[nodiscard]] int64_t max_head_rows() const {
    return max_scored > generation_slots ? max_scored : generation_slots;
  }
};

/// Throws std::invalid_argument that names the field.
void validate(const SessionOptions& options);

}  // namespace anneal
