// One optimiser step of a parameter set.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "backend/backend.h"
#include "engine/parameter_set.h"

namespace anneal {

/// Fields as in src/native/addon.ts; an optimiser reads those that it uses.
struct StepOptions {
  float learning_rate, beta1, beta2, epsilon, weight_decay, max_grad_norm;
  int64_t step;
  float momentum = 0.0f;
  bool nesterov = false;
  bool match_rms_adamw = false;
  float beta2_decay = -0.8f;
  float clip_threshold = 1.0f;
};

struct StepResult {
  double grad_norm;
  bool applied;
};

/// Tensors with a learning rate and a decay of their own, as factors.
struct ParameterGroup {
  std::vector<std::string> names;
  float learning_rate_factor = 1.0f;
  float weight_decay_factor = 1.0f;
};

/// Gives the tensors of the groups their factors, and all others 1. Throws std::invalid_argument, before any
/// change, if the set has no tensor of a name or a factor is negative or not finite.
void set_parameter_groups(ParameterSet& set, const std::vector<ParameterGroup>& groups);

/// Clips, applies and clears the gradients of a trainable set. A norm that is not finite changes nothing but
/// the gradients, which are cleared. Throws std::invalid_argument on bad options. `workspace`: as many bytes
/// as optimizer_workspace says.
StepResult optimizer_step(Backend& backend, ParameterSet& set, const StepOptions& options, float* workspace);

}  // namespace anneal
