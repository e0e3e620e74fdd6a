// Random weights to start from.
#pragma once

#include <cstdint>

#include "backend/backend.h"
#include "model/tensors.h"

namespace anneal {

/// Normal(0, std) for matrices, std / sqrt(2 layers) for those that write to the residual stream (Radford et
/// al. 2019), ones and zeros for vectors. A number depends on the seed, its tensor's name and its place only.
void initialise_weights(Backend& backend, float* weights, const TensorTable& table, int64_t num_layers,
                        uint64_t seed, float std, int threads);

/// One tensor's numbers, normal or uniform in [-bound, bound); they depend on the seed, the tensor's name and
/// the place only.
void fill_normal(Backend& backend, float* weights, const Tensor& tensor, float std, uint64_t seed,
                 int threads);
void fill_uniform(Backend& backend, float* weights, const Tensor& tensor, float bound, uint64_t seed,
                  int threads);

}  // namespace anneal
