#include "engine/optimizer.h"

#include <algorithm>
#include <cmath>
#include <limits>
#include <stdexcept>

namespace anneal {
namespace {

/// Lowest RMS of a tensor that Adafactor's relative steps go by (its epsilon 2).
constexpr float kAdafactorLowestRms = 1e-3f;

void check(bool good, const char* message) {
  if (!good) throw std::invalid_argument(std::string("step: ") + message);
}

void validate(const StepOptions& o) {
  check(o.step >= 1, "steps are counted from 1");
  check(std::isfinite(o.learning_rate) && o.learning_rate >= 0.0f, "learningRate must be 0 or above");
  check(std::isfinite(o.weight_decay) && o.weight_decay >= 0.0f, "weightDecay must be 0 or above");
  check(o.beta1 >= 0.0f && o.beta1 < 1.0f && o.beta2 >= 0.0f && o.beta2 < 1.0f,
        "beta1 and beta2 must be between 0 and 1");
  check(o.momentum >= 0.0f && o.momentum < 1.0f, "momentum must be between 0 and 1");
  check(o.beta2_decay <= 0.0f, "beta2Decay must be 0 or below");
  check(o.clip_threshold >= 1.0f, "clipThreshold must be 1 or above");
}

/// Updates one tensor by its rule.
class TensorStep {
 public:
  TensorStep(Backend& backend, ParameterSet& set, const StepOptions& options, float grad_scale,
             float* workspace)
      : backend_(backend), set_(set), o_(options), grad_scale_(grad_scale), workspace_(workspace) {}

  void apply(const Tensor& tensor, const TensorUpdate& update) const {
    float* w = set_.weights() + tensor.offset;
    const float* g = set_.gradients() + tensor.offset;
    const int64_t n = tensor.size;
    const float rate = o_.learning_rate * update.learning_rate_factor;
    // Vectors (norms, biases) are never decayed.
    const float decay = tensor.shape.size() > 1 ? o_.weight_decay * update.weight_decay_factor : 0.0f;
    const auto state = [&](int index) { return reinterpret_cast<float*>(bytes(update, index)); };
    switch (update.rule) {
      case UpdateRule::kAdamW:
        backend_.adamw(w, state(0), state(1), g, n, adamw(rate, decay));
        break;
      case UpdateRule::kAdamW8bit:
        backend_.adamw_8bit(w, bytes(update, 0), bytes(update, 1), state(2), state(3), g, n,
                            adamw(rate, decay));
        break;
      case UpdateRule::kLion:
        backend_.lion(w, state(0), g, n, {rate, o_.beta1, o_.beta2, decay, grad_scale_});
        break;
      case UpdateRule::kSgd:
        backend_.sgd(w, state(0), g, n, {rate, o_.momentum, o_.nesterov, decay, grad_scale_});
        break;
      case UpdateRule::kAdafactorMatrix:
        backend_.adafactor_matrix(w, state(0), state(1), g, tensor.shape[0], tensor.shape[1],
                                  adafactor(rate, decay));
        break;
      case UpdateRule::kAdafactorVector:
        backend_.adafactor_vector(w, state(0), g, n, adafactor(rate, decay));
        break;
      case UpdateRule::kMuon:
        backend_.muon(w, state(0), g, tensor.shape[0], tensor.shape[1],
                      {rate, muon_scale(tensor.shape[0], tensor.shape[1]), o_.momentum, o_.nesterov, decay,
                       grad_scale_},
                      workspace_);
        break;
    }
  }

 private:
  [[nodiscard]] uint8_t* bytes(const TensorUpdate& update, int index) const {
    return static_cast<uint8_t*>(set_.state()) + update.state[index];
  }

  [[nodiscard]] AdamWOptions adamw(float rate, float decay) const {
    const auto step = static_cast<double>(o_.step);
    return {rate,
            o_.beta1,
            o_.beta2,
            o_.epsilon,
            decay,
            static_cast<float>(1.0 - std::pow(static_cast<double>(o_.beta1), step)),
            static_cast<float>(1.0 - std::pow(static_cast<double>(o_.beta2), step)),
            grad_scale_};
  }

  [[nodiscard]] AdafactorOptions adafactor(float rate, float decay) const {
    const auto step = static_cast<double>(o_.step);
    return {rate,
            std::min(rate, static_cast<float>(1.0 / std::sqrt(step))),
            static_cast<float>(std::pow(step, static_cast<double>(o_.beta2_decay))),
            std::numeric_limits<float>::epsilon(),
            kAdafactorLowestRms,
            o_.clip_threshold,
            decay,
            grad_scale_};
  }

  /// By the shape: sqrt(max(1, rows / columns)) as published, or 0.2 sqrt(max(rows, columns)), which gives
  /// updates the size of AdamW's (Liu et al. 2025).
  [[nodiscard]] float muon_scale(int64_t rows, int64_t columns) const {
    const auto r = static_cast<double>(rows);
    const auto c = static_cast<double>(columns);
    return static_cast<float>(o_.match_rms_adamw ? 0.2 * std::sqrt(std::max(r, c))
                                                 : std::sqrt(std::max(1.0, r / c)));
  }

  Backend& backend_;
  ParameterSet& set_;
  const StepOptions& o_;
  const float grad_scale_;
  float* workspace_;
};

}  // namespace

void set_parameter_groups(ParameterSet& set, const std::vector<ParameterGroup>& groups) {
  const auto good = [](float factor) { return std::isfinite(factor) && factor >= 0.0f; };
  for (const ParameterGroup& group : groups) {
    if (!good(group.learning_rate_factor) || !good(group.weight_decay_factor)) {
      throw std::invalid_argument("setParameterGroups: a factor must be 0 or above");
    }
    for (const std::string& name : group.names) (void)set.table().find(name);
  }
  std::vector<TensorUpdate>& updates = set.updates();
  for (TensorUpdate& update : updates) update.learning_rate_factor = update.weight_decay_factor = 1.0f;
  for (const ParameterGroup& group : groups) {
    for (const std::string& name : group.names) {
      const auto index = &set.table().find(name) - set.table().tensors().data();
      updates[static_cast<size_t>(index)].learning_rate_factor = group.learning_rate_factor;
      updates[static_cast<size_t>(index)].weight_decay_factor = group.weight_decay_factor;
    }
  }
}

StepResult optimizer_step(Backend& backend, ParameterSet& set, const StepOptions& o, float* workspace) {
  validate(o);
  const double norm = std::sqrt(backend.sum_of_squares(set.gradients(), set.table().buffer_size()));
  const bool applied = std::isfinite(norm);
  if (applied) {
    // The small constant is PyTorch's: a clipped norm ends just below the bound.
    const double max_norm = static_cast<double>(o.max_grad_norm);
    const double scale = max_norm > 0.0 ? std::min(1.0, max_norm / (norm + 1e-6)) : 1.0;
    const TensorStep step(backend, set, o, static_cast<float>(scale), workspace);
    const std::vector<Tensor>& tensors = set.table().tensors();
    for (size_t i = 0; i < tensors.size(); ++i) step.apply(tensors[i], set.updates()[i]);
  }
  set.clear_gradients(backend);
  return {norm, applied};
}

}  // namespace anneal
