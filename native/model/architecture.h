// Description of a decoder-only language model: one decoder covers the families by these fields.
#pragma once

#include <cstdint>

#include "backend/backend.h"

namespace anneal {

enum class Norm { kRmsNorm, kLayerNorm };

/// Fields carry the names of Hugging Face configurations. Sizes are in elements.
struct Architecture {
  int64_t vocab_size = 0;
  int64_t hidden_size = 0;
  int64_t intermediate_size = 0;
  int64_t num_layers = 0;
  int64_t num_heads = 0;
  int64_t num_kv_heads = 0;
  int64_t head_dim = 0;
  Norm norm = Norm::kRmsNorm;
  float norm_eps = 1e-5f;
  Activation activation = Activation::kSwiGlu;
  float rope_theta = 10000.0f;
  bool qkv_bias = false;
  bool out_bias = false;
  bool mlp_bias = false;
  bool qk_norm = false;
  bool tie_embeddings = true;
  bool score_head = false;
  int64_t max_positions = 0;

  /// Floats in a row of the fused query, key and value projection.
  [[nodiscard]] int64_t qkv_width() const { return (num_heads + 2 * num_kv_heads) * head_dim; }
  /// Floats in a row of the attention's output, before the output projection.
  [[nodiscard]] int64_t attention_width() const { return num_heads * head_dim; }
  /// Floats in a row of the feed-forward's input to the activation: gate and up, or up alone.
  [[nodiscard]] int64_t up_width() const {
    return activation == Activation::kSwiGlu ? 2 * intermediate_size : intermediate_size;
  }
  [[nodiscard]] AttentionShape attention_shape() const;
};

/// Throws std::invalid_argument that names the field and its value if the sizes contradict each other.
void validate(const Architecture& architecture);

}  // namespace anneal
