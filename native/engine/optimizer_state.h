// Which optimisers there are, and which rule each tensor follows with which state.
#pragma once

#include <cstdint>
#include <vector>

#include "backend/backend.h"
#include "model/tensors.h"

namespace anneal {

/// As in src/native/addon.ts.
enum class OptimizerName { kAdamW, kAdamW8bit, kLion, kMuon, kAdafactor, kSgd };

/// An operation of the backend that updates one tensor.
enum class UpdateRule { kAdamW, kAdamW8bit, kLion, kSgd, kAdafactorMatrix, kAdafactorVector, kMuon };

/// How one tensor is trained.
struct TensorUpdate {
  UpdateRule rule = UpdateRule::kAdamW;
  /// Where the arrays of its state begin, in bytes: as many as the rule's operation takes, in its order.
  int64_t state[4] = {-1, -1, -1, -1};
  /// Multiplied into the step's learning rate and decay.
  float learning_rate_factor = 1.0f;
  float weight_decay_factor = 1.0f;
};

/// The state of an optimiser for the tensors of a table. Zeros are the state before the first step.
class OptimizerState {
 public:
  OptimizerState(const TensorTable& table, OptimizerName optimizer);

  [[nodiscard]] int64_t bytes() const { return bytes_; }
  /// One for each tensor of the table.
  [[nodiscard]] const std::vector<TensorUpdate>& updates() const { return updates_; }

 private:
  std::vector<TensorUpdate> updates_;
  int64_t bytes_ = 0;
};

/// Bytes of scratch memory that a step needs.
int64_t optimizer_workspace(const TensorTable& table, OptimizerName optimizer, const Backend& backend);

}  // namespace anneal
