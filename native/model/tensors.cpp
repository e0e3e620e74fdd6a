#include "model/tensors.h"

#include <stdexcept>

#include "model/crc32c.h"

namespace anneal {
namespace {

constexpr int64_t kAlignment = 16;

std::string layer_name(int64_t layer, const char* rest) {
  return "model.layers." + std::to_string(layer) + "." + rest;
}

}  // namespace

ModelTable::ModelTable(const Architecture& architecture) {
  layers_.resize(static_cast<size_t>(architecture.num_layers));
  add_matrices(architecture);
  begin_vectors();
  add_vectors(architecture);
  align();
}

void TensorTable::align() { buffer_size_ = (buffer_size_ + kAlignment - 1) / kAlignment * kAlignment; }

void TensorTable::begin_vectors() {
  align();
  vectors_begin_ = buffer_size_;
}

int64_t TensorTable::add(std::string name, std::vector<int64_t> shape, Initialisation initialisation) {
  Tensor tensor{std::move(name), std::move(shape), buffer_size_, 1, initialisation};
  for (int64_t extent : tensor.shape) tensor.size *= extent;
  buffer_size_ += tensor.size;
  parameters_ += tensor.size;
  by_name_.emplace(tensor.name, tensors_.size());
  tensors_.push_back(std::move(tensor));
  return tensors_.back().offset;
}

void ModelTable::add_matrices(const Architecture& a) {
  const int64_t D = a.hidden_size;
  const int64_t F = a.intermediate_size;
  const int64_t query = a.num_heads * a.head_dim;
  const int64_t key = a.num_kv_heads * a.head_dim;
  const bool gated = a.activation == Activation::kSwiGlu;
  embedding_ = add("model.embed_tokens.weight", {a.vocab_size, D}, Initialisation::kNormal);
  for (int64_t l = 0; l < a.num_layers; ++l) {
    LayerOffsets& offsets = layers_[static_cast<size_t>(l)];
    align();
    offsets.qkv_weight = add(layer_name(l, "self_attn.q_proj.weight"), {query, D}, Initialisation::kNormal);
    add(layer_name(l, "self_attn.k_proj.weight"), {key, D}, Initialisation::kNormal);
    add(layer_name(l, "self_attn.v_proj.weight"), {key, D}, Initialisation::kNormal);
    align();
    offsets.out_weight =
        add(layer_name(l, "self_attn.o_proj.weight"), {D, query}, Initialisation::kNormalResidual);
    align();
    if (gated) {
      offsets.up_weight = add(layer_name(l, "mlp.gate_proj.weight"), {F, D}, Initialisation::kNormal);
      add(layer_name(l, "mlp.up_proj.weight"), {F, D}, Initialisation::kNormal);
    } else {
      offsets.up_weight = add(layer_name(l, "mlp.c_fc.weight"), {F, D}, Initialisation::kNormal);
    }
    align();
    offsets.down_weight = add(layer_name(l, gated ? "mlp.down_proj.weight" : "mlp.c_proj.weight"), {D, F},
                              Initialisation::kNormalResidual);
  }
  align();
  head_ = a.tie_embeddings ? embedding_ : add("lm_head.weight", {a.vocab_size, D}, Initialisation::kNormal);
  if (!a.score_head) return;
  align();
  score_ = add("score.weight", {1, D}, Initialisation::kNormal);
}

void ModelTable::add_vectors(const Architecture& a) {
  const int64_t D = a.hidden_size;
  const int64_t F = a.intermediate_size;
  const int64_t query = a.num_heads * a.head_dim;
  const int64_t key = a.num_kv_heads * a.head_dim;
  const bool gated = a.activation == Activation::kSwiGlu;
  const auto add_norm = [&](const std::string& name, int64_t size, int64_t& weight, int64_t& bias) {
    align();
    weight = add(name + ".weight", {size}, Initialisation::kOnes);
    align();
    if (a.norm == Norm::kLayerNorm) bias = add(name + ".bias", {size}, Initialisation::kZeros);
  };
  for (int64_t l = 0; l < a.num_layers; ++l) {
    LayerOffsets& offsets = layers_[static_cast<size_t>(l)];
    add_norm(layer_name(l, "input_layernorm"), D, offsets.attention_norm_weight, offsets.attention_norm_bias);
    if (a.qkv_bias) {
      align();
      offsets.qkv_bias = add(layer_name(l, "self_attn.q_proj.bias"), {query}, Initialisation::kZeros);
      add(layer_name(l, "self_attn.k_proj.bias"), {key}, Initialisation::kZeros);
      add(layer_name(l, "self_attn.v_proj.bias"), {key}, Initialisation::kZeros);
    }
    if (a.qk_norm) {
      align();
      offsets.q_norm = add(layer_name(l, "self_attn.q_norm.weight"), {a.head_dim}, Initialisation::kOnes);
      align();
      offsets.k_norm = add(layer_name(l, "self_attn.k_norm.weight"), {a.head_dim}, Initialisation::kOnes);
    }
    if (a.out_bias) {
      align();
      offsets.out_bias = add(layer_name(l, "self_attn.o_proj.bias"), {D}, Initialisation::kZeros);
    }
    add_norm(layer_name(l, "post_attention_layernorm"), D, offsets.mlp_norm_weight, offsets.mlp_norm_bias);
    if (a.mlp_bias) {
      align();
      if (gated) {
        offsets.up_bias = add(layer_name(l, "mlp.gate_proj.bias"), {F}, Initialisation::kZeros);
        add(layer_name(l, "mlp.up_proj.bias"), {F}, Initialisation::kZeros);
      } else {
        offsets.up_bias = add(layer_name(l, "mlp.c_fc.bias"), {F}, Initialisation::kZeros);
      }
      align();
      offsets.down_bias =
          add(layer_name(l, gated ? "mlp.down_proj.bias" : "mlp.c_proj.bias"), {D}, Initialisation::kZeros);
    }
  }
  add_norm("model.norm", D, final_norm_weight_, final_norm_bias_);
}

const Tensor& TensorTable::find(std::string_view name) const {
  const auto found = by_name_.find(std::string(name));
  if (found == by_name_.end()) {
    throw std::invalid_argument("there is no tensor named '" + std::string(name) + "'");
  }
  return tensors_[found->second];
}

uint32_t TensorTable::fingerprint() const {
  uint32_t crc = 0;
  for (const Tensor& tensor : tensors_) {
    crc = crc32c(crc, tensor.name.data(), tensor.name.size());
    crc = crc32c(crc, tensor.shape.data(), tensor.shape.size() * sizeof(int64_t));
    crc = crc32c(crc, &tensor.offset, sizeof(tensor.offset));
  }
  return crc;
}

}  // namespace anneal
