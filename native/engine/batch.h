// A packed microbatch on the host, checked before anything is computed from it.
#pragma once

#include <cstdint>
#include <optional>
#include <vector>

#include "engine/options.h"

namespace anneal {

/// What is computed at the scored rows.
enum class Outputs { kTokens, kValues, kBoth };

/// Fields as in src/native/addon.ts. An empty `prefix` means that no sequence has one.
struct Batch {
  std::vector<int32_t> tokens;
  std::vector<int32_t> cu_seqlens;
  std::vector<int32_t> prefix;
  std::vector<int32_t> scored;
  std::vector<int32_t> targets;
  int64_t targets_per_row = 1;
  Outputs outputs = Outputs::kTokens;
  float temperature = 1.0f;
  int64_t adapter = -1;  // -1: the base alone
  std::optional<uint64_t> dropout_seed;

  bool operator==(const Batch&) const = default;
  [[nodiscard]] int32_t num_tokens() const { return static_cast<int32_t>(tokens.size()); }
  [[nodiscard]] bool has_tokens() const { return outputs != Outputs::kValues; }
  [[nodiscard]] bool has_values() const { return outputs != Outputs::kTokens; }
  [[nodiscard]] int32_t num_sequences() const { return static_cast<int32_t>(cu_seqlens.size()) - 1; }
};

/// Checks ids, borders, prefixes and sizes against what the session reserved; fills `prefix` with -1 if it is
/// empty. Returns each row's position. Throws std::invalid_argument that says which element is wrong.
std::vector<int32_t> validate(Batch& batch, const SessionOptions& options);

}  // namespace anneal
