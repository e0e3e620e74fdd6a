#include "engine/decoder.h"

#include <cmath>
#include <vector>

#include "model/errors.h"

namespace anneal {

Decoder::Decoder(Backend& backend, const SessionOptions& options, const Activations& activations,
                 const Scratch& scratch, const std::atomic<bool>& cancelled)
    : backend_(backend),
      architecture_(options.architecture),
      activations_(activations),
      scratch_(scratch),
      cancelled_(cancelled),
      recompute_(options.recompute),
      shape_(options.architecture.attention_shape()) {
  const int64_t half = architecture_.head_dim / 2;
  std::vector<float> inverse_frequencies(static_cast<size_t>(half));
  for (int64_t i = 0; i < half; ++i) {
    // In float32, as the field computes it, so that long contexts see the same angles.
    const float exponent = static_cast<float>(2 * i) / static_cast<float>(architecture_.head_dim);
    inverse_frequencies[static_cast<size_t>(i)] = 1.0f / std::pow(architecture_.rope_theta, exponent);
  }
  backend_.copy_to_device(scratch_.inverse_frequencies, inverse_frequencies.data(),
                          inverse_frequencies.size() * sizeof(float));
}

void Decoder::check_cancelled() const {
  if (cancelled_.load(std::memory_order_relaxed)) throw CodedError("closed", "the session was closed");
}

void Decoder::use(const Weights& weights, std::optional<uint64_t> dropout_seed) {
  weights_ = &weights;
  dropout_seed_ = dropout_seed;
}

void Decoder::norm_forward(float* y, float* mean, float* rstd, const float* x, const Parameter& w,
                           const Parameter& b, int64_t T) {
  const int64_t D = architecture_.hidden_size;
  if (architecture_.norm == Norm::kRmsNorm) {
    backend_.rms_norm_forward(y, rstd, x, w.w, T, 1, D, D, D, architecture_.norm_eps);
  } else {
    backend_.layer_norm_forward(y, mean, rstd, x, w.w, b.w, T, D, architecture_.norm_eps);
  }
}

void Decoder::norm_backward(float* dx, const float* dy, const float* x, const float* mean, const float* rstd,
                            const Parameter& w, const Parameter& b, int64_t T, bool accumulate) {
  const int64_t D = architecture_.hidden_size;
  if (architecture_.norm == Norm::kRmsNorm) {
    backend_.rms_norm_backward(dx, w.d, dy, x, w.w, rstd, T, 1, D, D, D, accumulate, scratch_.norm);
  } else {
    backend_.layer_norm_backward(dx, w.d, b.d, dy, x, w.w, mean, rstd, T, D, accumulate, scratch_.norm);
  }
}

void Decoder::layer_forward(int64_t index, const LayerActivations& a, float* residual_out, int64_t T,
                            const Attend& attend) {
  check_cancelled();
  const LayerWeights& w = weights_->layers[static_cast<size_t>(index)];
  const int64_t D = architecture_.hidden_size;
  const int64_t F = architecture_.intermediate_size;
  const int64_t E = architecture_.head_dim;
  const int64_t H = architecture_.num_heads;
  const int64_t G = architecture_.num_kv_heads;
  const int64_t width = architecture_.qkv_width();
  const size_t residual_bytes = static_cast<size_t>(T * D) * sizeof(float);

  norm_forward(a.attention_normed, a.attention_mean, a.attention_rstd, a.attention_in, w.attention_norm,
               w.attention_norm_bias, T);
  project(a.raw_qkv, a.attention_normed, w.qkv, a.u, a.unscaled_qkv, T, false);
  if (architecture_.qk_norm) {
    backend_.copy(a.qkv, a.raw_qkv, static_cast<size_t>(T * width) * sizeof(float));
    backend_.rms_norm_forward(a.qkv, a.q_rstd, a.raw_qkv, w.q_norm.w, T, H, E, width, width,
                              architecture_.norm_eps);
    backend_.rms_norm_forward(a.qkv + H * E, a.k_rstd, a.raw_qkv + H * E, w.k_norm.w, T, G, E, width, width,
                              architecture_.norm_eps);
  }
  // Queries and keys are neighbours: one call rotates both.
  backend_.rope(a.qkv, activations_.positions, scratch_.inverse_frequencies, T, H + G, E, width, 1);
  attend(index, a);
  if (a.mlp_in != a.attention_in) backend_.copy(a.mlp_in, a.attention_in, residual_bytes);
  project(a.mlp_in, a.attention_out, w.out, a.u, a.unscaled_out, T, true);

  norm_forward(a.mlp_normed, a.mlp_mean, a.mlp_rstd, a.mlp_in, w.mlp_norm, w.mlp_norm_bias, T);
  project(a.up, a.mlp_normed, w.up, a.u, a.unscaled_up, T, false);
  backend_.activation_forward(a.activated, a.up, architecture_.activation, T, F);
  if (residual_out == nullptr) {
    // Backward needs what the low-rank updates keep, but not the sum.
    project_kept(a.activated, w.down, a.u, a.unscaled_down, T);
    return;
  }
  if (residual_out != a.mlp_in) backend_.copy(residual_out, a.mlp_in, residual_bytes);
  project(residual_out, a.activated, w.down, a.u, a.unscaled_down, T, true);
}

void Decoder::embed(float* to, int64_t T) {
  backend_.embedding_forward(to, weights_->embedding.w, activations_.tokens, T, architecture_.hidden_size);
  if (!weights_->embedding_update.has_value()) return;
  backend_.low_rank_embedding_forward(to, activations_.tokens, *weights_->embedding_update, T,
                                      scratch_.low_rank);
}

void Decoder::forward(const BatchLayout& layout) {
  const int64_t T = layout.num_tokens;
  const auto attend = [&](int64_t, const LayerActivations& a) {
    backend_.attention_forward(a.attention_out, a.lse, a.qkv, layout, shape_, scratch_.attention);
  };
  const std::vector<LayerActivations>& layers = activations_.layers;
  embed(layers.front().attention_in, T);
  for (size_t l = 0; l < layers.size(); ++l) {
    float* out = l + 1 < layers.size() ? layers[l + 1].attention_in : activations_.final_in;
    layer_forward(static_cast<int64_t>(l), layers[l], out, T, attend);
  }
}

void Decoder::forward_inference(int64_t T, const Attend& attend) {
  LayerActivations in_place = activations_.layers.front();
  in_place.attention_in = activations_.final_in;
  in_place.mlp_in = activations_.final_in;
  embed(activations_.final_in, T);
  for (int64_t l = 0; l < architecture_.num_layers; ++l) {
    layer_forward(l, in_place, activations_.final_in, T, attend);
  }
}

void Decoder::final_norm(int64_t N) {
  backend_.gather_rows(activations_.scored_in, activations_.final_in, activations_.scored, N,
                       architecture_.hidden_size);
  norm_forward(activations_.scored_normed, activations_.final_mean, activations_.final_rstd,
               activations_.scored_in, weights_->final_norm, weights_->final_norm_bias, N);
}

LmHead Decoder::lm_head() const {
  LmHead head;
  head.hidden_size = architecture_.hidden_size;
  head.vocab_size = architecture_.vocab_size;
  head.w = weights_->head.w;
  head.dw = weights_->head.d;
  for (const ColumnUpdate& update : weights_->head_updates) head.updates.push_back(with_dropout(update));
  return head;
}

void Decoder::logits(float* to, int64_t N, float* workspace) {
  backend_.lm_head_logits(to, activations_.scored_normed, lm_head(), N, workspace);
}

}  // namespace anneal
