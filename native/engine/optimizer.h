// One optimiser step of a parameter set.
#pragma once

#include <cstdint>

#include "backend/backend.h"
#include "engine/parameter_set.h"

namespace anneal {

/// Fields as in src/native/addon.ts.
struct StepOptions {
  float learning_rate, beta1, beta2, epsilon, weight_decay, max_grad_norm;
  int64_t step;
};

struct StepResult {
  double grad_norm;
  bool applied;
};

/// Clips, applies and clears the gradients of a trainable set. A norm that is not finite changes nothing but
/// the gradients, which are cleared. Throws std::invalid_argument on bad options.
StepResult optimizer_step(Backend& backend, ParameterSet& set, const StepOptions& options);

}  // namespace anneal
