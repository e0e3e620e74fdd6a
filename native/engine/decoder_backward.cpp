// The decoder's backward pass. Gradients of activations are overwritten, gradients of weights are added to.
#include "engine/decoder.h"

namespace anneal {

void Decoder::backward(const BatchLayout& layout, int64_t N) {
  const int64_t T = layout.num_tokens;
  const int64_t D = architecture_.hidden_size;
  // scored_normed has served its purpose: it takes the gradient of scored_in.
  norm_backward(activations_.scored_normed, scratch_.d_scored, activations_.scored_in,
                activations_.final_mean, activations_.final_rstd, table_.final_norm_weight(),
                table_.final_norm_bias(), N, false);
  backend_.scatter_rows(scratch_.d_residual, activations_.scored_normed, activations_.scored, N, T, D);

  const auto attend = [&](int64_t, const LayerActivations& a) {
    backend_.attention_forward(a.attention_out, a.lse, a.qkv, layout, shape_, scratch_.attention);
  };
  for (int64_t l = architecture_.num_layers - 1; l >= 0; --l) {
    const LayerActivations& layer = activations_.layers[static_cast<size_t>(l)];
    // The same operations on the same input: the same bits as if everything had been kept.
    if (recompute_) layer_forward(l, layer, nullptr, T, attend);
    layer_backward(l, layer, layout);
  }
  backend_.embedding_backward(gradient(table_.embedding()), scratch_.d_residual, activations_.tokens, T, D);
}

void Decoder::layer_backward(int64_t index, const LayerActivations& a, const BatchLayout& layout) {
  check_cancelled();
  const LayerOffsets& at = table_.layer(index);
  const int64_t T = layout.num_tokens;
  const int64_t D = architecture_.hidden_size;
  const int64_t F = architecture_.intermediate_size;
  const int64_t E = architecture_.head_dim;
  const int64_t H = architecture_.num_heads;
  const int64_t G = architecture_.num_kv_heads;
  const int64_t width = architecture_.qkv_width();
  const int64_t up_width = architecture_.up_width();
  const Scratch& s = scratch_;

  // Feed-forward; d_residual is the gradient of the layer's output, and of its input through the skip.
  backend_.linear_backward_weight(gradient(at.down_weight), gradient(at.down_bias), s.d_residual, a.activated,
                                  T, F, D, D);
  backend_.linear_backward_input(s.d_activated, s.d_residual, weight(at.down_weight), T, F, D, D, false);
  float* d_up = a.up;  // in place: the activation's input is not needed after its own backward
  backend_.activation_backward(d_up, s.d_activated, a.up, architecture_.activation, T, F);
  backend_.linear_backward_weight(gradient(at.up_weight), gradient(at.up_bias), d_up, a.mlp_normed, T, D,
                                  up_width, up_width);
  backend_.linear_backward_input(s.d_normed, d_up, weight(at.up_weight), T, D, up_width, up_width, false);
  norm_backward(s.d_residual, s.d_normed, a.mlp_in, a.mlp_mean, a.mlp_rstd, at.mlp_norm_weight,
                at.mlp_norm_bias, T, true);

  // Attention.
  backend_.linear_backward_weight(gradient(at.out_weight), gradient(at.out_bias), s.d_residual,
                                  a.attention_out, T, H * E, D, D);
  backend_.linear_backward_input(s.d_attention, s.d_residual, weight(at.out_weight), T, H * E, D, D, false);
  backend_.attention_backward(s.d_qkv, s.d_attention, a.attention_out, a.lse, a.qkv, layout, shape_,
                              s.attention);
  backend_.rope(s.d_qkv, activations_.positions, s.inverse_frequencies, T, H + G, E, width, -1);
  if (architecture_.qk_norm) {
    // Values pass through unchanged; queries and keys are overwritten.
    backend_.copy(s.d_raw_qkv, s.d_qkv, static_cast<size_t>(T * width) * sizeof(float));
    backend_.rms_norm_backward(s.d_raw_qkv, gradient(at.q_norm), s.d_qkv, a.raw_qkv, weight(at.q_norm),
                               a.q_rstd, T, H, E, width, width, false, s.norm);
    backend_.rms_norm_backward(s.d_raw_qkv + H * E, gradient(at.k_norm), s.d_qkv + H * E, a.raw_qkv + H * E,
                               weight(at.k_norm), a.k_rstd, T, G, E, width, width, false, s.norm);
  }
  backend_.linear_backward_weight(gradient(at.qkv_weight), gradient(at.qkv_bias), s.d_raw_qkv,
                                  a.attention_normed, T, D, width, width);
  backend_.linear_backward_input(s.d_normed, s.d_raw_qkv, weight(at.qkv_weight), T, D, width, width, false);
  norm_backward(s.d_residual, s.d_normed, a.attention_in, a.attention_mean, a.attention_rstd,
                at.attention_norm_weight, at.attention_norm_bias, T, true);
}

}  // namespace anneal
