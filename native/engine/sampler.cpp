#include "engine/sampler.h"

#include <algorithm>
#include <cmath>
#include <stdexcept>
#include <string>

#include "engine/philox.h"

namespace anneal {

void validate(const SamplingOptions& o, int64_t vocab_size) {
  const auto require = [](bool ok, const char* message) {
    if (!ok) throw std::invalid_argument(std::string("sampling: ") + message);
  };
  require(o.max_new_tokens >= 1, "maxNewTokens must be at least 1");
  require(o.temperature >= 0.0f && std::isfinite(o.temperature), "temperature must be 0 (greedy) or above");
  require(o.top_k >= 0, "topK must be 0 (off) or above");
  require(o.top_p > 0.0f && o.top_p <= 1.0f, "topP must be above 0 and at most 1 (off)");
  require(o.min_p >= 0.0f && o.min_p <= 1.0f, "minP must be between 0 (off) and 1");
  require(o.repetition_penalty > 0.0f && std::isfinite(o.repetition_penalty),
          "repetitionPenalty must be above 0 (1: off)");
  for (int32_t token : o.stop_tokens) {
    require(token >= 0 && token < vocab_size, "stopTokens holds an id outside the vocabulary");
  }
}

Sampler::Sampler(const SamplingOptions& options, int64_t vocab_size, uint32_t sequence)
    : options_(&options),
      sequence_(sequence),
      seen_(options.repetition_penalty == 1.0f ? 0 : static_cast<size_t>(vocab_size), 0) {}

void Sampler::observe(int32_t token) {
  if (!seen_.empty()) seen_[static_cast<size_t>(token)] = 1;
}

void Sampler::keep_top_k() {
  const int64_t k = options_->top_k;
  if (k == 0 || k >= std::ssize(candidates_)) return;
  std::vector<Candidate> sorted(candidates_);
  std::nth_element(sorted.begin(), sorted.begin() + (k - 1), sorted.end(),
                   [](const Candidate& a, const Candidate& b) { return a.score > b.score; });
  const float threshold = sorted[static_cast<size_t>(k - 1)].score;
  std::erase_if(candidates_, [&](const Candidate& c) { return c.score < threshold; });
}

void Sampler::keep_top_p(float maximum) {
  if (options_->top_p >= 1.0f) return;
  double total = 0.0;
  for (const Candidate& c : candidates_) total += std::exp(c.score - maximum);
  const double wanted = static_cast<double>(options_->top_p) * total;
  // The likeliest tokens until their mass reaches top_p. Real distributions are steep: a small sorted head is
  // nearly always enough, and it grows only if not.
  const auto likelier = [](const Candidate& a, const Candidate& b) {
    return a.score != b.score ? a.score > b.score : a.token < b.token;
  };
  double mass = 0.0;
  for (int64_t sorted = 0, size = std::ssize(candidates_); sorted < size;) {
    const int64_t end = std::min(size, std::max<int64_t>(64, sorted * 4));
    std::partial_sort(candidates_.begin() + sorted, candidates_.begin() + end, candidates_.end(), likelier);
    for (; sorted < end; ++sorted) {
      if (mass >= wanted) {
        candidates_.resize(static_cast<size_t>(sorted));
        return;
      }
      mass += std::exp(candidates_[static_cast<size_t>(sorted)].score - maximum);
    }
  }
}

void Sampler::keep_min_p(float maximum) {
  if (options_->min_p <= 0.0f) return;
  const float threshold = maximum + std::log(options_->min_p);
  std::erase_if(candidates_, [&](const Candidate& c) { return c.score < threshold; });
}

Draw Sampler::draw(std::span<const float> logits, uint32_t position) {
  const float highest = *std::max_element(logits.begin(), logits.end());
  double sum = 0.0;
  for (float logit : logits) sum += std::exp(logit - highest);
  const double log_z = static_cast<double>(highest) + std::log(sum);

  candidates_.resize(logits.size());
  Candidate best{-INFINITY, 0};
  for (size_t i = 0; i < logits.size(); ++i) {
    float score = logits[i];
    if (!seen_.empty() && seen_[i] != 0) {
      score = score < 0.0f ? score * options_->repetition_penalty : score / options_->repetition_penalty;
    }
    candidates_[i] = {score, static_cast<int32_t>(i)};
    if (score > best.score) best = candidates_[i];
  }

  int32_t token = best.token;
  if (options_->temperature > 0.0f) {
    for (Candidate& c : candidates_) c.score /= options_->temperature;
    const float maximum = best.score / options_->temperature;
    keep_top_k();
    keep_top_p(maximum);
    keep_min_p(maximum);
    double total = 0.0;
    for (const Candidate& c : candidates_) total += std::exp(c.score - maximum);
    const PhiloxBlock bits = philox(options_->seed, {position, sequence_, 0, 0});
    double left = uniform(bits[0], bits[1]) * total;
    // Rounding may leave a remainder after the last candidate: the likeliest token stands in then.
    for (const Candidate& c : candidates_) {
      left -= std::exp(c.score - maximum);
      if (left < 0.0) {
        token = c.token;
        break;
      }
    }
  }
  observe(token);
  const double log_prob = static_cast<double>(logits[static_cast<size_t>(token)]) - log_z;
  return {token, static_cast<float>(log_prob)};
}

}  // namespace anneal
