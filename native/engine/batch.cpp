#include "engine/batch.h"

#include <cmath>
#include <stdexcept>
#include <string>

namespace anneal {
namespace {

[[noreturn]] void reject(const std::string& message) { throw std::invalid_argument("batch: " + message); }

std::string at(const char* array, size_t index, int64_t value) {
  return std::string(array) + "[" + std::to_string(index) + "] is " + std::to_string(value);
}

void check_capacity(const char* what, const char* option, size_t size, int64_t reserved) {
  if (static_cast<int64_t>(size) > reserved) {
    reject(std::to_string(size) + " " + what + " are more than the session reserved (" + option + " is " +
           std::to_string(reserved) + ")");
  }
}

void check_ids(const char* array, const std::vector<int32_t>& ids, int64_t limit, const char* limit_name) {
  for (size_t i = 0; i < ids.size(); ++i) {
    if (ids[i] < 0 || ids[i] >= limit) {
      reject(at(array, i, ids[i]) + ", not in [0, " + std::to_string(limit) + ") (" + limit_name + ")");
    }
  }
}

void check_borders(const Batch& batch) {
  const std::vector<int32_t>& borders = batch.cu_seqlens;
  if (borders.size() < 2) reject("cuSeqlens needs at least 2 elements: 0 and the number of tokens");
  if (borders.front() != 0) reject(at("cuSeqlens", 0, borders.front()) + ", not 0");
  for (size_t s = 1; s < borders.size(); ++s) {
    if (borders[s] <= borders[s - 1]) {
      reject(at("cuSeqlens", s, borders[s]) + ", not above the element before it (" +
             std::to_string(borders[s - 1]) + ")");
    }
  }
  if (borders.back() != batch.num_tokens()) {
    reject("cuSeqlens ends at " + std::to_string(borders.back()) + ", but there are " +
           std::to_string(batch.num_tokens()) + " tokens");
  }
}

void check_targets(const Batch& batch, const SessionOptions& options) {
  const auto adapters = static_cast<int64_t>(options.adapters.size());
  if (batch.adapter < -1 || batch.adapter >= adapters) {
    reject("adapter is " + std::to_string(batch.adapter) + ", but the session has " +
           std::to_string(adapters));
  }
  const bool own_head = batch.adapter >= 0 && options.adapters[static_cast<size_t>(batch.adapter)].score_head;
  if (batch.has_values() && !options.architecture.score_head && !own_head) {
    reject("outputs asks for values, but there is no scalar head (scoreHead)");
  }
  if (!(batch.temperature > 0.0f) || !std::isfinite(batch.temperature)) {
    reject("temperature is " + std::to_string(batch.temperature) + ", not a number above 0");
  }
  if (!batch.has_tokens()) return;
  if (batch.targets_per_row < 1) reject("targetsPerRow must be at least 1");
  check_capacity("targets", "maxTargets", batch.targets.size(), options.target_capacity());
  check_ids("targets", batch.targets, options.architecture.vocab_size, "vocabSize");
  const size_t needed = batch.scored.size() * static_cast<size_t>(batch.targets_per_row);
  if (batch.targets.size() != needed) {
    reject(std::to_string(batch.scored.size()) + " scored rows with " +
           std::to_string(batch.targets_per_row) + " targets each need " + std::to_string(needed) +
           " targets, not " + std::to_string(batch.targets.size()));
  }
}

}  // namespace

std::vector<int32_t> validate(Batch& batch, const SessionOptions& options) {
  check_capacity("tokens", "maxTokens", batch.tokens.size(), options.max_tokens);
  check_borders(batch);
  const size_t sequences = batch.cu_seqlens.size() - 1;
  check_capacity("sequences", "maxSequences", sequences, options.max_sequences);
  check_capacity("scored rows", "maxScored", batch.scored.size(), options.max_scored);
  check_ids("tokens", batch.tokens, options.architecture.vocab_size, "vocabSize");
  check_ids("scored", batch.scored, batch.num_tokens(), "number of tokens");
  check_targets(batch, options);
  if (!batch.has_tokens()) batch.targets.clear();  // of no use
  if (batch.prefix.empty()) batch.prefix.assign(sequences, -1);
  if (batch.prefix.size() != sequences) {
    reject("prefix has " + std::to_string(batch.prefix.size()) + " elements for " +
           std::to_string(sequences) + " sequences");
  }

  std::vector<int32_t> positions(batch.tokens.size());
  std::vector<int64_t> ends(sequences);  // the position after each sequence's last
  for (size_t s = 0; s < sequences; ++s) {
    const int32_t prefix = batch.prefix[s];
    if (prefix < -1 || prefix >= static_cast<int64_t>(s)) {
      reject(at("prefix", s, prefix) + ", neither -1 nor an earlier sequence");
    }
    const int64_t start = prefix < 0 ? 0 : ends[static_cast<size_t>(prefix)];
    const int64_t length = batch.cu_seqlens[s + 1] - batch.cu_seqlens[s];
    ends[s] = start + length;
    if (ends[s] > options.architecture.max_positions) {
      reject("sequence " + std::to_string(s) + " reaches position " + std::to_string(ends[s] - 1) +
             ", but the model has " + std::to_string(options.architecture.max_positions) + " (maxPositions)");
    }
    for (int64_t i = 0; i < length; ++i) {
      positions[static_cast<size_t>(batch.cu_seqlens[s] + i)] = static_cast<int32_t>(start + i);
    }
  }
  return positions;
}

}  // namespace anneal
