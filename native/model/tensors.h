// Where each tensor of a model lives in ONE flat float32 buffer, by its Hugging Face name (Llama layout).
//
// Matrices come first and vectors (norms, biases) after them, so that the optimiser decays one range and
// leaves the other alone. Within a layer q, k and v lie end to end, and so do gate and up: each group is one
// matrix product. Groups start at multiples of 16 floats (64 bytes); the gaps hold zeros and stay zero.
// Gradients use a buffer of the same layout.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <unordered_map>
#include <vector>

#include "model/architecture.h"

namespace anneal {

/// How a tensor starts before training.
enum class Initialisation { kNormal, kNormalResidual, kOnes, kZeros };

struct Tensor {
  std::string name;
  std::vector<int64_t> shape;
  int64_t offset = 0;  // in floats
  int64_t size = 0;    // in floats
  Initialisation initialisation = Initialisation::kZeros;
};

/// Offsets of a layer's groups; -1 where the architecture has none.
struct LayerOffsets {
  int64_t qkv_weight = -1, qkv_bias = -1;
  int64_t q_norm = -1, k_norm = -1;
  int64_t out_weight = -1, out_bias = -1;
  int64_t up_weight = -1, up_bias = -1;  // gate and up, or up alone
  int64_t down_weight = -1, down_bias = -1;
  int64_t attention_norm_weight = -1, attention_norm_bias = -1;
  int64_t mlp_norm_weight = -1, mlp_norm_bias = -1;
};

/// Names, shapes and places of the tensors of one flat buffer.
class TensorTable {
 public:
  [[nodiscard]] const std::vector<Tensor>& tensors() const { return tensors_; }
  /// Throws std::invalid_argument if there is no tensor of this name.
  [[nodiscard]] const Tensor& find(std::string_view name) const;
  [[nodiscard]] bool contains(std::string_view name) const { return by_name_.contains(std::string(name)); }

  /// Numbers, without gaps.
  [[nodiscard]] int64_t parameters() const { return parameters_; }
  /// Floats of the flat buffer, and where its vectors begin.
  [[nodiscard]] int64_t buffer_size() const { return buffer_size_; }
  [[nodiscard]] int64_t vectors_begin() const { return vectors_begin_; }
  /// Identifies names, shapes and offsets: a state file of another model does not fit.
  [[nodiscard]] uint32_t fingerprint() const;

  // Building: matrices, begin_vectors, vectors, align.
  /// Appends a tensor; returns its offset.
  int64_t add(std::string name, std::vector<int64_t> shape, Initialisation initialisation);
  /// The next tensor starts at a multiple of 16 floats.
  void align();
  void begin_vectors();

 private:
  std::vector<Tensor> tensors_;
  std::unordered_map<std::string, size_t> by_name_;
  int64_t parameters_ = 0, buffer_size_ = 0, vectors_begin_ = 0;
};

/// The table of a base model, with the places that the decoder reads.
class ModelTable : public TensorTable {
 public:
  explicit ModelTable(const Architecture& architecture);

  [[nodiscard]] const LayerOffsets& layer(int64_t index) const { return layers_[static_cast<size_t>(index)]; }
  [[nodiscard]] int64_t embedding() const { return embedding_; }
  /// The head's matrix: the embedding itself if tied.
  [[nodiscard]] int64_t head() const { return head_; }
  /// The scalar head's vector; -1 without one.
  [[nodiscard]] int64_t score() const { return score_; }
  [[nodiscard]] int64_t final_norm_weight() const { return final_norm_weight_; }
  [[nodiscard]] int64_t final_norm_bias() const { return final_norm_bias_; }

 private:
  void add_matrices(const Architecture& a);
  void add_vectors(const Architecture& a);

  std::vector<LayerOffsets> layers_;
  int64_t embedding_ = 0, head_ = 0, score_ = -1, final_norm_weight_ = 0, final_norm_bias_ = -1;
};

}  // namespace anneal
