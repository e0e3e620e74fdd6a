#include "engine/optimizer_state.h"

#include <algorithm>
#include <initializer_list>

#include "engine/arena.h"

namespace anneal {
namespace {

/// Tensors below this size keep float32 moments: their bytes do not matter, and a few outliers would (as
/// bitsandbytes does).
constexpr int64_t kMinQuantized = 4096;

bool is_matrix(const Tensor& tensor) { return tensor.shape.size() == 2; }

bool is_embedding(const Tensor& tensor) { return tensor.name == "model.embed_tokens.weight"; }

/// Matrices whose rows belong to a token or an output and not to a hidden layer.
bool is_head(const Tensor& tensor) {
  return tensor.name == "lm_head.weight" || tensor.name == "score.weight";
}

UpdateRule rule_of(const Tensor& tensor, OptimizerName optimizer) {
  switch (optimizer) {
    case OptimizerName::kAdamW:
      return UpdateRule::kAdamW;
    case OptimizerName::kAdamW8bit:
      // Gradients of an embedding are very uneven over its rows: it keeps 32 bits (Dettmers et al. 2022,
      // section 2.3).
      return tensor.size < kMinQuantized || is_embedding(tensor) ? UpdateRule::kAdamW
                                                                 : UpdateRule::kAdamW8bit;
    case OptimizerName::kLion:
      return UpdateRule::kLion;
    case OptimizerName::kMuon:
      return is_matrix(tensor) && !is_embedding(tensor) && !is_head(tensor) ? UpdateRule::kMuon
                                                                            : UpdateRule::kAdamW;
    case OptimizerName::kAdafactor:
      return is_matrix(tensor) ? UpdateRule::kAdafactorMatrix : UpdateRule::kAdafactorVector;
    case OptimizerName::kSgd:
      return UpdateRule::kSgd;
  }
  return UpdateRule::kAdamW;
}

/// Bytes of the arrays of a tensor's state.
std::vector<int64_t> state_arrays(const Tensor& tensor, UpdateRule rule) {
  constexpr auto kFloat = static_cast<int64_t>(sizeof(float));
  const int64_t whole = tensor.size * kFloat;
  switch (rule) {
    case UpdateRule::kAdamW:
      return {whole, whole};
    case UpdateRule::kAdamW8bit: {
      const int64_t scales = (tensor.size + kStateBlock - 1) / kStateBlock * kFloat;
      return {tensor.size, tensor.size, scales, scales};
    }
    case UpdateRule::kAdafactorMatrix:
      return {tensor.shape[0] * kFloat, tensor.shape[1] * kFloat};
    case UpdateRule::kLion:
    case UpdateRule::kSgd:
    case UpdateRule::kMuon:
    case UpdateRule::kAdafactorVector:
      return {whole};
  }
  return {};
}

}  // namespace

OptimizerState::OptimizerState(const TensorTable& table, OptimizerName optimizer) {
  Arena arena;
  for (const Tensor& tensor : table.tensors()) {
    TensorUpdate update;
    update.rule = rule_of(tensor, optimizer);
    int64_t* to = update.state;
    for (const int64_t bytes : state_arrays(tensor, update.rule)) {
      *to++ = static_cast<int64_t>(arena.mark());
      arena.take<char>(bytes);
    }
    updates_.push_back(update);
  }
  bytes_ = static_cast<int64_t>(arena.peak());
}

int64_t optimizer_workspace(const TensorTable& table, OptimizerName optimizer, const Backend& backend) {
  size_t bytes = 0;
  for (const Tensor& tensor : table.tensors()) {
    if (rule_of(tensor, optimizer) != UpdateRule::kMuon) continue;
    bytes = std::max(bytes, backend.muon_workspace(tensor.shape[0], tensor.shape[1]));
  }
  return static_cast<int64_t>(bytes);
}

}  // namespace anneal
