// Draws a token from logits. Filters and their order are those of transformers: repetition penalty,
// temperature, top-k, top-p, min-p.
#pragma once

#include <cstdint>
#include <span>
#include <vector>

namespace anneal {

/// Fields as in src/native/addon.ts.
struct SamplingOptions {
  int64_t max_new_tokens = 0;
  float temperature = 0.0f;
  int64_t top_k = 0;
  float top_p = 1.0f;
  float min_p = 0.0f;
  float repetition_penalty = 1.0f;
  uint64_t seed = 0;
  std::vector<int32_t> stop_tokens;
};

/// Throws std::invalid_argument that names the field.
void validate(const SamplingOptions& options, int64_t vocab_size);

struct Draw {
  int32_t token;
  float log_prob;  // under the unmodified distribution
};

/// One sequence's sampler: remembers which tokens have occurred, and owns its scratch memory.
class Sampler {
 public:
  /// `sequence` is the index of the prompt in its request: with the seed and the position it selects the
  /// random number, so that a draw does not depend on what else runs.
  Sampler(const SamplingOptions& options, int64_t vocab_size, uint32_t sequence);

  /// Marks a token as seen, for the repetition penalty.
  void observe(int32_t token);
  /// Draws new token number `position` (from 0) and observes it.
  Draw draw(std::span<const float> logits, uint32_t position);

 private:
  struct Candidate {
    float score;
    int32_t token;
  };
  void keep_top_k();
  void keep_top_p(float maximum);
  void keep_min_p(float maximum);

  const SamplingOptions* options_;  // outlives the sampler
  uint32_t sequence_;
  std::vector<uint8_t> seen_;  // [V], empty without a penalty
  std::vector<Candidate> candidates_;
};

}  // namespace anneal
