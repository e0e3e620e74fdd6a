// An adapter over a base model: which matrices get a low-rank update, which tensors it has own copies of, and
// where all of these lie in its flat buffer.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <unordered_map>
#include <vector>

#include "model/tensors.h"

namespace anneal {

/// Fields as in src/native/addon.ts.
struct AdapterModule {
  std::string name;
  int64_t rank = 0;
  float scale = 1.0f;
  float dropout = 0.0f;
  bool dora = false;
};
struct AdapterOptions {
  std::vector<AdapterModule> modules;
  std::vector<std::string> replaces;
  bool score_head = false;
  bool trainable = false;
};

/// A low-rank update of one matrix; offsets in the adapter's buffer.
struct LowRankPlace {
  AdapterModule module;
  uint32_t index = 0;          // of the module in the adapter: selects its dropout
  int64_t in = 0, out = 0;     // of the matrix; of the embedding: vocabulary and hidden size
  int64_t a = -1, b = -1;      // [rank, in], [out, rank]
  int64_t magnitude = -1;      // [out], DoRA only
  int64_t inverse_norms = -1;  // where its [out] numbers lie among those of the adapter, DoRA only
  bool embedding = false;
};

class AdapterTable : public TensorTable {
 public:
  /// Throws std::invalid_argument if an option does not fit the base. `index` names the adapter in messages.
  AdapterTable(const AdapterOptions& options, const ModelTable& base, const Architecture& architecture,
               size_t index);

  /// The update of a module of the base (its name without `.weight`); null if there is none.
  [[nodiscard]] const LowRankPlace* find_update(std::string_view module) const;
  [[nodiscard]] const std::vector<LowRankPlace>& updates() const { return updates_; }
  /// Names of the base's tensors that the adapter has own copies of.
  [[nodiscard]] const std::vector<std::string>& replaced() const { return replaced_; }
  /// Floats of the inverse row norms of all DoRA modules.
  [[nodiscard]] int64_t inverse_norms() const { return inverse_norms_; }

 private:
  void add_update(const AdapterModule& module, uint32_t index, const ModelTable& base);

  std::vector<LowRankPlace> updates_;
  std::unordered_map<std::string, size_t> by_module_;
  std::vector<std::string> replaced_;
  int64_t inverse_norms_ = 0;
};

}  // namespace anneal
