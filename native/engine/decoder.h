// The decoder's forward and backward passes over packed rows: a sequence of calls of the backend, nothing
// else.
//
// One layer (pre-normalisation, residual stream x):
//   x += out(attention(rope(qk_norm(qkv(norm(x))))));  x += down(activation(up(norm(x))))
#pragma once

#include <atomic>
#include <functional>

#include "backend/backend.h"
#include "engine/buffers.h"
#include "engine/options.h"
#include "model/tensors.h"

namespace anneal {

class Decoder {
 public:
  /// Called between qkv and the output projection; fills layer.attention_out from layer.qkv.
  using Attend = std::function<void(int64_t layer, const LayerActivations&)>;

  /// `gradients` null: no backward. All references outlive the decoder. When `cancelled` is set, the running
  /// pass throws CodedError "closed" between two layers.
  Decoder(Backend& backend, const SessionOptions& options, const ModelTable& table,
          const Activations& activations, const Scratch& scratch, const float* weights, float* gradients,
          const std::atomic<bool>& cancelled);

  /// Embeds activations.tokens and runs all layers; the residual stream ends in activations.final_in.
  void forward(const BatchLayout& layout);
  /// The same without keeping anything for backward, with attention as the caller computes it. Uses the first
  /// layer's buffers for all layers.
  void forward_inference(int64_t T, const Attend& attend);
  /// Gathers N scored rows and normalises them: scored_in, scored_normed.
  void final_norm(int64_t N);
  /// From scratch.d_scored (gradient of scored_normed) to the gradients of all weights but the head's.
  void backward(const BatchLayout& layout, int64_t N);

 private:
  /// `residual_out` null: stop before the down projection (backward needs its inputs only).
  void layer_forward(int64_t layer, const LayerActivations& a, float* residual_out, int64_t T,
                     const Attend& attend);
  void layer_backward(int64_t layer, const LayerActivations& a, const BatchLayout& layout);
  void norm_forward(float* y, float* mean, float* rstd, const float* x, int64_t weight, int64_t bias,
                    int64_t T);
  void norm_backward(float* dx, const float* dy, const float* x, const float* mean, const float* rstd,
                     int64_t weight, int64_t bias, int64_t T, bool accumulate);
  void check_cancelled() const;
  [[nodiscard]] const float* weight(int64_t offset) const { return offset < 0 ? nullptr : weights_ + offset; }
  [[nodiscard]] float* gradient(int64_t offset) const { return offset < 0 ? nullptr : gradients_ + offset; }

  Backend& backend_;
  const Architecture& architecture_;
  const ModelTable& table_;
  const Activations& activations_;
  const Scratch& scratch_;
  const float* weights_;
  float* gradients_;
  const std::atomic<bool>& cancelled_;
  const bool recompute_;
  const AttentionShape shape_;
};

}  // namespace anneal
