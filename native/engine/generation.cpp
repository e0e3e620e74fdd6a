#include "engine/generation.h"

#include <cmath>
#include <stdexcept>
#include <string>

namespace anneal {
namespace {

void require(bool ok, const char* message) {
  if (!ok) throw std::invalid_argument(std::string("sampling: ") + message);
}

void validate(const SamplingOptions& o, int64_t vocab_size) {
  require(o.max_new_tokens >= 1, "maxNewTokens must be at least 1");
  require(o.temperature >= 0.0f && std::isfinite(o.temperature), "temperature must be 0 (greedy) or above");
  require(o.top_k >= 0, "topK must be 0 (off) or above");
  require(o.top_p > 0.0f && o.top_p <= 1.0f, "topP must be above 0 and at most 1 (off)");
  require(o.min_p >= 0.0f && o.min_p <= 1.0f, "minP must be between 0 (off) and 1");
  require(o.repetition_penalty > 0.0f && std::isfinite(o.repetition_penalty),
          "repetitionPenalty must be above 0 (1: off)");
  for (const int32_t token : o.stop_tokens) {
    require(token >= 0 && token < vocab_size, "stopTokens holds an id outside the vocabulary");
  }
}

}  // namespace

void validate(const GenerationRequest& request, const SessionOptions& options) {
  if (options.generation_slots == 0) {
    throw std::invalid_argument("the session was made without generation (generationSlots is 0)");
  }
  if (request.prompt.empty()) throw std::invalid_argument("the prompt is empty");
  if (std::ssize(request.prompt) >= options.generation_length) {
    throw std::invalid_argument("the prompt has " + std::to_string(request.prompt.size()) +
                                " tokens: with room for " + std::to_string(options.generation_length) +
                                " (generationLength) none is left for an answer");
  }
  for (const int32_t token : request.prompt) {
    if (token < 0 || token >= options.architecture.vocab_size) {
      throw std::invalid_argument("the prompt holds id " + std::to_string(token) + ", not in [0, " +
                                  std::to_string(options.architecture.vocab_size) + ") (vocabSize)");
    }
  }
  if (request.adapter < -1 || request.adapter >= std::ssize(options.adapters)) {
    throw std::invalid_argument("adapter is " + std::to_string(request.adapter) + "; the session has " +
                                std::to_string(options.adapters.size()));
  }
  if (request.samples < 1) throw std::invalid_argument("samples must be at least 1");
  validate(request.sampling, options.architecture.vocab_size);
}

}  // namespace anneal
