// Linear layers: matrix products by the BLAS, and up to kIndependentRows rows by dot products of our own
// (linear_rows.cpp), where a row must not depend on the others.
#include "backend/cpu/cpu_backend.h"
#include "backend/cpu/gemm.h"
#include "backend/cpu/linear_rows.h"
#include "backend/cpu/parallel.h"

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "backend/cpu/linear.cpp"
#include <hwy/foreach_target.h>
#include <hwy/highway.h>

#include "backend/cpu/simd-inl.h"

HWY_BEFORE_NAMESPACE();
namespace anneal::cpu::HWY_NAMESPACE {

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

HWY_EXPORT(bias_rows);
HWY_EXPORT(add_column_sums);

namespace {
constexpr int64_t kMinPerThread = 1 << 15;  // floats read
}  // namespace

void CpuBackend::linear_forward(float* y, const float* x, const float* w, const float* bias, int64_t T,
                                int64_t in, int64_t out, int64_t y_stride, bool accumulate) {
  if (T <= kIndependentRows) {
    parallel_ranges(threads_, out, kMinPerThread / std::max<int64_t>(1, in),
                    [&](int64_t begin, int64_t end, int) {
                      linear_rows(y, x, w, bias, T, in, in, y_stride, begin, end, accumulate);
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
