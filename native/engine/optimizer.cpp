// The state of AdamW: first moments, then second moments, each in the layout of the weights.
#include "engine/optimizer.h"

#include <algorithm>
#include <cmath>
#include <stdexcept>

namespace anneal {

int64_t optimizer_state_bytes(const TensorTable& table, OptimizerName) {
  return 2 * table.buffer_size() * static_cast<int64_t>(sizeof(float));
}

StepResult optimizer_step(Backend& backend, ParameterSet& set, const StepOptions& o) {
  if (o.step < 1) throw std::invalid_argument("step: steps are counted from 1");
  const int64_t size = set.table().buffer_size();
  const double norm = std::sqrt(backend.sum_of_squares(set.gradients(), size));
  const bool applied = std::isfinite(norm);
  if (applied) {
    // The small constant is PyTorch's: a clipped norm ends just below the bound.
    const double max_norm = static_cast<double>(o.max_grad_norm);
    const double scale = max_norm > 0.0 ? std::min(1.0, max_norm / (norm + 1e-6)) : 1.0;
    const double step = static_cast<double>(o.step);
    AdamWOptions options{o.learning_rate,
                         o.beta1,
                         o.beta2,
                         o.epsilon,
                         o.weight_decay,
                         static_cast<float>(1.0 - std::pow(static_cast<double>(o.beta1), step)),
                         static_cast<float>(1.0 - std::pow(static_cast<double>(o.beta2), step)),
                         static_cast<float>(scale)};
    auto* moment1 = static_cast<float*>(set.state());
    float* moment2 = moment1 + size;
    const auto update = [&](int64_t begin, int64_t end) {
      backend.adamw(set.weights() + begin, moment1 + begin, moment2 + begin, set.gradients() + begin,
                    end - begin, options);
    };
    update(0, set.table().vectors_begin());
    options.weight_decay = 0.0f;
    update(set.table().vectors_begin(), size);
  }
  set.clear_gradients(backend);
  return {norm, applied};
}

}  // namespace anneal
