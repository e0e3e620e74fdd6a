// The decoder's forward and backward passes over packed rows: a sequence of calls of the backend, nothing
// else.
//
// One layer (pre-normalisation, residual stream x):
//   x += out(attention(rope(qk_norm(qkv(norm(x))))));  x += down(activation(up(norm(x))))
#pragma once

#include <atomic>
#include <functional>
#include <optional>

#include "backend/backend.h"
#include "engine/buffers.h"
#include "engine/options.h"
#include "engine/weights.h"

namespace anneal {

class Decoder {
 public:
  /// Called between qkv and the output projection; fills layer.attention_out from layer.qkv.
  using Attend = std::function<void(int64_t layer, const LayerActivations&)>;

  /// All references outlive the decoder. When `cancelled` is set, the running pass throws CodedError "closed"
  /// between two layers.
  Decoder(Backend& backend, const SessionOptions& options, const Activations& activations,
          const Scratch& scratch, const std::atomic<bool>& cancelled);

  /// Chooses the weights of the passes that follow, and their dropout (none without a seed). `weights`
  /// outlives its use. To be called before the first pass.
  void use(const Weights& weights, std::optional<uint64_t> dropout_seed = std::nullopt);
  [[nodiscard]] const Weights& weights() const { return *weights_; }

  /// Embeds activations.tokens and runs all layers; the residual stream ends in activations.final_in.
  void forward(const BatchLayout& layout);
  /// The same without keeping anything for backward, with attention as the caller computes it. Uses the first
  /// layer's buffers for all layers.
  void forward_inference(int64_t T, const Attend& attend);
  /// Gathers N scored rows and normalises them: scored_in, scored_normed.
  void final_norm(int64_t N);
  /// The language-model head with its updates; targets and temperature are for the caller to set.
  [[nodiscard]] LmHead lm_head() const;
  /// logits [N, V] of scored_normed. `workspace` as lm_head_workspace says; may be null if no adapter updates
  /// the head.
  void logits(float* to, int64_t N, float* workspace);
  /// From scratch.d_scored (gradient of scored_normed) to the gradients of all weights but the heads', down
  /// to the lowest that are trained.
  void backward(const BatchLayout& layout, int64_t N);

 private:
  /// `residual_out` null: the layer's output is not needed, but all that its backward reads.
  void layer_forward(int64_t layer, const LayerActivations& a, float* residual_out, int64_t T,
                     const Attend& attend);
  void layer_backward(int64_t layer, const LayerActivations& a, const BatchLayout& layout);
  void attention_backward(int64_t layer, const LayerActivations& a, const BatchLayout& layout);

  void embed(float* to, int64_t T);
  /// y = projection of x, or y += ...; `u` is the layer's, `unscaled` the projection's (see
  /// LayerActivations).
  void project(float* y, const float* x, const Projection& projection, float* u, float* unscaled, int64_t T,
               bool accumulate);
  /// Only what the backward of a projection reads again: `u` and, with DoRA, `unscaled`.
  void project_kept(const float* x, const Projection& projection, float* u, float* unscaled, int64_t T);
  /// Gradients of the projection's weights, and dx (null: not needed).
  void project_backward(float* dx, const float* dy, const float* x, const Projection& projection,
                        const float* u, const float* unscaled, int64_t T);
  /// Whether it is DoRA whose input this pass drops.
  [[nodiscard]] bool drops(const ColumnUpdate& update) const;
  /// Fills `unscaled` and `u` of such a segment and scratch_.dropped.
  void dropped_forward(const float* x, const Projection& projection, const Segment& segment,
                       const ColumnUpdate& update, float* u, float* unscaled, int64_t T);
  /// Its gradients, d_unscaled found before; dx is overwritten by the first segment, and added to by others.
  void dropped_backward(float* dx, const float* dy, const float* x, const Projection& projection,
                        const Segment& segment, const ColumnUpdate& update, const float* u, int64_t T);
  void norm_forward(float* y, float* mean, float* rstd, const float* x, const Parameter& weight,
                    const Parameter& bias, int64_t T);
  void norm_backward(float* dx, const float* dy, const float* x, const float* mean, const float* rstd,
                     const Parameter& weight, const Parameter& bias, int64_t T, bool accumulate);
  [[nodiscard]] LowRank with_dropout(const ColumnUpdate& update) const;
  [[nodiscard]] bool trained_below(int64_t place) const { return weights_->lowest < place; }
  void check_cancelled() const;

  Backend& backend_;
  const Architecture& architecture_;
  const Activations& activations_;
  const Scratch& scratch_;
  const std::atomic<bool>& cancelled_;
  const bool recompute_;
  const AttentionShape shape_;
  const Weights* weights_ = nullptr;
  std::optional<uint64_t> dropout_seed_;
};

}  // namespace anneal
