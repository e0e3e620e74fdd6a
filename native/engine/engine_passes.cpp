// The engine's passes over batches: forward, backward, both in one, logits, generation.
#include <algorithm>
#include <stdexcept>

#include "engine/engine.h"

namespace anneal {
namespace {

void check_size(const char* what, size_t size, size_t expected) {
  if (size != expected) {
    throw std::invalid_argument(std::string(what) + " has " + std::to_string(size) + " elements for " +
                                std::to_string(expected) + " numbers of the forward");
  }
}

}  // namespace

BatchLayout Engine::layout() const {
  return {batch_.num_tokens(), batch_.num_sequences(), batch_.cu_seqlens.data(), batch_.prefix.data(),
          activations_.positions};
}

void Engine::run_layers(Batch&& batch) {
  const std::vector<int32_t> positions = validate(batch, options_);
  pending_ = false;
  batch_ = std::move(batch);
  use_adapter(batch_.adapter, batch_.dropout_seed);
  const auto upload = [&](int32_t* to, const std::vector<int32_t>& from) {
    backend_->copy_to_device(to, from.data(), from.size() * sizeof(int32_t));
  };
  upload(activations_.tokens, batch_.tokens);
  upload(activations_.positions, positions);
  upload(activations_.scored, batch_.scored);
  upload(activations_.targets, batch_.targets);
  decoder_.forward(layout());
  if (!batch_.scored.empty()) decoder_.final_norm(std::ssize(batch_.scored));
}

LmHead Engine::lm_head() const {
  LmHead head = decoder_.lm_head();
  head.targets_per_row = batch_.targets_per_row;
  head.temperature = batch_.temperature;
  if (!decoder_.weights().trained.empty()) {
    head.kept_logits = scratch_.kept_logits;
    head.kept_rows = options_.kept_logit_rows();
  }
  return head;
}

void Engine::require_backward(const char* call) const {
  if (decoder_.weights().trained.empty()) {
    throw std::invalid_argument(std::string(call) + ": nothing that the pass uses is trainable");
  }
}

void Engine::mark_gradients() const {
  for (ParameterSet* set : decoder_.weights().trained) set->mark_gradients();
}

Scores Engine::read_scores() {
  Scores scores;
  const auto read = [&](std::vector<float>& to, const float* from, size_t count) {
    to.resize(count);
    backend_->copy_to_host(to.data(), from, count * sizeof(float));
  };
  if (batch_.has_tokens()) {
    const HeadScores& head = activations_.head;
    read(scores.log_probs, head.log_prob, batch_.targets.size());
    read(scores.hits, head.hit, batch_.targets.size());
    read(scores.entropies, head.entropy, batch_.scored.size());
    read(scores.log_z, head.log_z, batch_.scored.size());
    read(scores.mean_logits, head.mean_logit, batch_.scored.size());
    read(scores.log_sum_squares, head.log_sum_squares, batch_.scored.size());
  }
  if (batch_.has_values()) read(scores.values, activations_.values, batch_.scored.size());
  return scores;
}

Scores Engine::forward(Batch batch) {
  // The forward that waits for its backward is asked for again: all of it is still there.
  if (pending_ && batch == batch_) return read_scores();
  run_layers(std::move(batch));
  pending_ = !decoder_.weights().trained.empty();
  const int64_t N = std::ssize(batch_.scored);
  if (N == 0) return {};
  if (batch_.has_tokens()) {
    backend_->lm_head_forward(activations_.head, activations_.scored_normed, lm_head(), activations_.targets,
                              N, scratch_.head);
  }
  if (batch_.has_values()) {
    backend_->linear_forward(activations_.values, activations_.scored_normed, decoder_.weights().score.w,
                             nullptr, N, options_.architecture.hidden_size, 1, 1, false);
  }
  return read_scores();
}

void Engine::score_backward(bool accumulate) {
  const int64_t N = std::ssize(batch_.scored);
  const int64_t D = options_.architecture.hidden_size;
  const Parameter& score = decoder_.weights().score;
  backend_->linear_backward_input(scratch_.d_scored, scratch_.d_values, score.w, N, D, 1, 1, accumulate);
  backend_->linear_backward_weight(score.d, nullptr, scratch_.d_values, activations_.scored_normed, N, D, 1,
                                   1);
}

void Engine::backward(const ScoreGradients& gradients) {
  require_snapshots("backward");
  if (!pending_) {
    throw std::invalid_argument(
        "backward: there is no forward to go back through (each forward has one backward, before any other "
        "pass)");
  }
  const auto check = [&](const char* name, const std::vector<float>& array, bool computed, size_t expected) {
    if (!array.empty()) check_size(name, array.size(), computed ? expected : 0);
  };
  const size_t count = batch_.scored.size();
  check("backward: logProbs", gradients.log_probs, batch_.has_tokens(), batch_.targets.size());
  check("backward: entropies", gradients.entropies, batch_.has_tokens(), count);
  check("backward: logZ", gradients.log_z, batch_.has_tokens(), count);
  check("backward: values", gradients.values, batch_.has_values(), count);
  pending_ = false;
  const auto upload = [&](float* to, const std::vector<float>& from) -> const float* {
    if (from.empty()) return nullptr;
    backend_->copy_to_device(to, from.data(), from.size() * sizeof(float));
    return to;
  };
  const float* d_log_prob = upload(scratch_.d_log_prob, gradients.log_probs);
  const float* d_entropy = upload(scratch_.d_entropy, gradients.entropies);
  const float* d_log_z = upload(scratch_.d_log_z, gradients.log_z);
  const bool tokens = d_log_prob != nullptr || d_entropy != nullptr || d_log_z != nullptr;
  const bool values = upload(scratch_.d_values, gradients.values) != nullptr;
  if (!tokens && !values) return;
  const int64_t N = static_cast<int64_t>(count);
  mark_gradients();
  if (tokens) {
    backend_->lm_head_backward(scratch_.d_scored, activations_.scored_normed, lm_head(), activations_.targets,
                               activations_.head.log_z, activations_.head.entropy, d_log_prob, d_entropy,
                               d_log_z, N, scratch_.head);
  }
  if (values) score_backward(tokens);
  decoder_.backward(layout(), N);
}

Scores Engine::forward_backward(Batch batch, const std::vector<float>& weights) {
  require_snapshots("forwardBackward");
  if (batch.outputs != Outputs::kTokens) {
    throw std::invalid_argument("forwardBackward: outputs must be 'tokens' (its loss is of log-probs alone)");
  }
  check_size("forwardBackward: weights", weights.size(), batch.targets.size());
  run_layers(std::move(batch));
  require_backward("forwardBackward");
  const int64_t N = std::ssize(batch_.scored);
  if (N == 0) return {};
  backend_->copy_to_device(scratch_.d_log_prob, weights.data(), weights.size() * sizeof(float));
  mark_gradients();
  backend_->lm_head_forward_backward(activations_.head, scratch_.d_scored, activations_.scored_normed,
                                     lm_head(), activations_.targets, scratch_.d_log_prob, N, scratch_.head);
  decoder_.backward(layout(), N);
  return read_scores();
}

std::vector<float> Engine::logits(Batch batch) {
  run_layers(std::move(batch));
  const int64_t N = std::ssize(batch_.scored);
  std::vector<float> logits(static_cast<size_t>(N * options_.architecture.vocab_size));
  if (N == 0) return logits;
  const DeviceMemory block = reserve(*backend_, std::ssize(logits) * static_cast<int64_t>(sizeof(float)));
  auto* device = static_cast<float*>(block.get());
  backend_->lm_head_logits(device, activations_.scored_normed, lm_head(), N, scratch_.head);
  backend_->copy_to_host(logits.data(), device, logits.size() * sizeof(float));
  return logits;
}

TopTokens Engine::top_log_probs(Batch batch, int64_t k) {
  if (k < 1 || k > options_.architecture.vocab_size) {
    throw std::invalid_argument("topLogProbs: k is " + std::to_string(k) +
                                ", not between 1 and the size of the vocabulary");
  }
  // Targets are of no use here.
  batch.targets.assign(batch.scored.size(), 0);
  batch.targets_per_row = 1;
  run_layers(std::move(batch));
  const int64_t N = std::ssize(batch_.scored);
  TopTokens top{std::vector<int32_t>(static_cast<size_t>(N * k)),
                std::vector<float>(static_cast<size_t>(N * k))};
  if (N == 0) return top;
  const DeviceMemory ids = reserve(*backend_, N * k * static_cast<int64_t>(sizeof(int32_t)));
  const DeviceMemory log_probs = reserve(*backend_, N * k * static_cast<int64_t>(sizeof(float)));
  backend_->lm_head_top(static_cast<int32_t*>(ids.get()), static_cast<float*>(log_probs.get()),
                        activations_.scored_normed, lm_head(), k, N, scratch_.head);
  backend_->copy_to_host(top.ids.data(), ids.get(), top.ids.size() * sizeof(int32_t));
  backend_->copy_to_host(top.log_probs.data(), log_probs.get(), top.log_probs.size() * sizeof(float));
  return top;
}

std::vector<GenerationUpdate> Engine::advance_generations() {
  pending_ = false;
  return generator_.advance([this](int32_t adapter) { use_adapter(adapter, std::nullopt); });
}

}  // namespace anneal
