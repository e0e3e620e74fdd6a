// Muon (Jordan et al. 2024): momentum whose matrix is made nearly orthogonal by Newton-Schulz steps.
//
// With X the momentum over its Frobenius norm, in the orientation that makes A = X X^T (or X^T X) the smaller
// one, a step is X = (a I + b A + c A A) X (or from the right). Its coefficients have the steepest slope at
// zero for which the singular values stay within about [0.7, 1.2]. All in float32.
#include <array>
#include <cmath>
#include <utility>

#include "backend/cpu/cpu_backend.h"
#include "backend/cpu/gemm.h"
#include "backend/cpu/parallel.h"

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "backend/cpu/optimizer_muon.cpp"
#include <hwy/foreach_target.h>
#include <hwy/highway.h>

#include "backend/cpu/simd-inl.h"

HWY_BEFORE_NAMESPACE();
namespace anneal::cpu::HWY_NAMESPACE {

/// m = momentum m + (1 - momentum) g; x = m, or with Nesterov momentum m + (1 - momentum) g once more.
void muon_momentum_range(float* x, float* m, const float* g, const MuonOptions& o, int64_t begin,
                         int64_t end) {
  const F32 d;
  const Vec grad_scale = hn::Set(d, o.grad_scale);
  const Vec one_minus_momentum = hn::Set(d, 1.0f - o.momentum);
  for_each_vector(begin, end, [=](auto load, auto store) HWY_ATTR {
    const Vec gv = hn::Mul(load(g), grad_scale);
    const Vec m0 = load(m);
    const Vec m1 = hn::MulAdd(hn::Sub(gv, m0), one_minus_momentum, m0);
    store(m1, m);
    store(o.nesterov ? hn::MulAdd(hn::Sub(gv, m1), one_minus_momentum, m1) : m1, x);
  });
}

void muon_apply_range(float* w, const float* x, const MuonOptions& o, int64_t begin, int64_t end) {
  const Vec keep = hn::Set(F32(), 1.0f - o.learning_rate * o.weight_decay);
  const Vec rate = hn::Set(F32(), o.learning_rate * o.update_scale);
  for_each_vector(begin, end, [=](auto load, auto store) HWY_ATTR {
    store(hn::NegMulAdd(rate, load(x), hn::Mul(load(w), keep)), w);
  });
}

}  // namespace anneal::cpu::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace anneal::cpu {

HWY_EXPORT(muon_momentum_range);
HWY_EXPORT(muon_apply_range);

namespace {

constexpr int64_t kMinPerThread = 1 << 14;
constexpr int kSteps = 5;
constexpr float kA = 3.4445f, kB = -4.7750f, kC = 2.0315f;
constexpr double kLowestNorm = 1e-7;

/// out[n, n] = alpha x x^T + beta out, x being [n, k] ([k, n] if transposed): half the work of a product,
/// then mirrored.
void symmetric_product(int threads, bool transpose, int64_t n, int64_t k, float alpha, const float* x,
                       float beta, float* out) {
  if (omp_get_max_threads() != threads) omp_set_num_threads(threads);
  const auto size = static_cast<blasint>(n);
  cblas_ssyrk(CblasRowMajor, CblasUpper, transpose ? CblasTrans : CblasNoTrans, size, static_cast<blasint>(k),
              alpha, x, transpose ? size : static_cast<blasint>(k), beta, out, size);
  constexpr int64_t kTile = 32;
  for (int64_t row = 0; row < n; row += kTile) {
    for (int64_t column = 0; column <= row; column += kTile) {
      for (int64_t i = row; i < std::min(n, row + kTile); ++i) {
        for (int64_t j = column; j < std::min(i, column + kTile); ++j) out[i * n + j] = out[j * n + i];
      }
    }
  }
}

}  // namespace

size_t CpuBackend::muon_workspace(int64_t rows, int64_t columns) const {
  const int64_t n = std::min(rows, columns);
  return static_cast<size_t>(2 * (rows * columns + n * n)) * sizeof(float);
}

void CpuBackend::muon(float* w, float* m, const float* g, int64_t rows, int64_t columns,
                      const MuonOptions& options, float* workspace) {
  const int64_t size = rows * columns;
  const int64_t n = std::min(rows, columns);
  const bool tall = rows > columns;
  float* x = workspace;
  float* next = x + size;
  float* gram = next + size;
  float* polynomial = gram + n * n;
  parallel_ranges(threads_, size, kMinPerThread, [&](int64_t begin, int64_t end, int) {
    HWY_DYNAMIC_DISPATCH(muon_momentum_range)(x, m, g, options, begin, end);
  });
  scale(x, static_cast<float>(1.0 / std::max(std::sqrt(sum_of_squares(x, size)), kLowestNorm)), size);
  for (int step = 0; step < kSteps; ++step) {
    symmetric_product(threads_, tall, n, std::max(rows, columns), 1.0f, x, 0.0f, gram);
    copy(polynomial, gram, static_cast<size_t>(n * n) * sizeof(float));
    symmetric_product(threads_, false, n, n, kC, gram, kB, polynomial);
    for (int64_t i = 0; i < n; ++i) polynomial[i * n + i] += kA;
    if (tall) {
      gemm(threads_, false, false, rows, columns, n, x, polynomial, 0.0f, next);
    } else {
      gemm(threads_, false, false, rows, columns, n, polynomial, x, 0.0f, next);
    }
    std::swap(x, next);
  }
  parallel_ranges(threads_, size, kMinPerThread, [&](int64_t begin, int64_t end, int) {
    HWY_DYNAMIC_DISPATCH(muon_apply_range)(w, x, options, begin, end);
  });
}

}  // namespace anneal::cpu
#endif
