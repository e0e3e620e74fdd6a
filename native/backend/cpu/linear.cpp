// Linear layers: matrix products by the BLAS, and dot products of our own for a few rows.
//
// With few rows (generation) a product is bound by reading the weights once from memory; a BLAS would first
// copy them into its packed form. There each weight row is read once and multiplied with all rows of x.
#include "backend/cpu/cpu_backend.h"
#include "backend/cpu/gemm.h"
#include "backend/cpu/parallel.h"

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "backend/cpu/linear.cpp"
#include <hwy/foreach_target.h>
#include <hwy/highway.h>

#include "backend/cpu/simd-inl.h"

HWY_BEFORE_NAMESPACE();
namespace anneal::cpu::HWY_NAMESPACE {

/// dots[r][t] = w row r . x row t for R weight rows and N rows of x, both `in` floats apart.
template <int R, int N>
HWY_INLINE void dot_block(float* dots, const float* w, const float* x, int64_t in) {
  const F32 d;
  Vec acc[R][N];
  for (auto& row : acc) {
    for (Vec& a : row) a = hn::Zero(d);
  }
  for_each_vector(0, in, [&](auto load, auto) HWY_ATTR {
    Vec xv[N];
    for (int t = 0; t < N; ++t) xv[t] = load(x + t * in);
    for (int r = 0; r < R; ++r) {
      const Vec wv = load(w + r * in);
      for (int t = 0; t < N; ++t) acc[r][t] = hn::MulAdd(wv, xv[t], acc[r][t]);
    }
  });
  for (int r = 0; r < R; ++r) {
    for (int t = 0; t < N; ++t) dots[r * N + t] = sum_lanes(acc[r][t]);
  }
}

/// Output columns o .. o + R of all T rows, in groups of N rows.
template <int R, int N>
HWY_INLINE int64_t linear_rows(float* y, const float* x, const float* w, const float* bias, int64_t t,
                               int64_t T, int64_t in, int64_t out, int64_t o, bool accumulate) {
  float dots[R * N];
  for (; t + N <= T; t += N) {
    dot_block<R, N>(dots, w + o * in, x + t * in, in);
    for (int r = 0; r < R; ++r) {
      for (int n = 0; n < N; ++n) {
        float& to = y[(t + n) * out + o + r];
        to = (accumulate ? to : 0.0f) + dots[r * N + n] + (bias != nullptr ? bias[o + r] : 0.0f);
      }
    }
  }
  return t;
}

template <int R>
HWY_INLINE void linear_columns(float* y, const float* x, const float* w, const float* bias, int64_t T,
                               int64_t in, int64_t out, int64_t o, bool accumulate) {
  int64_t t = linear_rows<R, 4>(y, x, w, bias, 0, T, in, out, o, accumulate);
  t = linear_rows<R, 2>(y, x, w, bias, t, T, in, out, o, accumulate);
  linear_rows<R, 1>(y, x, w, bias, t, T, in, out, o, accumulate);
}

/// Output columns [begin, end) of all T rows.
void linear_few_rows(float* y, const float* x, const float* w, const float* bias, int64_t T, int64_t in,
                     int64_t out, int64_t begin, int64_t end, bool accumulate) {
  int64_t o = begin;
  for (; o + 2 <= end; o += 2) linear_columns<2>(y, x, w, bias, T, in, out, o, accumulate);
  if (o < end) linear_columns<1>(y, x, w, bias, T, in, out, o, accumulate);
}

/// y[t, :] = bias, or += bias, for rows [begin, end).
void bias_rows(float* y, const float* bias, int64_t out, int64_t begin, int64_t end, bool accumulate) {
  for (int64_t t = begin; t < end; ++t) {
    float* row = y + t * out;
    for_each_vector(0, out, [=](auto load, auto store) HWY_ATTR {
      store(accumulate ? hn::Add(load(row), load(bias)) : load(bias), row);
    });
  }
}

/// sums[i] += sum over t of x[t, i], for columns [begin, end).
void add_column_sums(float* sums, const float* x, int64_t T, int64_t width, int64_t begin, int64_t end) {
  for_each_vector(begin, end, [=](auto load, auto store) HWY_ATTR {
    Vec sum = load(sums);
    for (int64_t t = 0; t < T; ++t) sum = hn::Add(sum, load(x + t * width));
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
constexpr int64_t kFewRows = 16;            // up to here our dot products are faster than the BLAS
constexpr int64_t kMinPerThread = 1 << 15;  // floats read
}  // namespace

void CpuBackend::linear_forward(float* y, const float* x, const float* w, const float* bias, int64_t T,
                                int64_t in, int64_t out, bool accumulate) {
  if (T <= kFewRows) {
    parallel_ranges(
        threads_, out, kMinPerThread / std::max<int64_t>(1, in), [&](int64_t begin, int64_t end, int) {
          HWY_DYNAMIC_DISPATCH(linear_few_rows)(y, x, w, bias, T, in, out, begin, end, accumulate);
        });
    return;
  }
  if (bias != nullptr) {
    parallel_ranges(threads_, T, kMinPerThread / std::max<int64_t>(1, out),
                    [&](int64_t begin, int64_t end, int) {
                      HWY_DYNAMIC_DISPATCH(bias_rows)(y, bias, out, begin, end, accumulate);
                    });
  }
  gemm(threads_, false, true, T, out, in, x, w, accumulate || bias != nullptr ? 1.0f : 0.0f, y);
}

void CpuBackend::linear_backward_input(float* dx, const float* dy, const float* w, int64_t T, int64_t in,
                                       int64_t out, bool accumulate) {
  gemm(threads_, false, false, T, in, out, dy, w, accumulate ? 1.0f : 0.0f, dx);
}

void CpuBackend::linear_backward_weight(float* dw, float* d_bias, const float* dy, const float* x, int64_t T,
                                        int64_t in, int64_t out) {
  gemm(threads_, true, false, out, in, T, dy, x, 1.0f, dw);
  if (d_bias != nullptr) {
    parallel_ranges(threads_, out, kMinPerThread / std::max<int64_t>(1, T),
                    [&](int64_t begin, int64_t end, int) {
                      HWY_DYNAMIC_DISPATCH(add_column_sums)(d_bias, dy, T, out, begin, end);
                    });
  }
}

}  // namespace anneal::cpu
#endif
