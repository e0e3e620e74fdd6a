// The weights that one pass uses, resolved: the base's, or the base's under an adapter. Pointers into the
// parameter sets, made once a session for the base and for each adapter.
#pragma once

#include <cstdint>
#include <optional>
#include <vector>

#include "backend/backend.h"
#include "engine/adapter.h"
#include "engine/parameter_set.h"
#include "model/architecture.h"

namespace anneal {

/// A tensor and its gradient; `w` null: the architecture has none; `d` null: frozen.
struct Parameter {
  const float* w = nullptr;
  float* d = nullptr;
};

/// Columns of a projection that one product computes.
struct Segment {
  int64_t column = 0, out = 0;
  Parameter weight, bias;
  // DoRA: the columns are scaled to the lengths `magnitude`; null otherwise.
  Parameter magnitude;
  const float* inverse_norm = nullptr;
};

/// A low-rank update of some columns of a projection.
struct ColumnUpdate {
  LowRank update;  // without dropout
  float dropout = 0.0f;
  int64_t column = 0;
  bool dora = false;
  int64_t u_rank = 0;  // ranks of the layer's updates before it: its u begins after theirs
};

/// A fused group of linear layers over one input.
struct Projection {
  int64_t in = 0, width = 0;
  std::vector<Segment> segments;
  std::vector<ColumnUpdate> updates;
  bool trained = false;  // any part of it
};

struct LayerWeights {
  Parameter attention_norm, attention_norm_bias;
  Projection qkv;
  Parameter q_norm, k_norm;
  Projection out;
  Parameter mlp_norm, mlp_norm_bias;
  Projection up, down;
};

/// Places of a backward pass, from its end to its beginning: a pass goes no further than to the lowest place
/// that is trained.
class BackwardPlace {
 public:
  enum Part : int64_t { kAttentionNorm, kQkv, kOut, kMlpNorm, kUp, kDown, kParts };
  static constexpr int64_t kEmbedding = 0;
  static constexpr int64_t of(int64_t layer, Part part) { return 1 + layer * kParts + part; }
  static constexpr int64_t final_norm(int64_t layers) { return of(layers, kAttentionNorm); }
};

struct Weights {
  Parameter embedding;
  std::optional<LowRank> embedding_update;
  std::vector<LayerWeights> layers;
  Parameter final_norm, final_norm_bias;
  Parameter head;
  std::vector<ColumnUpdate> head_updates;
  Parameter score;  // w null: no scalar head
  /// Sets that gradients of the pass go to; empty: the pass has no backward.
  std::vector<ParameterSet*> trained;
  /// Place (BackwardPlace) of the lowest trained weights.
  int64_t lowest = 0;
};

/// `adapter` null: the base alone. All arguments outlive the result.
Weights resolve_weights(const Architecture& architecture, ParameterSet& base, Adapter* adapter);

}  // namespace anneal
