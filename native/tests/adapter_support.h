// Adapters over small models, and batches for them.
#pragma once

#include <cmath>
#include <numeric>
#include <string>
#include <utility>
#include <vector>

#include "tests/engine_support.h"

namespace anneal::test {

inline const std::vector<std::string> kLinear = {"self_attn.q_proj", "self_attn.k_proj", "self_attn.v_proj",
                                                 "self_attn.o_proj", "mlp.gate_proj",    "mlp.up_proj",
                                                 "mlp.down_proj"};

inline std::string in_layer(int64_t layer, const std::string& rest) {
  return "model.layers." + std::to_string(layer) + "." + rest;
}

/// An update of every linear layer.
inline AdapterOptions all_linear(bool dora, float dropout = 0.0f) {
  AdapterOptions options;
  options.trainable = true;
  for (int64_t layer = 0; layer < 2; ++layer) {
    for (const std::string& name : kLinear) {
      options.modules.push_back({in_layer(layer, name), 3, 0.7f, dropout, dora});
    }
  }
  return options;
}

inline Architecture biased_architecture() {
  Architecture a = small_architecture();
  a.qkv_bias = a.out_bias = a.mlp_bias = true;
  a.tie_embeddings = false;
  return a;
}

/// Some modules with and some without DoRA, copies of parts of fused groups, of vectors and of the head, a
/// scalar head.
inline AdapterOptions mixed_adapter() {
  AdapterOptions options;
  options.trainable = true;
  options.modules = {{in_layer(0, "self_attn.q_proj"), 2, 0.5f, 0.0f, true},
                     {in_layer(0, "self_attn.v_proj"), 4, 1.5f, 0.0f, false},
                     {in_layer(1, "mlp.up_proj"), 2, 0.5f, 0.0f, true},
                     {in_layer(1, "mlp.down_proj"), 2, 0.5f, 0.0f, true},
                     {in_layer(1, "self_attn.o_proj"), 1, 0.5f, 0.0f, false},
                     {"lm_head", 3, 0.8f, 0.0f, false}};
  options.replaces = {in_layer(0, "self_attn.k_proj.weight"),
                      in_layer(0, "self_attn.q_proj.bias"),
                      in_layer(1, "mlp.gate_proj.weight"),
                      in_layer(1, "self_attn.v_proj.bias"),
                      in_layer(1, "mlp.down_proj.bias"),
                      in_layer(1, "input_layernorm.weight"),
                      "model.embed_tokens.weight",
                      "model.norm.weight"};
  options.score_head = true;
  return options;
}

inline SessionOptions over_frozen(const Architecture& architecture, std::vector<AdapterOptions> adapters) {
  SessionOptions options = small_options(architecture);
  options.trainable = false;
  options.adapters = std::move(adapters);
  options.max_targets = 128;
  return options;
}

/// A prefix chain, a row scored twice, two targets a row, a temperature, and values if asked for.
inline Batch mixed_batch(int64_t adapter, bool values) {
  Batch batch;
  batch.tokens = random_ids(14, 3);
  batch.cu_seqlens = {0, 4, 8, 11, 12, 14};
  batch.prefix = {-1, 0, 1, -1, 0};
  batch.scored = {1, 3, 3, 5, 7, 9, 10, 11, 13};
  batch.targets_per_row = 2;
  batch.targets = random_ids(2 * batch.scored.size(), 4);
  batch.temperature = 0.8f;
  batch.outputs = values ? Outputs::kBoth : Outputs::kTokens;
  batch.adapter = adapter;
  return batch;
}

/// Arbitrary fixed gradients of a loss that is linear in the scores.
inline ScoreGradients mixed_gradients(const Scores& scores) {
  const auto waves = [](size_t count, float phase) {
    std::vector<float> values;
    for (size_t i = 0; i < count; ++i)
      values.push_back(0.3f * std::sin(phase * static_cast<float>(i) + phase));
    return values;
  };
  return {waves(scores.log_probs.size(), 1.0f), waves(scores.entropies.size(), 2.0f),
          waves(scores.log_z.size(), 3.0f), waves(scores.values.size(), 1.7f)};
}

inline double dot(const std::vector<float>& a, const std::vector<float>& b) {
  return std::inner_product(a.begin(), a.end(), b.begin(), 0.0, std::plus<>(),
                            [](float x, float y) { return static_cast<double>(x) * static_cast<double>(y); });
}

inline double loss_of(const Scores& scores) {
  const ScoreGradients g = mixed_gradients(scores);
  return dot(g.log_probs, scores.log_probs) + dot(g.entropies, scores.entropies) +
         dot(g.log_z, scores.log_z) + dot(g.values, scores.values);
}

inline Scores run(Engine& engine, const Batch& batch) {
  const Scores scores = engine.forward(batch);
  engine.backward(mixed_gradients(scores));
  return scores;
}

}  // namespace anneal::test
