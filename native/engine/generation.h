// What is asked of generation, and what comes back. Fields as in src/native/addon.ts.
#pragma once

#include <cstdint>
#include <memory>
#include <vector>

#include "engine/constraint.h"
#include "engine/options.h"

namespace anneal {

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

struct GenerationRequest {
  std::vector<int32_t> prompt;
  int32_t samples = 1;
  SamplingOptions sampling;
  int32_t adapter = -1;                         // -1: the base alone
  std::shared_ptr<const Automaton> constraint;  // null: none
};

enum class Finish { kStop, kLength, kCancelled };

/// Something that happened to one sample: a token was drawn, or it ended, or both.
struct GenerationUpdate {
  int64_t request = 0;
  int32_t sample = 0;
  int32_t token = -1;  // -1: none
  float log_prob = 0.0f;
  bool finished = false;
  Finish finish = Finish::kStop;
};

/// Throws std::invalid_argument that says what is wrong.
void validate(const GenerationRequest& request, const SessionOptions& options);

}  // namespace anneal
