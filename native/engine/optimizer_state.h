// Which optimisers there are, and how much state each keeps.
#pragma once

#include <cstdint>

#include "model/tensors.h"

namespace anneal {

/// As in src/native/addon.ts.
enum class OptimizerName { kAdamW };

/// Bytes of the optimiser's state for the tensors of a table, all zero before the first step.
int64_t optimizer_state_bytes(const TensorTable& table, OptimizerName optimizer);

}  // namespace anneal
