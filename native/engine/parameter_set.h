// A parameter set: the weights that are trained (or frozen) together, with all that training them needs. The
// base model is one, and so is each adapter over it: to gradients, optimiser, snapshots and files they are
// the same kind of thing.
//
// All buffers are device memory. Weights and gradients follow the table (model/tensors.h); the layout of the
// optimiser's state is the optimiser's own business (engine/optimizer_state.h).
#pragma once

#include <cstdint>
#include <vector>

#include "backend/backend.h"
#include "engine/device_memory.h"
#include "engine/optimizer_state.h"
#include "model/tensors.h"

namespace anneal {

/// Bytes of a parameter set's buffers; the last two are 0 if it is frozen.
struct ParameterSetBytes {
  int64_t weights, gradients, optimizer;
};

class ParameterSet {
 public:
  /// Reserves zeroed buffers. `backend` and `table` outlive the set.
  ParameterSet(Backend& backend, const TensorTable& table, bool trainable, OptimizerName optimizer)
      : table_(table),
        trainable_(trainable),
        optimizer_(optimizer),
        updates_(trainable ? OptimizerState(table, optimizer).updates() : std::vector<TensorUpdate>()),
        bytes_(bytes_of(table, trainable, optimizer)),
        weights_(reserve(backend, bytes_.weights)),
        gradients_(reserve(backend, bytes_.gradients)),
        state_(reserve(backend, bytes_.optimizer)) {
    backend.zero(weights_.get(), static_cast<size_t>(bytes_.weights));
    if (!trainable) return;
    clear_gradients(backend);
    backend.zero(state_.get(), static_cast<size_t>(bytes_.optimizer));
  }

  [[nodiscard]] static ParameterSetBytes bytes_of(const TensorTable& table, bool trainable,
                                                  OptimizerName optimizer) {
    const int64_t flat = table.buffer_size() * static_cast<int64_t>(sizeof(float));
    if (!trainable) return {flat, 0, 0};
    return {flat, flat, OptimizerState(table, optimizer).bytes()};
  }

  [[nodiscard]] const TensorTable& table() const { return table_; }
  /// How each tensor is trained; empty if the set is frozen.
  [[nodiscard]] std::vector<TensorUpdate>& updates() { return updates_; }
  [[nodiscard]] bool trainable() const { return trainable_; }
  [[nodiscard]] OptimizerName optimizer() const { return optimizer_; }
  [[nodiscard]] const ParameterSetBytes& bytes() const { return bytes_; }
  [[nodiscard]] float* weights() const { return static_cast<float*>(weights_.get()); }
  /// Null if the set is frozen; the optimiser's state likewise.
  [[nodiscard]] float* gradients() const { return static_cast<float*>(gradients_.get()); }
  [[nodiscard]] void* state() const { return state_.get(); }

  /// false: all gradients are zero.
  [[nodiscard]] bool has_gradients() const { return has_gradients_; }
  /// To be called before anything is added to the gradients.
  void mark_gradients() { has_gradients_ = true; }
  void clear_gradients(Backend& backend) {
    backend.zero(gradients_.get(), static_cast<size_t>(bytes_.gradients));
    has_gradients_ = false;
  }

 private:
  const TensorTable& table_;
  const bool trainable_;
  const OptimizerName optimizer_;
  std::vector<TensorUpdate> updates_;
  const ParameterSetBytes bytes_;
  const DeviceMemory weights_, gradients_, state_;
  bool has_gradients_ = false;
};

}  // namespace anneal
