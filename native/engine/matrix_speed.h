// How fast this machine multiplies matrices: what training speed is compared with.
#pragma once

#include "backend/backend.h"

namespace anneal {

/// FLOP/s of large float32 products: the fastest of several.
double measure_matrix_speed(Backend& backend);

}  // namespace anneal
