// Weights of adapters: their start, and their way into the base.
#include "engine/adapter.h"

#include <algorithm>
#include <cmath>
#include <numeric>
#include <stdexcept>

#include "engine/initialise.h"
#include "engine/svd.h"
#include "model/crc32c.h"

namespace anneal {
namespace {

/// Deviation of a fresh scalar head: that of the field's models (initializer_range).
constexpr float kScoreDeviation = 0.02f;

std::vector<float> read(Backend& backend, const float* from, int64_t count) {
  std::vector<float> values(static_cast<size_t>(count));
  backend.copy_to_host(values.data(), from, values.size() * sizeof(float));
  return values;
}

void write(Backend& backend, float* to, const std::vector<float>& values) {
  backend.copy_to_device(to, values.data(), values.size() * sizeof(float));
}

double length(const std::vector<double>& x) {
  return std::sqrt(std::inner_product(x.begin(), x.end(), x.begin(), 0.0));
}

/// An update's factors and its matrix on the host, all [outputs, inputs] as the update sees them.
struct HostUpdate {
  HostUpdate(Backend& backend, const Adapter& adapter, const LowRankPlace& at)
      : place(at), rank(at.module.rank) {
    const LowRank update = adapter.update(at);
    a = read(backend, update.a, rank * at.in);
    b = read(backend, update.b, at.out * rank);
  }
  /// Row o of w + sign scale B A.
  [[nodiscard]] std::vector<double> row(const std::vector<float>& w, int64_t o, double sign) const {
    std::vector<double> sum(static_cast<size_t>(place.in));
    for (int64_t i = 0; i < place.in; ++i) {
      sum[static_cast<size_t>(i)] = static_cast<double>(w[index(o, i)]);
    }
    for (int64_t r = 0; r < rank; ++r) {
      const double factor = sign * static_cast<double>(place.module.scale) *
                            static_cast<double>(b[static_cast<size_t>(o * rank + r)]);
      const float* from = a.data() + r * place.in;
      for (int64_t i = 0; i < place.in; ++i) {
        sum[static_cast<size_t>(i)] += factor * static_cast<double>(from[i]);
      }
    }
    return sum;
  }
  /// Where [o, i] lies in the base's matrix.
  [[nodiscard]] size_t index(int64_t o, int64_t i) const {
    return static_cast<size_t>(place.embedding ? i * place.out + o : o * place.in + i);
  }
  const LowRankPlace& place;
  int64_t rank;
  std::vector<float> a, b;
};

std::string weight_name(const LowRankPlace& place) { return place.module.name + ".weight"; }

/// The principal part of the base's matrix becomes the update, and the rest stays (Meng et al. 2024):
/// A = sqrt(S / scale) V, B = U sqrt(S / scale).
void init_pissa(Backend& backend, Adapter& adapter, ParameterSet& base, const LowRankPlace& place,
                uint64_t seed, int threads) {
  if (place.embedding || place.module.dora || !(place.module.scale > 0.0f)) {
    throw std::invalid_argument(
        "initAdapter: pissa is for linear modules with a positive scale and without DoRA");
  }
  const int64_t rank = place.module.rank;
  if (rank > std::min(place.in, place.out)) {
    throw std::invalid_argument("initAdapter: pissa needs a rank within the sizes of '" + place.module.name +
                                "'");
  }
  const Tensor& tensor = base.table().find(weight_name(place));
  std::vector<float> w = read(backend, base.weights() + tensor.offset, tensor.size);
  const uint64_t own_seed = seed ^ crc32c(0, tensor.name.data(), tensor.name.size());
  const SingularValues svd = largest_singular_values(w, place.out, place.in, rank, own_seed, threads);
  std::vector<float> a(static_cast<size_t>(rank * place.in));
  std::vector<float> b(static_cast<size_t>(place.out * rank));
  for (int64_t r = 0; r < rank; ++r) {
    const double root = std::sqrt(svd.s[static_cast<size_t>(r)] / static_cast<double>(place.module.scale));
    for (int64_t i = 0; i < place.in; ++i) {
      const auto k = static_cast<size_t>(r * place.in + i);
      a[k] = static_cast<float>(root * svd.v[k]);
    }
    for (int64_t o = 0; o < place.out; ++o) {
      const auto k = static_cast<size_t>(o * rank + r);
      b[k] = static_cast<float>(root * svd.u[k]);
    }
  }
  write(backend, adapter.set().weights() + place.a, a);
  write(backend, adapter.set().weights() + place.b, b);
  const HostUpdate update(backend, adapter, place);
#pragma omp parallel for schedule(static) num_threads(threads)
  for (int64_t o = 0; o < place.out; ++o) {
    const std::vector<double> rest = update.row(w, o, -1.0);
    for (int64_t i = 0; i < place.in; ++i) {
      w[update.index(o, i)] = static_cast<float>(rest[static_cast<size_t>(i)]);
    }
  }
  write(backend, base.weights() + tensor.offset, w);
}

void init_update(Backend& backend, Adapter& adapter, const LowRankPlace& place, AdapterInit kind,
                 uint64_t seed, int threads) {
  float* weights = adapter.set().weights();
  const std::vector<Tensor>& tensors = adapter.table().tensors();
  const auto tensor_at = [&](int64_t offset) -> const Tensor& {
    return *std::ranges::find(tensors, offset, &Tensor::offset);
  };
  const Tensor& a = tensor_at(place.a);
  const Tensor& b = tensor_at(place.b);
  const auto bound = [](int64_t fan_in) { return 1.0f / std::sqrt(static_cast<float>(fan_in)); };
  const auto zero = [&](const Tensor& tensor) {
    backend.zero(weights + tensor.offset, static_cast<size_t>(tensor.size) * sizeof(float));
  };
  if (kind == AdapterInit::kGaussian) {
    fill_normal(backend, weights, a, 1.0f / static_cast<float>(place.module.rank), seed, threads);
  } else if (place.embedding) {
    zero(a);
  } else {
    fill_uniform(backend, weights, a, bound(place.in), seed, threads);
  }
  if (place.embedding && kind != AdapterInit::kGaussian) {
    fill_normal(backend, weights, b, 1.0f, seed, threads);
  } else if (kind == AdapterInit::kRandom) {
    fill_uniform(backend, weights, b, bound(place.module.rank), seed, threads);
  } else {
    zero(b);
  }
}

}  // namespace

LowRank Adapter::update(const LowRankPlace& place) const {
  LowRank update;
  update.rank = place.module.rank;
  update.in = place.in;
  update.out = place.out;
  update.scale = place.module.scale;
  update.a = set_.weights() + place.a;
  update.b = set_.weights() + place.b;
  if (set_.trainable()) {
    update.d_a = set_.gradients() + place.a;
    update.d_b = set_.gradients() + place.b;
  }
  update.module = place.index;
  return update;
}

void Adapter::refresh_norms(Backend& backend, const ParameterSet& base, float* workspace) {
  if (norms_valid_) return;
  for (const LowRankPlace& place : table_.updates()) {
    if (!place.module.dora) continue;
    backend.dora_inverse_norm(inverse_norms() + place.inverse_norms,
                              base.weights() + base.table().find(weight_name(place)).offset, update(place),
                              workspace);
  }
  norms_valid_ = true;
}

void init_adapter(Backend& backend, Adapter& adapter, ParameterSet& base, AdapterInit kind, uint64_t seed,
                  int threads) {
  const AdapterTable& table = adapter.table();
  float* weights = adapter.set().weights();
  for (const LowRankPlace& place : table.updates()) {
    if (kind == AdapterInit::kPissa) {
      init_pissa(backend, adapter, base, place, seed, threads);
    } else {
      init_update(backend, adapter, place, kind, seed, threads);
    }
    if (!place.module.dora) continue;
    // Magnitudes begin as the lengths of the rows.
    const HostUpdate update(backend, adapter, place);
    const Tensor& tensor = base.table().find(weight_name(place));
    const std::vector<float> w = read(backend, base.weights() + tensor.offset, tensor.size);
    std::vector<float> lengths(static_cast<size_t>(place.out));
#pragma omp parallel for schedule(static) num_threads(threads)
    for (int64_t o = 0; o < place.out; ++o) {
      lengths[static_cast<size_t>(o)] = static_cast<float>(length(update.row(w, o, 1.0)));
    }
    write(backend, weights + place.magnitude, lengths);
  }
  for (const std::string& name : table.replaced()) {
    const Tensor& to = table.find(name);
    backend.copy(weights + to.offset, base.weights() + base.table().find(name).offset,
                 static_cast<size_t>(to.size) * sizeof(float));
  }
  const std::string score = "score.weight";
  if (table.contains(score) && !base.table().contains(score)) {
    fill_normal(backend, weights, table.find(score), kScoreDeviation, seed, threads);
  } else if (table.contains(score)) {
    const Tensor& to = table.find(score);
    backend.copy(weights + to.offset, base.weights() + base.table().find(score).offset,
                 static_cast<size_t>(to.size) * sizeof(float));
  }
}

void merge_adapter(Backend& backend, Adapter& adapter, ParameterSet& base, int threads) {
  const AdapterTable& table = adapter.table();
  for (const LowRankPlace& place : table.updates()) {
    const HostUpdate update(backend, adapter, place);
    const Tensor& tensor = base.table().find(weight_name(place));
    std::vector<float> w = read(backend, base.weights() + tensor.offset, tensor.size);
    std::vector<float> magnitude;
    if (place.module.dora) magnitude = read(backend, adapter.set().weights() + place.magnitude, place.out);
#pragma omp parallel for schedule(static) num_threads(threads)
    for (int64_t o = 0; o < place.out; ++o) {
      const std::vector<double> row = update.row(w, o, 1.0);
      const double gain =
          place.module.dora ? static_cast<double>(magnitude[static_cast<size_t>(o)]) / length(row) : 1.0;
      for (int64_t i = 0; i < place.in; ++i) {
        w[update.index(o, i)] = static_cast<float>(gain * row[static_cast<size_t>(i)]);
      }
    }
    write(backend, base.weights() + tensor.offset, w);
  }
  const auto copy = [&](const std::string& name) {
    const Tensor& from = table.find(name);
    backend.copy(base.weights() + base.table().find(name).offset, adapter.set().weights() + from.offset,
                 static_cast<size_t>(from.size) * sizeof(float));
  };
  for (const std::string& name : table.replaced()) copy(name);
  if (table.contains("score.weight") && base.table().contains("score.weight")) copy("score.weight");
}

}  // namespace anneal
