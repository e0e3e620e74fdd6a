#include "engine/buffers.h"

#include <algorithm>

#include "engine/parameter_set.h"
#include "engine/snapshot.h"

namespace anneal {
namespace {

int64_t floats(size_t bytes) { return static_cast<int64_t>((bytes + sizeof(float) - 1) / sizeof(float)); }

/// As much of the head as its memory depends on.
LmHead lm_head_of(const Architecture& a) {
  LmHead head;
  head.hidden_size = a.hidden_size;
  head.vocab_size = a.vocab_size;
  return head;
}

/// Everything of a layer but the two residual streams.
LayerActivations take_layer(Arena& arena, const Architecture& a, int64_t T) {
  const bool layer_norm = a.norm == Norm::kLayerNorm;
  LayerActivations layer;
  layer.attention_normed = arena.take(T * a.hidden_size);
  layer.attention_mean = layer_norm ? arena.take(T) : nullptr;
  layer.attention_rstd = arena.take(T);
  layer.qkv = arena.take(T * a.qkv_width());
  layer.raw_qkv = a.qk_norm ? arena.take(T * a.qkv_width()) : layer.qkv;
  layer.q_rstd = a.qk_norm ? arena.take(T * a.num_heads) : nullptr;
  layer.k_rstd = a.qk_norm ? arena.take(T * a.num_kv_heads) : nullptr;
  layer.attention_out = arena.take(T * a.attention_width());
  layer.lse = arena.take(T * a.num_heads);
  layer.mlp_normed = arena.take(T * a.hidden_size);
  layer.mlp_mean = layer_norm ? arena.take(T) : nullptr;
  layer.mlp_rstd = arena.take(T);
  layer.up = arena.take(T * a.up_width());
  layer.activated = arena.take(T * a.intermediate_size);
  return layer;
}

}  // namespace

Activations::Activations(Arena& arena, const SessionOptions& options) {
  const Architecture& a = options.architecture;
  const int64_t T = options.max_rows();
  const int64_t N = options.max_head_rows();
  const bool keep_all = options.trainable && !options.recompute;
  final_in = arena.take(T * a.hidden_size);
  LayerActivations shared;
  if (!keep_all) {
    shared = take_layer(arena, a, T);
    shared.attention_in = final_in;
    shared.mlp_in = options.trainable ? arena.take(T * a.hidden_size) : final_in;
  }
  for (int64_t l = 0; l < a.num_layers; ++l) {
    LayerActivations layer = keep_all ? take_layer(arena, a, T) : shared;
    if (options.trainable) layer.attention_in = arena.take(T * a.hidden_size);
    if (keep_all) layer.mlp_in = arena.take(T * a.hidden_size);
    layers.push_back(layer);
  }
  scored_in = arena.take(N * a.hidden_size);
  scored_normed = arena.take(N * a.hidden_size);
  final_mean = a.norm == Norm::kLayerNorm ? arena.take(N) : nullptr;
  final_rstd = arena.take(N);
  log_prob = arena.take(options.target_capacity());
  entropy = arena.take(N);
  log_z = arena.take(N);
  if (a.score_head) values = arena.take(N);
  tokens = arena.take<int32_t>(T);
  positions = arena.take<int32_t>(T);
  scored = arena.take<int32_t>(N);
  targets = arena.take<int32_t>(options.target_capacity());
}

Scratch::Scratch(Arena& arena, const SessionOptions& options, const Backend& backend) {
  const Architecture& a = options.architecture;
  const int64_t T = options.max_rows();
  const int64_t N = options.max_head_rows();
  inverse_frequencies = arena.take(a.head_dim / 2);
  // A step comes after the passes: it uses their memory.
  const size_t passes = arena.mark();
  if (options.trainable) {
    optimizer = arena.take(
        floats(static_cast<size_t>(optimizer_workspace(ModelTable(a), options.optimizer, backend))));
    arena.rewind(passes);
    d_log_prob = arena.take(options.target_capacity());
    d_entropy = arena.take(N);
    d_log_z = arena.take(N);
    d_values = arena.take(N);
    d_scored = arena.take(N * a.hidden_size);
  }
  // The head is done before attention's backward begins and after its forward has ended: they share memory.
  const size_t start = arena.mark();
  head = arena.take(floats(backend.lm_head_workspace(lm_head_of(a), options.max_scored)));
  arena.rewind(start);
  if (options.generation_slots > 0) {
    logits = arena.take(options.generation_slots * a.vocab_size);
    slots = arena.take<int32_t>(T);
    cache_rows = arena.take<int32_t>(T);
    lengths = arena.take<int32_t>(T);
  }
  attention = arena.take(floats(backend.attention_workspace(T, a.attention_shape())));
  if (!options.trainable) return;
  norm = arena.take(floats(std::max(backend.rms_norm_backward_workspace(std::max(a.hidden_size, a.head_dim)),
                                    backend.layer_norm_backward_workspace(a.hidden_size))));
  d_residual = arena.take(T * a.hidden_size);
  d_normed = arena.take(T * a.hidden_size);
  d_qkv = arena.take(T * a.qkv_width());
  d_raw_qkv = a.qk_norm ? arena.take(T * a.qkv_width()) : d_qkv;
  d_attention = arena.take(T * a.attention_width());
  d_activated = arena.take(T * a.intermediate_size);
}

KvCache::KvCache(Arena& arena, const SessionOptions& options) {
  const Architecture& a = options.architecture;
  if (options.generation_slots == 0) return;
  const int64_t size = options.generation_slots * options.generation_length * a.num_kv_heads * a.head_dim;
  for (int64_t l = 0; l < a.num_layers; ++l) {
    float* keys = arena.take(size);
    float* values = arena.take(size);
    layers.push_back({keys, values, static_cast<int32_t>(options.generation_length)});
  }
}

SessionPlan plan_session(const SessionOptions& options, const Backend& backend) {
  validate(options);
  const Architecture& a = options.architecture;
  const ModelTable table(a);
  Arena activations;
  Arena workspace;
  Arena kv_cache;
  const Activations measured_activations(activations, options);
  const Scratch measured_scratch(workspace, options, backend);
  const KvCache measured_cache(kv_cache, options);

  SessionPlan plan{};
  const ParameterSetBytes base = ParameterSet::bytes_of(table, options.trainable, options.optimizer);
  plan.parameters = table.parameters();
  plan.weights = base.weights;
  plan.gradients = base.gradients;
  plan.optimizer = base.optimizer;
  plan.snapshot = Snapshot::bytes_of({base});
  plan.activations = static_cast<int64_t>(activations.peak());
  plan.workspace = static_cast<int64_t>(workspace.peak());
  plan.kv_cache = static_cast<int64_t>(kv_cache.peak());
  plan.total = plan.weights + plan.gradients + plan.optimizer + plan.activations + plan.workspace +
               plan.kv_cache + plan.snapshot;

  // Two for each weight of a matrix product forward, four backward; attention sees half of a full context on
  // average, twice (scores and values).
  const double head = static_cast<double>(a.vocab_size * a.hidden_size);
  const double layer =
      static_cast<double>(a.hidden_size) *
      static_cast<double>(a.qkv_width() + a.attention_width() + a.up_width() + a.intermediate_size);
  const double context = static_cast<double>(std::min(options.max_tokens, a.max_positions));
  const double attention = 2.0 * static_cast<double>(a.attention_width()) * context;
  const double passes = options.recompute ? 4.0 : 3.0;
  plan.train_flops_per_token =
      static_cast<double>(a.num_layers) * passes * (2.0 * layer + attention) + 3.0 * 2.0 * head;
  return plan;
}

}  // namespace anneal
