#include "engine/initialise.h"

#include <algorithm>
#include <cmath>
#include <numbers>
#include <vector>

#include "engine/philox.h"
#include "model/crc32c.h"

namespace anneal {
namespace {

PhiloxBlock draw(uint64_t seed, uint32_t stream, int64_t block) {
  return philox(seed, {static_cast<uint32_t>(block),
                       static_cast<uint32_t>(static_cast<uint64_t>(block) >> 32), stream, 0});
}

/// Four normal numbers of block `block` of a tensor's stream (Box and Muller 1958).
std::array<float, 4> normals(uint64_t seed, uint32_t stream, int64_t block) {
  const PhiloxBlock bits = draw(seed, stream, block);
  std::array<float, 4> out{};
  for (size_t pair = 0; pair < 4; pair += 2) {
    // (bits + 0.5) / 2^32 is never 0: the logarithm is finite.
    const double u = (static_cast<double>(bits[pair]) + 0.5) * 0x1p-32;
    const double angle = 2.0 * std::numbers::pi * (static_cast<double>(bits[pair + 1]) * 0x1p-32);
    const double radius = std::sqrt(-2.0 * std::log(u));
    out[pair] = static_cast<float>(radius * std::cos(angle));
    out[pair + 1] = static_cast<float>(radius * std::sin(angle));
  }
  return out;
}

/// Four numbers in [-1, 1).
std::array<float, 4> uniforms(uint64_t seed, uint32_t stream, int64_t block) {
  const PhiloxBlock bits = draw(seed, stream, block);
  std::array<float, 4> out{};
  for (size_t i = 0; i < 4; ++i) out[i] = static_cast<float>(static_cast<double>(bits[i]) * 0x1p-31 - 1.0);
  return out;
}

/// Writes scale * drawn(seed, stream, i / 4)[i % 4] to each element i of a tensor.
template <typename Drawn>
void fill(Backend& backend, float* weights, const Tensor& tensor, float scale, uint64_t seed, int threads,
          const Drawn& drawn) {
  constexpr int64_t kChunk = int64_t{1} << 20;  // a multiple of 4
  const uint32_t stream = crc32c(0, tensor.name.data(), tensor.name.size());
  std::vector<float> values;
  for (int64_t begin = 0; begin < tensor.size; begin += kChunk) {
    const int64_t count = std::min(kChunk, tensor.size - begin);
    values.resize(static_cast<size_t>(count));
#pragma omp parallel for schedule(static) num_threads(threads)
    for (int64_t block = 0; block < (count + 3) / 4; ++block) {
      const std::array<float, 4> four = drawn(seed, stream, begin / 4 + block);
      for (int64_t i = block * 4; i < std::min(count, block * 4 + 4); ++i) {
        values[static_cast<size_t>(i)] = scale * four[static_cast<size_t>(i % 4)];
      }
    }
    backend.copy_to_device(weights + tensor.offset + begin, values.data(), values.size() * sizeof(float));
  }
}

}  // namespace

void fill_normal(Backend& backend, float* weights, const Tensor& tensor, float std, uint64_t seed,
                 int threads) {
  fill(backend, weights, tensor, std, seed, threads, normals);
}

void fill_uniform(Backend& backend, float* weights, const Tensor& tensor, float bound, uint64_t seed,
                  int threads) {
  fill(backend, weights, tensor, bound, seed, threads, uniforms);
}

void initialise_weights(Backend& backend, float* weights, const TensorTable& table, int64_t num_layers,
                        uint64_t seed, float std, int threads) {
  const float residual_std = std / std::sqrt(2.0f * static_cast<float>(num_layers));
  for (const Tensor& tensor : table.tensors()) {
    if (tensor.shape.size() > 1) {
      const bool residual = tensor.initialisation == Initialisation::kNormalResidual;
      fill_normal(backend, weights, tensor, residual ? residual_std : std, seed, threads);
    } else {
      const std::vector<float> values(static_cast<size_t>(tensor.size),
                                      tensor.initialisation == Initialisation::kOnes ? 1.0f : 0.0f);
      backend.copy_to_device(weights + tensor.offset, values.data(), values.size() * sizeof(float));
    }
  }
}

}  // namespace anneal
