// The engine's passes over batches: forward, backward, both in one, logits, generation.
#include <algorithm>
#include <stdexcept>

#include "engine/engine.h"

namespace anneal {
namespace {

void check_size(const char* what, size_t size, size_t expected) {
  if (size != expected) {
    throw std::invalid_argument(std::string(what) + " has " + std::to_string(size) + " elements for " +
                                std::to_string(expected) + " scored rows");
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

Scores Engine::read_scores(int64_t count) {
  Scores scores;
  const auto read = [&](std::vector<float>& to, const float* from) {
    to.resize(static_cast<size_t>(count));
    backend_->copy_to_host(to.data(), from, to.size() * sizeof(float));
  };
  read(scores.log_probs, activations_.log_prob);
  read(scores.entropies, activations_.entropy);
  read(scores.log_z, activations_.log_z);
  return scores;
}

Scores Engine::forward(Batch batch) {
  run_layers(std::move(batch));
  pending_ = options_.trainable;
  const int64_t N = std::ssize(batch_.scored);
  if (N == 0) return {};
  backend_->lm_head_forward(activations_.log_prob, activations_.entropy, activations_.log_z,
                            activations_.scored_normed, base_.weights() + table_.head(), activations_.targets,
                            N, options_.architecture.hidden_size, options_.architecture.vocab_size,
                            scratch_.head);
  return read_scores(N);
}

void Engine::backward(const ScoreGradients& gradients) {
  require_trainable("backward");
  if (!pending_) {
    throw std::invalid_argument(
        "backward: there is no forward to go back through (each forward has one backward, before any other "
        "pass)");
  }
  const size_t count = batch_.scored.size();
  check_size("backward: logProbs", gradients.log_probs.size(), count);
  if (!gradients.entropies.empty()) check_size("backward: entropies", gradients.entropies.size(), count);
  if (!gradients.log_z.empty()) check_size("backward: logZ", gradients.log_z.size(), count);
  pending_ = false;
  const auto upload = [&](float* to, const std::vector<float>& from) -> const float* {
    if (from.empty()) return nullptr;
    backend_->copy_to_device(to, from.data(), from.size() * sizeof(float));
    return to;
  };
  const float* d_log_prob = upload(scratch_.d_log_prob, gradients.log_probs);
  const float* d_entropy = upload(scratch_.d_entropy, gradients.entropies);
  const float* d_log_z = upload(scratch_.d_log_z, gradients.log_z);
  if (count == 0) return;
  const int64_t N = static_cast<int64_t>(count);
  base_.mark_gradients();
  backend_->lm_head_backward(scratch_.d_scored, base_.gradients() + table_.head(), activations_.scored_normed,
                             base_.weights() + table_.head(), activations_.targets, activations_.log_z,
                             activations_.entropy, d_log_prob, d_entropy, d_log_z, N,
                             options_.architecture.hidden_size, options_.architecture.vocab_size,
                             scratch_.head);
  decoder_.backward(layout(), N);
}

Scores Engine::forward_backward(Batch batch, const std::vector<float>& weights) {
  require_trainable("forwardBackward");
  check_size("forwardBackward: weights", weights.size(), batch.scored.size());
  run_layers(std::move(batch));
  const int64_t N = std::ssize(batch_.scored);
  if (N == 0) return {};
  backend_->copy_to_device(scratch_.d_log_prob, weights.data(), weights.size() * sizeof(float));
  base_.mark_gradients();
  backend_->lm_head_forward_backward(
      activations_.log_prob, activations_.entropy, activations_.log_z, scratch_.d_scored,
      base_.gradients() + table_.head(), activations_.scored_normed, base_.weights() + table_.head(),
      activations_.targets, scratch_.d_log_prob, N, options_.architecture.hidden_size,
      options_.architecture.vocab_size, scratch_.head);
  decoder_.backward(layout(), N);
  return read_scores(N);
}

std::vector<float> Engine::logits(Batch batch) {
  run_layers(std::move(batch));
  const int64_t N = std::ssize(batch_.scored);
  const int64_t V = options_.architecture.vocab_size;
  std::vector<float> logits(static_cast<size_t>(N * V));
  if (N == 0) return logits;
  const DeviceMemory block = reserve(*backend_, N * V * static_cast<int64_t>(sizeof(float)));
  auto* device = static_cast<float*>(block.get());
  backend_->lm_head_logits(device, activations_.scored_normed, base_.weights() + table_.head(), N,
                           options_.architecture.hidden_size, V);
  backend_->copy_to_host(logits.data(), device, logits.size() * sizeof(float));
  return logits;
}

std::vector<Completion> Engine::generate(const std::vector<std::vector<int32_t>>& prompts,
                                         const SamplingOptions& options, const TokenCallback& on_token,
                                         const std::atomic<bool>& cancelled) {
  pending_ = false;
  return generator_.run(prompts, options, on_token, cancelled);
}

}  // namespace anneal
