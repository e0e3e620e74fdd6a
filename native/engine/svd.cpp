#include "engine/svd.h"

#include <algorithm>
#include <cmath>
#include <numeric>

#include "engine/philox.h"

namespace anneal {
namespace {

/// Blocks are held by vectors: `count` vectors of `length` numbers, end to end.
struct Block {
  int64_t count, length;
  std::vector<double> values;
  Block(int64_t n, int64_t size) : count(n), length(size), values(static_cast<size_t>(n * size)) {}
  [[nodiscard]] double* at(int64_t i) { return values.data() + i * length; }
  [[nodiscard]] const double* at(int64_t i) const { return values.data() + i * length; }
};

double dot(const double* a, const double* b, int64_t n) { return std::inner_product(a, a + n, b, 0.0); }

/// to[i] = w from[i] for each vector of a block.
void multiply(Block& to, const Block& from, const float* w, int threads) {
#pragma omp parallel for schedule(static) num_threads(threads)
  for (int64_t row = 0; row < to.length; ++row) {
    const float* weights = w + row * from.length;
    for (int64_t i = 0; i < from.count; ++i) {
      const double* x = from.at(i);
      double sum = 0.0;
      for (int64_t k = 0; k < from.length; ++k) sum += static_cast<double>(weights[k]) * x[k];
      to.at(i)[row] = sum;
    }
  }
}

/// to[i] = w^T from[i] for each vector of a block.
void multiply_transposed(Block& to, const Block& from, const float* w, int threads) {
#pragma omp parallel for schedule(static) num_threads(threads)
  for (int64_t i = 0; i < to.count; ++i) {
    double* sums = to.at(i);
    std::fill_n(sums, to.length, 0.0);
    for (int64_t row = 0; row < from.length; ++row) {
      const double x = from.at(i)[row];
      const float* weights = w + row * to.length;
      for (int64_t k = 0; k < to.length; ++k) sums[k] += static_cast<double>(weights[k]) * x;
    }
  }
}

/// Makes the vectors orthonormal, twice, so that rounding leaves nothing (Giraud et al. 2005). A vector that
/// depends on those before it becomes zero.
void orthonormalise(Block& block) {
  for (int64_t i = 0; i < block.count; ++i) {
    double* x = block.at(i);
    const double before = std::sqrt(dot(x, x, block.length));
    for (int pass = 0; pass < 2; ++pass) {
      for (int64_t j = 0; j < i; ++j) {
        const double* q = block.at(j);
        const double along = dot(q, x, block.length);
        for (int64_t k = 0; k < block.length; ++k) x[k] -= along * q[k];
      }
    }
    const double norm = std::sqrt(dot(x, x, block.length));
    const double factor = norm > 1e-12 * before ? 1.0 / norm : 0.0;
    for (int64_t k = 0; k < block.length; ++k) x[k] *= factor;
  }
}

/// Rotates pairs of vectors until all are orthogonal (one-sided Jacobi, Hestenes 1958), and `basis` with
/// them.
void jacobi(Block& block, Block& basis) {
  constexpr int kMaxSweeps = 60;
  const auto rotate = [](double* a, double* b, int64_t n, double c, double s) {
    for (int64_t k = 0; k < n; ++k) {
      const double x = a[k];
      a[k] = c * x - s * b[k];
      b[k] = s * x + c * b[k];
    }
  };
  for (int sweep = 0; sweep < kMaxSweeps; ++sweep) {
    bool rotated = false;
    for (int64_t i = 0; i < block.count; ++i) {
      for (int64_t j = i + 1; j < block.count; ++j) {
        const double aa = dot(block.at(i), block.at(i), block.length);
        const double bb = dot(block.at(j), block.at(j), block.length);
        const double ab = dot(block.at(i), block.at(j), block.length);
        if (std::abs(ab) <= 1e-14 * std::sqrt(aa * bb)) continue;
        rotated = true;
        const double zeta = (bb - aa) / (2.0 * ab);
        const double t = (zeta >= 0.0 ? 1.0 : -1.0) / (std::abs(zeta) + std::sqrt(1.0 + zeta * zeta));
        const double c = 1.0 / std::sqrt(1.0 + t * t);
        rotate(block.at(i), block.at(j), block.length, c, c * t);
        rotate(basis.at(i), basis.at(j), basis.length, c, c * t);
      }
    }
    if (!rotated) return;
  }
}

}  // namespace

SingularValues largest_singular_values(const std::vector<float>& w, int64_t rows, int64_t columns,
                                       int64_t rank, uint64_t seed, int threads) {
  constexpr int64_t kSpare = 16;  // vectors beyond the rank: the block converges by the first value left out
  constexpr int kIterations = 12;
  const int64_t count = std::min({rank + kSpare, rows, columns});
  Block right(count, columns);
  Block left(count, rows);
  for (int64_t i = 0; i < count * columns; ++i) {
    const PhiloxBlock bits = philox(seed, {static_cast<uint32_t>(i), 0, 0, 0});
    right.values[static_cast<size_t>(i)] = uniform(bits[0], bits[1]) - 0.5;
  }
  orthonormalise(right);
  for (int iteration = 0; iteration < kIterations; ++iteration) {
    multiply(left, right, w.data(), threads);
    orthonormalise(left);
    multiply_transposed(right, left, w.data(), threads);
    if (iteration + 1 < kIterations) orthonormalise(right);
  }
  // right = left^T w: rotating its vectors to be orthogonal makes their lengths the singular values.
  jacobi(right, left);
  std::vector<double> lengths;
  for (int64_t i = 0; i < count; ++i) lengths.push_back(std::sqrt(dot(right.at(i), right.at(i), columns)));
  std::vector<int64_t> order(static_cast<size_t>(count));
  std::iota(order.begin(), order.end(), 0);
  std::ranges::stable_sort(order, [&](int64_t a, int64_t b) {
    return lengths[static_cast<size_t>(a)] > lengths[static_cast<size_t>(b)];
  });
  SingularValues result;
  result.u.resize(static_cast<size_t>(rows * rank));
  for (int64_t r = 0; r < rank; ++r) {
    const int64_t from = r < count ? order[static_cast<size_t>(r)] : 0;
    const double length = r < count ? lengths[static_cast<size_t>(from)] : 0.0;
    result.s.push_back(length);
    for (int64_t i = 0; i < rows; ++i) {
      result.u[static_cast<size_t>(i * rank + r)] = length > 0.0 ? left.at(from)[i] : 0.0;
    }
    for (int64_t k = 0; k < columns; ++k) {
      result.v.push_back(length > 0.0 ? right.at(from)[k] / length : 0.0);
    }
  }
  return result;
}

}  // namespace anneal
