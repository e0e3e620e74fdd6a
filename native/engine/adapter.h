// One adapter of a session: its parameter set, and the row lengths that its DoRA modules need.
#pragma once

#include "backend/backend.h"
#include "engine/device_memory.h"
#include "engine/parameter_set.h"
#include "model/adapter.h"

namespace anneal {

class Adapter {
 public:
  Adapter(Backend& backend, const AdapterOptions& options, const ModelTable& base,
          const Architecture& architecture, OptimizerName optimizer, size_t index)
      : table_(options, base, architecture, index),
        set_(backend, table_, options.trainable, optimizer),
        inverse_norms_(reserve(backend, table_.inverse_norms() * static_cast<int64_t>(sizeof(float)))) {}
  Adapter(const Adapter&) = delete;
  Adapter& operator=(const Adapter&) = delete;

  [[nodiscard]] const AdapterTable& table() const { return table_; }
  [[nodiscard]] ParameterSet& set() { return set_; }
  /// 1 / |row of W + scale B A| of each DoRA module, at the places that the table says.
  [[nodiscard]] float* inverse_norms() const { return static_cast<float*>(inverse_norms_.get()); }

  /// The update of a module as operations take it, without dropout and, if the set is frozen, without
  /// gradients.
  [[nodiscard]] LowRank update(const LowRankPlace& place) const;
  /// To be called when weights of base or adapter have changed.
  void forget_norms() { norms_valid_ = false; }
  /// Computes the row lengths unless they are those of the present weights. `workspace`: the most that
  /// dora_inverse_norm_workspace says for a module.
  void refresh_norms(Backend& backend, const ParameterSet& base, float* workspace);

 private:
  const AdapterTable table_;
  ParameterSet set_;
  const DeviceMemory inverse_norms_;
  bool norms_valid_ = false;
};

/// Starts; as in src/native/addon.ts.
enum class AdapterInit { kDefault, kGaussian, kRandom, kPissa };

/// Fills an adapter's weights. kPissa takes the principal directions out of the base's weights.
void init_adapter(Backend& backend, Adapter& adapter, ParameterSet& base, AdapterInit kind, uint64_t seed,
                  int threads);
/// Adds an adapter to the base's weights, in double precision.
void merge_adapter(Backend& backend, Adapter& adapter, ParameterSet& base, int threads);

}  // namespace anneal
