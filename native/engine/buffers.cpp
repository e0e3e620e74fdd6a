#include "engine/buffers.h"

#include <algorithm>
#include <map>
#include <string>

#include "engine/parameter_set.h"
#include "engine/snapshot.h"

namespace anneal {
namespace {

int64_t floats(size_t bytes) { return static_cast<int64_t>((bytes + sizeof(float) - 1) / sizeof(float)); }

/// Bytes that the head needs for N rows: the most with any of the updates that it may have.
size_t head_workspace(const Backend& backend, const Architecture& a, const AdapterSizes& adapters,
                      int64_t N) {
  LmHead head;
  head.hidden_size = a.hidden_size;
  head.vocab_size = a.vocab_size;
  size_t bytes = backend.lm_head_workspace(head, N);
  for (const LowRank& update : adapters.head_updates) {
    head.updates = {update};
    bytes = std::max(bytes, backend.lm_head_workspace(head, N));
  }
  return bytes;
}

/// The most optimiser scratch of any set that is trained.
int64_t step_workspace(const SessionOptions& options, const Backend& backend) {
  const ModelTable table(options.architecture);
  int64_t bytes = options.trainable ? optimizer_workspace(table, options.optimizer, backend) : 0;
  for (size_t i = 0; i < options.adapters.size(); ++i) {
    if (!options.adapters[i].trainable) continue;
    const AdapterTable adapter(options.adapters[i], table, options.architecture, i);
    bytes = std::max(bytes, optimizer_workspace(adapter, options.optimizer, backend));
  }
  return bytes;
}

/// Everything of a layer but the two residual streams.
LayerActivations take_layer(Arena& arena, const Architecture& a, const AdapterSizes& adapters, int64_t T) {
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
  layer.u = adapters.layer_rank > 0 ? arena.take(T * adapters.layer_rank) : nullptr;
  layer.unscaled_qkv = adapters.dora_qkv ? arena.take(T * a.qkv_width()) : nullptr;
  layer.unscaled_out = adapters.dora_out ? arena.take(T * a.hidden_size) : nullptr;
  layer.unscaled_up = adapters.dora_up ? arena.take(T * a.up_width()) : nullptr;
  layer.unscaled_down = adapters.dora_down ? arena.take(T * a.hidden_size) : nullptr;
  return layer;
}

}  // namespace

AdapterSizes::AdapterSizes(const SessionOptions& options) {
  const ModelTable table(options.architecture);
  for (size_t i = 0; i < options.adapters.size(); ++i) {
    const AdapterTable adapter(options.adapters[i], table, options.architecture, i);
    std::map<std::string, int64_t> ranks;  // by layer
    for (const LowRankPlace& place : adapter.updates()) {
      LowRank sizes;
      sizes.rank = place.module.rank;
      sizes.in = place.in;
      sizes.out = place.out;
      // Scratch of an embedding's update is no larger than without dropout.
      sizes.dropout = place.embedding ? 0.0f : place.module.dropout;
      const std::string& name = place.module.name;
      if (name == "lm_head") {
        head_updates.push_back(sizes);
        continue;
      }
      updates.push_back(sizes);
      const bool attention = name.find(".self_attn.") != std::string::npos;
      if (!place.embedding) {
        int64_t& rank = ranks[name.substr(0, name.find(attention ? ".self_attn." : ".mlp."))];
        rank += place.module.rank;
        layer_rank = std::max(layer_rank, rank);
      }
      if (!place.module.dora) continue;
      if (place.module.dropout > 0.0f) dora_dropped = std::max(dora_dropped, place.in);
      const bool last = name.ends_with("o_proj") || name.ends_with("down_proj") || name.ends_with("c_proj");
      (attention ? (last ? dora_out : dora_qkv) : (last ? dora_down : dora_up)) = true;
    }
  }
}

Activations::Activations(Arena& arena, const SessionOptions& options) {
  const Architecture& a = options.architecture;
  const int64_t T = options.max_rows();
  const int64_t N = options.max_head_rows();
  const AdapterSizes adapters(options);
  const bool keep_all = options.any_trainable() && !options.recompute;
  final_in = arena.take(T * a.hidden_size);
  LayerActivations shared;
  if (!keep_all) {
    shared = take_layer(arena, a, adapters, T);
    shared.attention_in = final_in;
    shared.mlp_in = options.any_trainable() ? arena.take(T * a.hidden_size) : final_in;
  }
  for (int64_t l = 0; l < a.num_layers; ++l) {
    LayerActivations layer = keep_all ? take_layer(arena, a, adapters, T) : shared;
    if (options.any_trainable()) layer.attention_in = arena.take(T * a.hidden_size);
    if (keep_all) layer.mlp_in = arena.take(T * a.hidden_size);
    layers.push_back(layer);
  }
  scored_in = arena.take(N * a.hidden_size);
  scored_normed = arena.take(N * a.hidden_size);
  final_mean = a.norm == Norm::kLayerNorm ? arena.take(N) : nullptr;
  final_rstd = arena.take(N);
  head.log_prob = arena.take(options.target_capacity());
  head.hit = arena.take(options.target_capacity());
  head.entropy = arena.take(N);
  head.log_z = arena.take(N);
  head.mean_logit = arena.take(N);
  head.log_sum_squares = arena.take(N);
  if (options.any_score_head()) values = arena.take(N);
  tokens = arena.take<int32_t>(T);
  positions = arena.take<int32_t>(T);
  scored = arena.take<int32_t>(N);
  targets = arena.take<int32_t>(options.target_capacity());
}

Scratch::Scratch(Arena& arena, const SessionOptions& options, const Backend& backend) {
  const Architecture& a = options.architecture;
  const int64_t T = options.max_rows();
  const int64_t N = options.max_head_rows();
  const AdapterSizes adapters(options);
  const bool trained = options.any_trainable();
  inverse_frequencies = arena.take(a.head_dim / 2);
  // A step comes after the passes, and row lengths before them: they use their memory.
  const size_t passes = arena.mark();
  if (trained) optimizer = arena.take(floats(static_cast<size_t>(step_workspace(options, backend))));
  arena.rewind(passes);
  const auto largest = [](const std::vector<LowRank>& updates, const auto& bytes) {
    size_t most = 0;
    for (const LowRank& update : updates) most = std::max(most, bytes(update));
    return floats(most);
  };
  if (adapters.dora_qkv || adapters.dora_out || adapters.dora_up || adapters.dora_down) {
    dora = arena.take(largest(adapters.updates, [&](const LowRank& update) {
      return backend.dora_inverse_norm_workspace(update);
    }));
    arena.rewind(passes);
  }
  if (trained) {
    d_log_prob = arena.take(options.target_capacity());
    d_entropy = arena.take(N);
    d_log_z = arena.take(N);
    d_values = arena.take(N);
    d_scored = arena.take(N * a.hidden_size);
  }
  // The head is done before attention's backward begins and after its forward has ended: they share memory.
  const size_t start = arena.mark();
  head = arena.take(floats(head_workspace(backend, a, adapters, options.max_scored)));
  kept_logits = arena.take(options.kept_logit_rows() * a.vocab_size);
  arena.rewind(start);
  if (options.generation_slots > 0) {
    logits = arena.take(options.generation_head_rows() * a.vocab_size);
    if (!adapters.head_updates.empty()) {
      logits_workspace =
          arena.take(floats(head_workspace(backend, a, adapters, options.generation_head_rows())));
    }
    sample = arena.take(floats(backend.sample_workspace(a.vocab_size)));
  }
  attention = arena.take(floats(std::max(backend.attention_workspace(options.max_tokens, a.attention_shape()),
                                         backend.attention_paged_workspace(a.attention_shape()))));
  low_rank = arena.take(largest(
      adapters.updates, [&](const LowRank& update) { return backend.low_rank_workspace(update, T); }));
  dropped = arena.take(T * adapters.dora_dropped);
  if (!trained) return;
  d_dropped = arena.take(T * adapters.dora_dropped);
  norm = arena.take(floats(std::max(backend.rms_norm_backward_workspace(std::max(a.hidden_size, a.head_dim)),
                                    backend.layer_norm_backward_workspace(a.hidden_size))));
  d_residual = arena.take(T * a.hidden_size);
  d_normed = arena.take(T * a.hidden_size);
  d_qkv = arena.take(T * a.qkv_width());
  d_raw_qkv = a.qk_norm ? arena.take(T * a.qkv_width()) : d_qkv;
  d_attention = arena.take(T * a.attention_width());
  d_activated = arena.take(T * a.intermediate_size);
  d_unscaled =
      arena.take(T * std::max({adapters.dora_qkv ? a.qkv_width() : 0, adapters.dora_up ? a.up_width() : 0,
                               adapters.dora_out || adapters.dora_down ? a.hidden_size : 0}));
}

KvCache::KvCache(Arena& arena, const SessionOptions& options) {
  if (options.generation_slots == 0) return;
  const int64_t size = options.generation_pages() * options.architecture.attention_shape().page_floats();
  for (int64_t l = 0; l < options.architecture.num_layers; ++l) {
    float* keys = arena.take(size);
    float* values = arena.take(size);
    layers.push_back({keys, values});
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
  std::vector<ParameterSetBytes> sets{ParameterSet::bytes_of(table, options.trainable, options.optimizer)};
  plan.parameters = table.parameters();
  int64_t inverse_norms = 0;
  for (size_t i = 0; i < options.adapters.size(); ++i) {
    const AdapterTable adapter(options.adapters[i], table, a, i);
    sets.push_back(ParameterSet::bytes_of(adapter, options.adapters[i].trainable, options.optimizer));
    plan.parameters += adapter.parameters();
    inverse_norms += adapter.inverse_norms() * static_cast<int64_t>(sizeof(float));
  }
  for (const ParameterSetBytes& set : sets) {
    plan.weights += set.weights;
    plan.gradients += set.gradients;
    plan.optimizer += set.optimizer;
  }
  plan.weights += inverse_norms;
  plan.snapshot = Snapshot::bytes_of(sets);
  plan.activations = static_cast<int64_t>(activations.peak());
  plan.workspace = static_cast<int64_t>(workspace.peak());
  plan.kv_cache = static_cast<int64_t>(kv_cache.peak());
  plan.total = plan.weights + plan.gradients + plan.optimizer + plan.activations + plan.workspace +
               plan.kv_cache + plan.snapshot;

  // Two for each weight of a matrix product forward, two backward for its input and two, if the base is
  // trained, for the weight; attention sees half of a full context on average, twice (scores and values).
  // What adapters add is small.
  const double head = static_cast<double>(a.vocab_size * a.hidden_size);
  const double layer =
      static_cast<double>(a.hidden_size) *
      static_cast<double>(a.qkv_width() + a.attention_width() + a.up_width() + a.intermediate_size);
  const double context = static_cast<double>(std::min(options.max_tokens, a.max_positions));
  const double attention = 2.0 * static_cast<double>(a.attention_width()) * context;
  const double recomputed = options.recompute ? 1.0 : 0.0;
  const double products = (options.trainable ? 3.0 : 2.0) + recomputed;
  plan.train_flops_per_token =
      static_cast<double>(a.num_layers) * (products * 2.0 * layer + (3.0 + recomputed) * attention) +
      (options.trainable ? 3.0 : 2.0) * 2.0 * head;
  return plan;
}

}  // namespace anneal
