// Weight-decomposed low-rank updates: lengths of the rows of W + s B A, and the scaling of the output by
// them.
#include <algorithm>
#include <cmath>

#include "backend/cpu/cpu_backend.h"
#include "backend/cpu/gemm.h"
#include "backend/cpu/parallel.h"

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "backend/cpu/dora.cpp"
#include <hwy/foreach_target.h>
#include <hwy/highway.h>

#include "backend/cpu/simd-inl.h"

HWY_BEFORE_NAMESPACE();
namespace anneal::cpu::HWY_NAMESPACE {

/// Sum of squares of a row.
double square_length(const float* x, int64_t n) {
  constexpr int64_t kBlock = 1024;  // summed in float lanes before it goes to double precision
  double total = 0.0;
  for (int64_t block = 0; block < n; block += kBlock) {
    Vec sum = hn::Zero(F32());
    for_each_vector(block, std::min(n, block + kBlock), [&](auto load, auto) HWY_ATTR {
      const Vec v = load(x);
      sum = hn::MulAdd(v, v, sum);
    });
    total += static_cast<double>(sum_lanes(sum));
  }
  return total;
}

/// y = magnitude * inverse_norm * x + bias for rows [begin, end).
void gain_rows(float* y, const float* x, const float* magnitude, const float* inverse_norm, const float* bias,
               int64_t out, int64_t stride, int64_t begin, int64_t end, bool accumulate) {
  for (int64_t t = begin; t < end; ++t) {
    float* to = y + t * stride;
    const float* from = x + t * stride;
    for_each_vector(0, out, [=](auto load, auto store) HWY_ATTR {
      Vec sum = accumulate ? load(to) : hn::Zero(F32());
      if (bias != nullptr) sum = hn::Add(sum, load(bias));
      store(hn::MulAdd(hn::Mul(load(magnitude), load(inverse_norm)), load(from), sum), to);
    });
  }
}

/// d_magnitude += inverse_norm * column sums of dy * x, for columns [begin, end).
void magnitude_gradient(float* d_magnitude, const float* dy, const float* x, const float* inverse_norm,
                        int64_t T, int64_t stride, int64_t begin, int64_t end) {
  for_each_vector(begin, end, [=](auto load, auto store) HWY_ATTR {
    Vec sum = hn::Zero(F32());
    for (int64_t t = 0; t < T; ++t) sum = hn::MulAdd(load(dy + t * stride), load(x + t * stride), sum);
    store(hn::MulAdd(sum, load(inverse_norm), load(d_magnitude)), d_magnitude);
  });
}

}  // namespace anneal::cpu::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace anneal::cpu {

HWY_EXPORT(square_length);
HWY_EXPORT(gain_rows);
HWY_EXPORT(magnitude_gradient);

namespace {
constexpr int64_t kMinPerThread = 1 << 15;  // floats read

int64_t align(int64_t floats) { return (floats + 15) / 16 * 16; }
}  // namespace

size_t CpuBackend::dora_inverse_norm_workspace(const LowRank& update) const {
  return static_cast<size_t>(align(update.out * update.rank) + update.rank * update.rank) * sizeof(float);
}

void CpuBackend::dora_inverse_norm(float* inverse_norm, const float* w, const LowRank& update,
                                   float* workspace) {
  const int64_t R = update.rank;
  float* aw = workspace;                          // [out, R]: row o is A w_o
  float* aa = workspace + align(update.out * R);  // [R, R]: A A^T
  linear_forward(aw, w, update.a, nullptr, update.out, update.in, R, R, false);
  linear_forward(aa, update.a, update.a, nullptr, R, update.in, R, R, false);
  const auto s = static_cast<double>(update.scale);
  parallel_ranges(threads_, update.out, kMinPerThread / std::max<int64_t>(1, update.in),
                  [&](int64_t begin, int64_t end, int) {
                    for (int64_t o = begin; o < end; ++o) {
                      const float* b = update.b + o * R;
                      double cross = 0.0;
                      double own = 0.0;
                      for (int64_t i = 0; i < R; ++i) {
                        const auto bi = static_cast<double>(b[i]);
                        cross += bi * static_cast<double>(aw[o * R + i]);
                        for (int64_t j = 0; j < R; ++j) {
                          own += bi * static_cast<double>(b[j]) * static_cast<double>(aa[i * R + j]);
                        }
                      }
                      const double square = HWY_DYNAMIC_DISPATCH(square_length)(w + o * update.in, update.in);
                      const double length = std::sqrt(std::max(0.0, square + 2.0 * s * cross + s * s * own));
                      inverse_norm[o] = static_cast<float>(1.0 / length);
                    }
                  });
}

void CpuBackend::dora_forward(float* y, const float* x, const float* magnitude, const float* inverse_norm,
                              const float* bias, int64_t T, int64_t out, int64_t stride, bool accumulate) {
  parallel_ranges(threads_, T, kMinPerThread / std::max<int64_t>(1, out),
                  [&](int64_t begin, int64_t end, int) {
                    HWY_DYNAMIC_DISPATCH(gain_rows)
                    (y, x, magnitude, inverse_norm, bias, out, stride, begin, end, accumulate);
                  });
}

void CpuBackend::dora_backward(float* dx, float* d_magnitude, const float* dy, const float* x,
                               const float* magnitude, const float* inverse_norm, int64_t T, int64_t out,
                               int64_t stride) {
  dora_forward(dx, dy, magnitude, inverse_norm, nullptr, T, out, stride, false);
  if (d_magnitude == nullptr) return;
  parallel_ranges(
      threads_, out, kMinPerThread / std::max<int64_t>(1, T), [&](int64_t begin, int64_t end, int) {
        HWY_DYNAMIC_DISPATCH(magnitude_gradient)(d_magnitude, dy, x, inverse_norm, T, stride, begin, end);
      });
}

}  // namespace anneal::cpu
#endif
