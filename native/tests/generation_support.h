// Running generation to its end, for tests.
#pragma once

#include <map>
#include <utility>
#include <vector>

#include "engine/engine.h"

namespace anneal::test {

struct Completion {
  std::vector<int32_t> tokens;
  std::vector<float> log_probs;
  bool finished = false;
  Finish finish = Finish::kCancelled;
  bool operator==(const Completion&) const = default;
};

/// By request and sample.
using Completions = std::map<std::pair<int64_t, int32_t>, Completion>;

inline void book(Completions& completions, const std::vector<GenerationUpdate>& updates) {
  for (const GenerationUpdate& update : updates) {
    Completion& completion = completions[{update.request, update.sample}];
    if (update.token >= 0) {
      completion.tokens.push_back(update.token);
      completion.log_probs.push_back(update.log_prob);
    }
    if (update.finished) completion.finished = true, completion.finish = update.finish;
  }
}

/// Advances until every sample of `requests` has ended; ids from `first_id` on.
inline std::vector<Completion> generate(Engine& engine, const std::vector<GenerationRequest>& requests,
                                        int64_t first_id = 0) {
  size_t open = 0;
  for (size_t i = 0; i < requests.size(); ++i) {
    engine.submit_generation(first_id + static_cast<int64_t>(i), requests[i]);
    open += static_cast<size_t>(requests[i].samples);
  }
  Completions completions;
  while (open > 0) {
    const std::vector<GenerationUpdate> updates = engine.advance_generations();
    book(completions, updates);
    for (const GenerationUpdate& update : updates) open -= update.finished ? 1 : 0;
  }
  std::vector<Completion> all;
  for (auto& [key, completion] : completions) all.push_back(std::move(completion));
  return all;
}

}  // namespace anneal::test
