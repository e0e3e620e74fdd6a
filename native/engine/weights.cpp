#include "engine/weights.h"

#include <limits>
#include <string>

namespace anneal {
namespace {

class Resolver {
 public:
  Resolver(ParameterSet& base, Adapter* adapter) : base_(base), adapter_(adapter) {}

  /// The adapter's copy if it has one, else the base's; nothing if neither has it.
  [[nodiscard]] Parameter parameter(const std::string& name) const {
    if (adapter_ != nullptr && adapter_->table().contains(name)) return in(adapter_->set(), name);
    return base_.table().contains(name) ? in(base_, name) : Parameter{};
  }

  /// Layers of one input, by their names without `.weight`.
  [[nodiscard]] Projection projection(const std::vector<std::string>& modules, int64_t& u_rank) const {
    Projection p;
    for (const std::string& module : modules) {
      const Tensor& weight = base_.table().find(module + ".weight");
      p.in = weight.shape[1];
      Segment segment;
      segment.column = p.width;
      segment.out = weight.shape[0];
      segment.weight = parameter(module + ".weight");
      segment.bias = parameter(module + ".bias");
      if (const std::optional<ColumnUpdate> update = column_update(module, p.width, u_rank)) {
        p.trained = p.trained || update->update.d_a != nullptr;
        if (update->dora) {
          const LowRankPlace& place = *adapter_->table().find_update(module);
          segment.magnitude = in(adapter_->set(), module + ".lora_magnitude_vector");
          segment.inverse_norm = adapter_->inverse_norms() + place.inverse_norms;
        }
        p.updates.push_back(*update);
      }
      p.trained = p.trained || segment.weight.d != nullptr || segment.bias.d != nullptr;
      p.width += segment.out;
      if (p.segments.empty() || !join(p.segments.back(), segment, p.in)) p.segments.push_back(segment);
    }
    return p;
  }

  [[nodiscard]] std::optional<ColumnUpdate> column_update(const std::string& module, int64_t column,
                                                          int64_t& u_rank) const {
    const LowRankPlace* place = adapter_ == nullptr ? nullptr : adapter_->table().find_update(module);
    if (place == nullptr) return std::nullopt;
    ColumnUpdate update{adapter_->update(*place), place->module.dropout, column, place->module.dora, u_rank};
    u_rank += place->module.rank;
    return update;
  }

 private:
  static Parameter in(const ParameterSet& set, const std::string& name) {
    const int64_t offset = set.table().find(name).offset;
    return {set.weights() + offset, set.trainable() ? set.gradients() + offset : nullptr};
  }

  /// Whether b begins where a's `size` numbers end, gradients likewise; or both are absent.
  static bool follows(const Parameter& a, const Parameter& b, int64_t size) {
    if ((a.w == nullptr) != (b.w == nullptr) || (a.d == nullptr) != (b.d == nullptr)) return false;
    return (a.w == nullptr || a.w + size == b.w) && (a.d == nullptr || a.d + size == b.d);
  }

  /// Extends a segment by the next one if one product can compute both.
  static bool join(Segment& a, const Segment& b, int64_t in) {
    if (a.magnitude.w != nullptr || b.magnitude.w != nullptr) return false;
    if (!follows(a.weight, b.weight, a.out * in) || !follows(a.bias, b.bias, a.out)) return false;
    a.out += b.out;
    return true;
  }

  ParameterSet& base_;
  Adapter* adapter_;
};

}  // namespace

Weights resolve_weights(const Architecture& architecture, ParameterSet& base, Adapter* adapter) {
  using Place = BackwardPlace;
  const Resolver resolver(base, adapter);
  Weights weights;
  weights.lowest = std::numeric_limits<int64_t>::max();
  // Called from the bottom to the top.
  const auto note = [&](bool trained, int64_t place) {
    if (trained) weights.lowest = std::min(weights.lowest, place);
  };
  const auto note_all = [&](int64_t place, const auto&... parameters) {
    note(((parameters.d != nullptr) || ...), place);
  };
  int64_t unused = 0;

  weights.embedding = resolver.parameter("model.embed_tokens.weight");
  if (const auto update = resolver.column_update("model.embed_tokens", 0, unused)) {
    weights.embedding_update = update->update;
    note(update->update.d_a != nullptr, Place::kEmbedding);
  }
  note_all(Place::kEmbedding, weights.embedding);

  const bool gated = architecture.activation == Activation::kSwiGlu;
  for (int64_t l = 0; l < architecture.num_layers; ++l) {
    const std::string layer = "model.layers." + std::to_string(l) + ".";
    const std::string attention = layer + "self_attn.";
    const std::string mlp = layer + "mlp.";
    int64_t u_rank = 0;
    LayerWeights w;
    w.attention_norm = resolver.parameter(layer + "input_layernorm.weight");
    w.attention_norm_bias = resolver.parameter(layer + "input_layernorm.bias");
    w.qkv = resolver.projection({attention + "q_proj", attention + "k_proj", attention + "v_proj"}, u_rank);
    w.q_norm = resolver.parameter(attention + "q_norm.weight");
    w.k_norm = resolver.parameter(attention + "k_norm.weight");
    w.out = resolver.projection({attention + "o_proj"}, u_rank);
    w.mlp_norm = resolver.parameter(layer + "post_attention_layernorm.weight");
    w.mlp_norm_bias = resolver.parameter(layer + "post_attention_layernorm.bias");
    w.up = resolver.projection(
        gated ? std::vector<std::string>{mlp + "gate_proj", mlp + "up_proj"} : std::vector{mlp + "c_fc"},
        u_rank);
    w.down = resolver.projection({mlp + (gated ? "down_proj" : "c_proj")}, u_rank);
    note_all(Place::of(l, Place::kAttentionNorm), w.attention_norm, w.attention_norm_bias);
    note(w.qkv.trained, Place::of(l, Place::kQkv));
    note_all(Place::of(l, Place::kQkv), w.q_norm, w.k_norm);
    note(w.out.trained, Place::of(l, Place::kOut));
    note_all(Place::of(l, Place::kMlpNorm), w.mlp_norm, w.mlp_norm_bias);
    note(w.up.trained, Place::of(l, Place::kUp));
    note(w.down.trained, Place::of(l, Place::kDown));
    weights.layers.push_back(std::move(w));
  }
  weights.final_norm = resolver.parameter("model.norm.weight");
  weights.final_norm_bias = resolver.parameter("model.norm.bias");
  note_all(Place::final_norm(architecture.num_layers), weights.final_norm, weights.final_norm_bias);

  // A tied head is the embedding, an adapter's copy of it included.
  weights.head = architecture.tie_embeddings ? weights.embedding : resolver.parameter("lm_head.weight");
  if (const auto update = resolver.column_update("lm_head", 0, unused)) {
    weights.head_updates.push_back(*update);
  }
  weights.score = resolver.parameter("score.weight");

  if (base.trainable()) weights.trained.push_back(&base);
  if (adapter != nullptr && adapter->set().trainable()) weights.trained.push_back(&adapter->set());
  return weights;
}

}  // namespace anneal
