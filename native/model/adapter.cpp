#include "model/adapter.h"

#include <algorithm>
#include <cmath>
#include <stdexcept>

namespace anneal {
namespace {

const std::string kEmbedding = "model.embed_tokens";

[[noreturn]] void reject(size_t adapter, const std::string& message) {
  throw std::invalid_argument("adapters[" + std::to_string(adapter) + "]: " + message);
}

void check_module(const AdapterModule& m, const ModelTable& base, size_t adapter) {
  constexpr int64_t kMaxRank = 1 << 16;
  const std::string weight = m.name + ".weight";
  if (!base.contains(weight) || base.find(weight).shape.size() != 2 || m.name == "score") {
    reject(adapter, "'" + m.name + "' is no matrix of the model that can have a low-rank update");
  }
  if (m.rank < 1 || m.rank > kMaxRank) {
    reject(adapter, "the rank of '" + m.name + "' is " + std::to_string(m.rank));
  }
  if (!(m.dropout >= 0.0f && m.dropout < 1.0f)) {
    reject(adapter, "the dropout of '" + m.name + "' is not in [0, 1)");
  }
  if (!std::isfinite(m.scale)) reject(adapter, "the scale of '" + m.name + "' is not a number");
  if (m.dora && (m.name == kEmbedding || m.name == "lm_head")) {
    reject(adapter, "DoRA is for the layers' matrices, not for '" + m.name + "'");
  }
}

}  // namespace

AdapterTable::AdapterTable(const AdapterOptions& options, const ModelTable& base,
                           const Architecture& architecture, size_t index) {
  for (const AdapterModule& module : options.modules) {
    check_module(module, base, index);
    if (by_module_.contains(module.name)) reject(index, "'" + module.name + "' is named twice");
    by_module_.emplace(module.name, by_module_.size());
  }
  for (const std::string& name : options.replaces) {
    if (!base.contains(name)) reject(index, "replaces: the model has no tensor named '" + name + "'");
    if (name.ends_with(".weight") && by_module_.contains(name.substr(0, name.size() - 7))) {
      reject(index, "replaces: '" + name + "' has a low-rank update");
    }
    if (std::ranges::count(options.replaces, name) > 1) {
      reject(index, "replaces: '" + name + "' is named twice");
    }
    if (name != "score.weight" || !options.score_head) replaced_.push_back(name);
  }
  for (size_t i = 0; i < options.modules.size(); ++i) {
    add_update(options.modules[i], static_cast<uint32_t>(i), base);
  }
  const auto add_replaced = [&](bool vectors) {
    for (const std::string& name : replaced_) {
      const Tensor& tensor = base.find(name);
      if ((tensor.shape.size() == 1) != vectors) continue;
      align();
      add(name, tensor.shape, tensor.initialisation);
    }
  };
  add_replaced(false);
  if (options.score_head) {
    align();
    add("score.weight", {1, architecture.hidden_size}, Initialisation::kNormal);
  }
  begin_vectors();
  for (LowRankPlace& update : updates_) {
    if (!update.module.dora) continue;
    align();
    update.magnitude =
        add(update.module.name + ".lora_magnitude_vector", {update.out}, Initialisation::kOnes);
    update.inverse_norms = inverse_norms_;
    inverse_norms_ += update.out;
  }
  add_replaced(true);
  align();
  if (tensors().empty()) reject(index, "has no tensors");
}

void AdapterTable::add_update(const AdapterModule& module, uint32_t index, const ModelTable& base) {
  const Tensor& weight = base.find(module.name + ".weight");
  LowRankPlace place;
  place.module = module;
  place.index = index;
  place.embedding = module.name == kEmbedding;
  // An embedding is applied to columns of A: its input is the vocabulary.
  place.out = weight.shape[place.embedding ? 1 : 0];
  place.in = weight.shape[place.embedding ? 0 : 1];
  const std::string prefix = module.name + (place.embedding ? ".lora_embedding_" : ".lora_");
  const std::string suffix = place.embedding ? "" : ".weight";
  align();
  place.a = add(prefix + "A" + suffix, {module.rank, place.in}, Initialisation::kNormal);
  align();
  place.b = add(prefix + "B" + suffix, {place.out, module.rank}, Initialisation::kZeros);
  updates_.push_back(place);
}

const LowRankPlace* AdapterTable::find_update(std::string_view module) const {
  const auto found = by_module_.find(std::string(module));
  return found == by_module_.end() ? nullptr : &updates_[found->second];
}

}  // namespace anneal
