#include "model/architecture.h"

#include <cmath>
#include <stdexcept>
#include <string>

namespace anneal {
namespace {

// Keeps every product of three sizes far from overflow.
constexpr int64_t kMaxSize = int64_t{1} << 24;

void check_size(const char* name, int64_t value) {
  if (value < 1 || value > kMaxSize) {
    throw std::invalid_argument(std::string("architecture.") + name + " is " + std::to_string(value) +
                                ": it must be between 1 and " + std::to_string(kMaxSize));
  }
}

}  // namespace

AttentionShape Architecture::attention_shape() const {
  return {static_cast<int32_t>(num_heads), static_cast<int32_t>(num_kv_heads), static_cast<int32_t>(head_dim),
          static_cast<float>(1.0 / std::sqrt(static_cast<double>(head_dim)))};
}

void validate(const Architecture& a) {
  check_size("vocabSize", a.vocab_size);
  check_size("hiddenSize", a.hidden_size);
  check_size("intermediateSize", a.intermediate_size);
  check_size("numLayers", a.num_layers);
  check_size("numHeads", a.num_heads);
  check_size("numKvHeads", a.num_kv_heads);
  check_size("headDim", a.head_dim);
  check_size("maxPositions", a.max_positions);
  if (a.num_heads % a.num_kv_heads != 0) {
    throw std::invalid_argument("architecture.numHeads (" + std::to_string(a.num_heads) +
                                ") must be a multiple of numKvHeads (" + std::to_string(a.num_kv_heads) +
                                ")");
  }
  if (a.head_dim % 2 != 0) {
    throw std::invalid_argument("architecture.headDim is " + std::to_string(a.head_dim) +
                                ": rotary positions need an even size");
  }
  if (!(a.norm_eps > 0.0f) || !std::isfinite(a.norm_eps)) {
    throw std::invalid_argument("architecture.normEps must be a positive number");
  }
  if (!(a.rope_theta > 0.0f) || !std::isfinite(a.rope_theta)) {
    throw std::invalid_argument("architecture.ropeTheta must be a positive number");
  }
}

}  // namespace anneal
