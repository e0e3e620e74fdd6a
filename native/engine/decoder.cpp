#include "engine/decoder.h"

#include <cmath>
#include <vector>

#include "model/errors.h"

namespace anneal {

Decoder::Decoder(Backend& backend, const SessionOptions& options, const ModelTable& table,
                 const Activations& activations, const Scratch& scratch, const float* weights,
                 float* gradients, const std::atomic<bool>& cancelled)
    : backend_(backend),
      architecture_(options.architecture),
      table_(table),
      activations_(activations),
      scratch_(scratch),
      weights_(weights),
      gradients_(gradients),
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

void Decoder::norm_forward(float* y, float* mean, float* rstd, const float* x, int64_t w, int64_t b,
                           int64_t T) {
  const int64_t D = architecture_.hidden_size;
  if (architecture_.norm == Norm::kRmsNorm) {
    backend_.rms_norm_forward(y, rstd, x, weight(w), T, 1, D, D, D, architecture_.norm_eps);
  } else {
    backend_.layer_norm_forward(y, mean, rstd, x, weight(w), weight(b), T, D, architecture_.norm_eps);
  }
}

void Decoder::norm_backward(float* dx, const float* dy, const float* x, const float* mean, const float* rstd,
                            int64_t w, int64_t b, int64_t T, bool accumulate) {
  const int64_t D = architecture_.hidden_size;
  if (architecture_.norm == Norm::kRmsNorm) {
    backend_.rms_norm_backward(dx, gradient(w), dy, x, weight(w), rstd, T, 1, D, D, D, accumulate,
                               scratch_.norm);
  } else {
    backend_.layer_norm_backward(dx, gradient(w), gradient(b), dy, x, weight(w), mean, rstd, T, D, accumulate,
                                 scratch_.norm);
  }
}

void Decoder::layer_forward(int64_t index, const LayerActivations& a, float* residual_out, int64_t T,
                            const Attend& attend) {
  check_cancelled();
  const LayerOffsets& at = table_.layer(index);
  const int64_t D = architecture_.hidden_size;
  const int64_t F = architecture_.intermediate_size;
  const int64_t E = architecture_.head_dim;
  const int64_t H = architecture_.num_heads;
  const int64_t G = architecture_.num_kv_heads;
  const int64_t width = architecture_.qkv_width();
  const size_t residual_bytes = static_cast<size_t>(T * D) * sizeof(float);

  norm_forward(a.attention_normed, a.attention_mean, a.attention_rstd, a.attention_in,
               at.attention_norm_weight, at.attention_norm_bias, T);
  backend_.linear_forward(a.raw_qkv, a.attention_normed, weight(at.qkv_weight), weight(at.qkv_bias), T, D,
                          width, width, false);
  if (architecture_.qk_norm) {
    backend_.copy(a.qkv, a.raw_qkv, static_cast<size_t>(T * width) * sizeof(float));
    backend_.rms_norm_forward(a.qkv, a.q_rstd, a.raw_qkv, weight(at.q_norm), T, H, E, width, width,
                              architecture_.norm_eps);
    backend_.rms_norm_forward(a.qkv + H * E, a.k_rstd, a.raw_qkv + H * E, weight(at.k_norm), T, G, E, width,
                              width, architecture_.norm_eps);
  }
  // Queries and keys are neighbours: one call rotates both.
  backend_.rope(a.qkv, activations_.positions, scratch_.inverse_frequencies, T, H + G, E, width, 1);
  attend(index, a);
  if (a.mlp_in != a.attention_in) backend_.copy(a.mlp_in, a.attention_in, residual_bytes);
  backend_.linear_forward(a.mlp_in, a.attention_out, weight(at.out_weight), weight(at.out_bias), T, H * E, D,
                          D, true);

  norm_forward(a.mlp_normed, a.mlp_mean, a.mlp_rstd, a.mlp_in, at.mlp_norm_weight, at.mlp_norm_bias, T);
  backend_.linear_forward(a.up, a.mlp_normed, weight(at.up_weight), weight(at.up_bias), T, D,
                          architecture_.up_width(), architecture_.up_width(), false);
  backend_.activation_forward(a.activated, a.up, architecture_.activation, T, F);
  if (residual_out == nullptr) return;
  if (residual_out != a.mlp_in) backend_.copy(residual_out, a.mlp_in, residual_bytes);
  backend_.linear_forward(residual_out, a.activated, weight(at.down_weight), weight(at.down_bias), T, F, D, D,
                          true);
}

void Decoder::forward(const BatchLayout& layout) {
  const int64_t T = layout.num_tokens;
  const auto attend = [&](int64_t, const LayerActivations& a) {
    backend_.attention_forward(a.attention_out, a.lse, a.qkv, layout, shape_, scratch_.attention);
  };
  const std::vector<LayerActivations>& layers = activations_.layers;
  backend_.embedding_forward(layers.front().attention_in, weight(table_.embedding()), activations_.tokens, T,
                             architecture_.hidden_size);
  for (size_t l = 0; l < layers.size(); ++l) {
    float* out = l + 1 < layers.size() ? layers[l + 1].attention_in : activations_.final_in;
    layer_forward(static_cast<int64_t>(l), layers[l], out, T, attend);
  }
}

void Decoder::forward_inference(int64_t T, const Attend& attend) {
  LayerActivations in_place = activations_.layers.front();
  in_place.attention_in = activations_.final_in;
  in_place.mlp_in = activations_.final_in;
  backend_.embedding_forward(activations_.final_in, weight(table_.embedding()), activations_.tokens, T,
                             architecture_.hidden_size);
  for (int64_t l = 0; l < architecture_.num_layers; ++l) {
    layer_forward(l, in_place, activations_.final_in, T, attend);
  }
}

void Decoder::final_norm(int64_t N) {
  backend_.gather_rows(activations_.scored_in, activations_.final_in, activations_.scored, N,
                       architecture_.hidden_size);
  norm_forward(activations_.scored_normed, activations_.final_mean, activations_.final_rstd,
               activations_.scored_in, table_.final_norm_weight(), table_.final_norm_bias(), N);
}

}  // namespace anneal
