#include "engine/options.h"

#include <stdexcept>
#include <string>

namespace anneal {
namespace {

void check_range(const char* name, int64_t value, int64_t low, int64_t high) {
  if (value < low || value > high) {
    throw std::invalid_argument(std::string(name) + " is " + std::to_string(value) + ": it must be between " +
                                std::to_string(low) + " and " + std::to_string(high));
  }
}

}  // namespace

void validate(const SessionOptions& options) {
  constexpr int64_t kMaxRows = int64_t{1} << 24;
  validate(options.architecture);
  check_range("threads", options.threads, 1, 1024);
  check_range("maxTokens", options.max_tokens, 1, kMaxRows);
  check_range("maxSequences", options.max_sequences, 1, options.max_tokens);
  check_range("maxScored", options.max_scored, 1, kMaxRows);
  check_range("maxTargets", options.max_targets, 0, int64_t{1} << 28);
  check_range("generationSlots", options.generation_slots, 0, 65536);
  if (options.generation_slots > 0) {
    check_range("generationLength", options.generation_length, 2, options.architecture.max_positions);
    if (options.generation_rows != 0) {
      check_range("generationRows", options.generation_rows, options.generation_length, int64_t{1} << 31);
    }
  }
  if (options.adapters.empty()) return;
  const ModelTable table(options.architecture);
  for (size_t i = 0; i < options.adapters.size(); ++i) {
    (void)AdapterTable(options.adapters[i], table, options.architecture, i);
  }
}

}  // namespace anneal
