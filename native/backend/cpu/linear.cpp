// Linear layers: matrix products by the BLAS, and dot products of our own for a few rows.
//
// With few rows (generation) a product is bound by reading the weights once from memory; a BLAS would first
// copy them into its packed form. There each weight row is read once and multiplied with all rows of x.
#include "backend/cpu/cpu_backend.h"
#include "backend/cpu/gemm.h"
#include "backend/cpu/parallel.h"

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "backend/cpu/linear.cpp"
#include <hwy/cache_control.h>
#include <hwy/foreach_target.h>
#include <hwy/highway.h>

#include "backend/cpu/simd-inl.h"

HWY_BEFORE_NAMESPACE();
namespace anneal::cpu::HWY_NAMESPACE {

/// Results kept in registers: kWeightRows x kInputRows of the two operands' rows.
constexpr int kWeightRows = HWY_TARGET == HWY_AVX3 ? 4 : 2;
constexpr int kInputRows = 4;

/// y[t, r] (+)= w row r . x row t + bias[r] for R weight rows and N rows of x, both `in` floats apart.
template <int R, int N>
HWY_INLINE void dot_block(float* y, int64_t y_stride, const float* w, const float* x, const float* bias,
                          int64_t in, bool accumulate) {
  const F32 d;
  // One row alone is summed in several vectors, so that its additions need not wait for each other.
  constexpr int kWays = R * N == 1 ? 4 : 1;
  Vec acc[R][N][kWays];
  for (int r = 0; r < R; ++r) {
    for (int t = 0; t < N; ++t) {
      for (int i = 0; i < kWays; ++i) acc[r][t][i] = hn::Zero(d);
    }
  }
  int64_t k = 0;
  for (; k + kWays * kLanes <= in; k += kWays * kLanes) {
    for (int i = 0; i < kWays; ++i) {
      Vec xv[N];
      for (int t = 0; t < N; ++t) xv[t] = hn::LoadU(d, x + t * in + k + i * kLanes);
      for (int r = 0; r < R; ++r) {
        const float* weights = w + r * in + k + i * kLanes;
        hwy::Prefetch(weights + R * in);  // the next call's
        const Vec wv = hn::LoadU(d, weights);
        for (int t = 0; t < N; ++t) acc[r][t][i] = hn::MulAdd(wv, xv[t], acc[r][t][i]);
      }
    }
  }
  for_each_vector(k, in, [&](auto load, auto) HWY_ATTR {
    for (int r = 0; r < R; ++r) {
      const Vec wv = load(w + r * in);
      for (int t = 0; t < N; ++t) acc[r][t][0] = hn::MulAdd(wv, load(x + t * in), acc[r][t][0]);
    }
  });
  for (int r = 0; r < R; ++r) {
    for (int t = 0; t < N; ++t) {
      for (int i = 1; i < kWays; ++i) acc[r][t][0] = hn::Add(acc[r][t][0], acc[r][t][i]);
      float& to = y[t * y_stride + r];
      to = (accumulate ? to : 0.0f) + sum_lanes(acc[r][t][0]) + (bias != nullptr ? bias[r] : 0.0f);
    }
  }
}

/// R columns of the output for all T rows.
template <int R>
HWY_INLINE void few_rows_columns(float* y, const float* x, const float* w, const float* bias, int64_t T,
                                 int64_t in, int64_t y_stride, bool accumulate) {
  int64_t t = 0;
  for (; t + kInputRows <= T; t += kInputRows) {
    dot_block<R, kInputRows>(y + t * y_stride, y_stride, w, x + t * in, bias, in, accumulate);
  }
  for (; t + 2 <= T; t += 2) dot_block<R, 2>(y + t * y_stride, y_stride, w, x + t * in, bias, in, accumulate);
  if (t < T) dot_block<R, 1>(y + t * y_stride, y_stride, w, x + t * in, bias, in, accumulate);
}

/// Output columns [begin, end) of all T rows.
void linear_few_rows(float* y, const float* x, const float* w, const float* bias, int64_t T, int64_t in,
                     int64_t y_stride, int64_t begin, int64_t end, bool accumulate) {
  int64_t o = begin;
  const auto columns = [&](auto count) HWY_ATTR {
    constexpr int kCount = decltype(count)::value;
    for (; o + kCount <= end; o += kCount) {
      few_rows_columns<kCount>(y + o, x, w + o * in, bias == nullptr ? nullptr : bias + o, T, in, y_stride,
                               accumulate);
    }
  };
  // One row of x reads the weights as one stream, which the hardware's prefetching likes best.
  if (T > 1) columns(std::integral_constant<int, kWeightRows>());
  columns(std::integral_constant<int, 1>());
}

/// y[t, :] = bias, or += bias, for rows [begin, end).
void bias_rows(float* y, const float* bias, int64_t out, int64_t y_stride, int64_t begin, int64_t end,
               bool accumulate) {
  for (int64_t t = begin; t < end; ++t) {
    float* row = y + t * y_stride;
    for_each_vector(0, out, [=](auto load, auto store) HWY_ATTR {
      store(accumulate ? hn::Add(load(row), load(bias)) : load(bias), row);
    });
  }
}

/// sums[i] += sum over t of x[t, i], for columns [begin, end); rows are `stride` floats apart.
void add_column_sums(float* sums, const float* x, int64_t T, int64_t stride, int64_t begin, int64_t end) {
  for_each_vector(begin, end, [=](auto load, auto store) HWY_ATTR {
    Vec sum = load(sums);
    for (int64_t t = 0; t < T; ++t) sum = hn::Add(sum, load(x + t * stride));
    store(sum, sums);
  });
}

}  // namespace anneal::cpu::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace anneal::cpu {

HWY_EXPORT(linear_few_rows);
HWY_EXPORT(bias_rows);
HWY_EXPORT(add_column_sums);

namespace {
constexpr int64_t kFewRows = 96;            // up to here our dot products are faster than the BLAS
constexpr int64_t kMinPerThread = 1 << 15;  // floats read
}  // namespace

void CpuBackend::linear_forward(float* y, const float* x, const float* w, const float* bias, int64_t T,
                                int64_t in, int64_t out, int64_t y_stride, bool accumulate) {
  if (T <= kFewRows) {
    parallel_ranges(
        threads_, out, kMinPerThread / std::max<int64_t>(1, in), [&](int64_t begin, int64_t end, int) {
          HWY_DYNAMIC_DISPATCH(linear_few_rows)(y, x, w, bias, T, in, y_stride, begin, end, accumulate);
        });
    return;
  }
  if (bias != nullptr) {
    parallel_ranges(threads_, T, kMinPerThread / std::max<int64_t>(1, out),
                    [&](int64_t begin, int64_t end, int) {
                      HWY_DYNAMIC_DISPATCH(bias_rows)(y, bias, out, y_stride, begin, end, accumulate);
                    });
  }
  gemm(threads_, T, out, in, 1.0f, {x, in}, {w, in, true}, accumulate || bias != nullptr ? 1.0f : 0.0f, y,
       y_stride);
}

void CpuBackend::linear_backward_input(float* dx, const float* dy, const float* w, int64_t T, int64_t in,
                                       int64_t out, int64_t y_stride, bool accumulate) {
  gemm(threads_, T, in, out, 1.0f, {dy, y_stride}, {w, in}, accumulate ? 1.0f : 0.0f, dx, in);
}

void CpuBackend::linear_backward_weight(float* dw, float* d_bias, const float* dy, const float* x, int64_t T,
                                        int64_t in, int64_t out, int64_t y_stride) {
  if (dw != nullptr) gemm(threads_, out, in, T, 1.0f, {dy, y_stride, true}, {x, in}, 1.0f, dw, in);
  if (d_bias != nullptr) {
    parallel_ranges(threads_, out, kMinPerThread / std::max<int64_t>(1, T),
                    [&](int64_t begin, int64_t end, int) {
                      HWY_DYNAMIC_DISPATCH(add_column_sums)(d_bias, dy, T, y_stride, begin, end);
                    });
  }
}

}  // namespace anneal::cpu
#endif
