// The decoder's backward pass. Gradients of activations are overwritten, gradients of weights are added to.
// It ends where nothing further down is trained.
#include "engine/decoder.h"

namespace anneal {

using Place = BackwardPlace;

void Decoder::backward(const BatchLayout& layout, int64_t N) {
  const int64_t T = layout.num_tokens;
  const int64_t D = architecture_.hidden_size;
  const int64_t L = architecture_.num_layers;
  const Weights& w = *weights_;
  if (w.lowest > Place::final_norm(L)) return;
  // scored_normed has served its purpose: it takes the gradient of scored_in.
  norm_backward(activations_.scored_normed, scratch_.d_scored, activations_.scored_in,
                activations_.final_mean, activations_.final_rstd, w.final_norm, w.final_norm_bias, N, false);
  backend_.scatter_rows(scratch_.d_residual, activations_.scored_normed, activations_.scored, N, T, D);

  const auto attend = [&](int64_t, const LayerActivations& a) {
    backend_.attention_forward(a.attention_out, a.lse, a.qkv, layout, shape_, scratch_.attention);
  };
  for (int64_t l = L - 1; l >= 0 && w.lowest <= Place::of(l, Place::kDown); --l) {
    const LayerActivations& layer = activations_.layers[static_cast<size_t>(l)];
    // The same operations on the same input: the same bits as if everything had been kept.
    if (recompute_) layer_forward(l, layer, nullptr, T, attend);
    layer_backward(l, layer, layout);
  }
  if (w.lowest > Place::kEmbedding) return;
  if (w.embedding.d != nullptr) {
    backend_.embedding_backward(w.embedding.d, scratch_.d_residual, activations_.tokens, T, D);
  }
  if (w.embedding_update.has_value()) {
    backend_.low_rank_embedding_backward(scratch_.d_residual, activations_.tokens, *w.embedding_update, T,
                                         scratch_.low_rank);
  }
}

void Decoder::layer_backward(int64_t index, const LayerActivations& a, const BatchLayout& layout) {
  check_cancelled();
  const LayerWeights& w = weights_->layers[static_cast<size_t>(index)];
  const int64_t T = layout.num_tokens;
  const Scratch& s = scratch_;
  const auto below = [&](Place::Part part) { return trained_below(Place::of(index, part)); };

  // Feed-forward; d_residual is the gradient of the layer's output, and of its input through the skip.
  project_backward(below(Place::kDown) ? s.d_activated : nullptr, s.d_residual, a.activated, w.down, a.u,
                   a.unscaled_down, T);
  if (!below(Place::kDown)) return;
  float* d_up = a.up;  // in place: the activation's input is not needed after its own backward
  backend_.activation_backward(d_up, s.d_activated, a.up, architecture_.activation, T,
                               architecture_.intermediate_size);
  project_backward(below(Place::kUp) ? s.d_normed : nullptr, d_up, a.mlp_normed, w.up, a.u, a.unscaled_up, T);
  if (!below(Place::kUp)) return;
  norm_backward(s.d_residual, s.d_normed, a.mlp_in, a.mlp_mean, a.mlp_rstd, w.mlp_norm, w.mlp_norm_bias, T,
                true);
  if (below(Place::kMlpNorm)) attention_backward(index, a, layout);
}

void Decoder::attention_backward(int64_t index, const LayerActivations& a, const BatchLayout& layout) {
  const LayerWeights& w = weights_->layers[static_cast<size_t>(index)];
  const int64_t T = layout.num_tokens;
  const int64_t E = architecture_.head_dim;
  const int64_t H = architecture_.num_heads;
  const int64_t G = architecture_.num_kv_heads;
  const int64_t width = architecture_.qkv_width();
  const Scratch& s = scratch_;
  const auto below = [&](Place::Part part) { return trained_below(Place::of(index, part)); };

  project_backward(below(Place::kOut) ? s.d_attention : nullptr, s.d_residual, a.attention_out, w.out, a.u,
                   a.unscaled_out, T);
  if (!below(Place::kOut)) return;
  backend_.attention_backward(s.d_qkv, s.d_attention, a.attention_out, a.lse, a.qkv, layout, shape_,
                              s.attention);
  backend_.rope(s.d_qkv, activations_.positions, s.inverse_frequencies, T, H + G, E, width, -1);
  if (architecture_.qk_norm) {
    // Values pass through unchanged; queries and keys are overwritten.
    backend_.copy(s.d_raw_qkv, s.d_qkv, static_cast<size_t>(T * width) * sizeof(float));
    backend_.rms_norm_backward(s.d_raw_qkv, w.q_norm.d, s.d_qkv, a.raw_qkv, w.q_norm.w, a.q_rstd, T, H, E,
                               width, width, false, s.norm);
    backend_.rms_norm_backward(s.d_raw_qkv + H * E, w.k_norm.d, s.d_qkv + H * E, a.raw_qkv + H * E,
                               w.k_norm.w, a.k_rstd, T, G, E, width, width, false, s.norm);
  }
  project_backward(below(Place::kQkv) ? s.d_normed : nullptr, s.d_raw_qkv, a.attention_normed, w.qkv, a.u,
                   a.unscaled_qkv, T);
  if (!below(Place::kQkv)) return;
  norm_backward(s.d_residual, s.d_normed, a.attention_in, a.attention_mean, a.attention_rstd,
                w.attention_norm, w.attention_norm_bias, T, true);
}

}  // namespace anneal
