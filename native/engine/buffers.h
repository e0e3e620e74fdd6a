// Every buffer of a session besides weights and optimiser state, laid out once from the session's options.
// Letters as in backend/backend.h: T rows, D hidden, F feed-forward, H heads, E head size, N scored, V
// vocabulary.
#pragma once

#include <cstdint>
#include <vector>

#include "backend/backend.h"
#include "engine/arena.h"
#include "engine/options.h"
#include "model/tensors.h"

namespace anneal {

/// What one layer's forward leaves for its backward.
struct LayerActivations {
  float* attention_in = nullptr;      // [T, D] residual stream before attention
  float* attention_normed = nullptr;  // [T, D]
  float* attention_mean = nullptr;    // [T], LayerNorm only; the other means likewise
  float* attention_rstd = nullptr;    // [T]
  float* raw_qkv = nullptr;           // [T, qkv_width] before QK-norm; the same as qkv without it
  float* q_rstd = nullptr;            // [T, H], QK-norm only
  float* k_rstd = nullptr;            // [T, G], QK-norm only
  float* qkv = nullptr;               // [T, qkv_width] normalised and rotated
  float* attention_out = nullptr;     // [T, H * E]
  float* lse = nullptr;               // [T, H]
  float* mlp_in = nullptr;            // [T, D] residual stream before the feed-forward
  float* mlp_normed = nullptr;        // [T, D]
  float* mlp_mean = nullptr;          // [T]
  float* mlp_rstd = nullptr;          // [T]
  float* up = nullptr;                // [T, 2F] gate and up, or [T, F]
  float* activated = nullptr;         // [T, F]
  float* u = nullptr;                 // [T, rank] of each low-rank update of the layer, end to end
  // Outputs before DoRA's scaling, as wide as the projection; null where no adapter has DoRA.
  float* unscaled_qkv = nullptr;
  float* unscaled_out = nullptr;
  float* unscaled_up = nullptr;
  float* unscaled_down = nullptr;
};

/// What the adapters of a session add to its buffers: the most that any of them needs.
struct AdapterSizes {
  explicit AdapterSizes(const SessionOptions& options);

  int64_t layer_rank = 0;  // of all updates of a layer
  bool dora_qkv = false, dora_out = false, dora_up = false, dora_down = false;
  int64_t dora_dropped = 0;           // the widest input of DoRA with dropout
  std::vector<LowRank> updates;       // sizes of every update within the layers
  std::vector<LowRank> head_updates;  // of every update of the language-model head
};

struct Activations {
  Activations(Arena& arena, const SessionOptions& options);

  /// One per layer. Without gradients all layers share one set and the residual stream is updated in place;
  /// with recomputation they share all but `attention_in`.
  std::vector<LayerActivations> layers;
  float* final_in = nullptr;       // [T, D] residual stream after the last layer
  float* scored_in = nullptr;      // [N, D] its scored rows
  float* scored_normed = nullptr;  // [N, D]
  float* final_mean = nullptr;     // [N]
  float* final_rstd = nullptr;     // [N]
  HeadScores head;                 // of N rows, with [targets] in all
  float* values = nullptr;         // [N], of the scalar head
  int32_t* tokens = nullptr;       // [T]
  int32_t* positions = nullptr;    // [T]
  int32_t* scored = nullptr;       // [N]
  int32_t* targets = nullptr;      // [targets]
};

/// Memory that lives within one call: gradients of activations, scratch of operations, generation.
struct Scratch {
  Scratch(Arena& arena, const SessionOptions& options, const Backend& backend);

  float* d_residual = nullptr;           // [T, D] gradient of the residual stream
  float* d_normed = nullptr;             // [T, D]
  float* d_qkv = nullptr;                // [T, qkv_width]
  float* d_raw_qkv = nullptr;            // [T, qkv_width]; the same as d_qkv without QK-norm
  float* d_attention = nullptr;          // [T, H * E]
  float* d_activated = nullptr;          // [T, F]
  float* d_scored = nullptr;             // [N, D]
  float* d_log_prob = nullptr;           // [targets]; weights of the one-pass loss as well
  float* d_entropy = nullptr;            // [N]
  float* d_log_z = nullptr;              // [N]
  float* d_values = nullptr;             // [N]
  float* norm = nullptr;                 // scratch of the normalisations' backward
  float* attention = nullptr;            // scratch of attention
  float* head = nullptr;                 // scratch of the fused head
  float* kept_logits = nullptr;          // [kept_logit_rows, V] from a forward to its backward
  float* low_rank = nullptr;             // scratch of one low-rank update
  float* d_unscaled = nullptr;           // [T, widest projection with DoRA]
  float* dropped = nullptr;              // [T, widest input of DoRA with dropout]
  float* d_dropped = nullptr;            // likewise
  float* dora = nullptr;                 // scratch of row lengths; shares memory with all of a pass
  float* logits_workspace = nullptr;     // scratch of the logits of generation
  float* optimizer = nullptr;            // scratch of an optimiser step; shares memory with all of a pass
  float* inverse_frequencies = nullptr;  // [E / 2]
  float* logits = nullptr;               // [generation_head_rows, V]
  float* sample = nullptr;               // scratch of sampling
};

/// Keys and values of the running sequences, one view a layer.
struct KvCache {
  KvCache(Arena& arena, const SessionOptions& options);
  std::vector<KvCacheView> layers;
};

/// Bytes that a session reserves; fields as in src/native/addon.ts.
struct SessionPlan {
  int64_t parameters, weights, gradients, optimizer, activations, workspace, kv_cache, snapshot, total;
  double train_flops_per_token;
};

/// Measures with the code that lays the buffers out. Throws std::invalid_argument on bad options.
SessionPlan plan_session(const SessionOptions& options, const Backend& backend);

}  // namespace anneal
