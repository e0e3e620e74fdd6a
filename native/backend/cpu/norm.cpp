// RMSNorm and LayerNorm over the last dimension.
//
// Parameter gradients are sums over all rows: each part of the rows sums into its own piece of the workspace,
// and the pieces are then added in order.
#include <algorithm>
#include <cmath>

#include "backend/cpu/cpu_backend.h"
#include "backend/cpu/parallel.h"

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "backend/cpu/norm.cpp"
#include <hwy/foreach_target.h>
#include <hwy/highway.h>

#include "backend/cpu/simd-inl.h"

#ifndef ANNEAL_CPU_NORM_ARGUMENTS
#define ANNEAL_CPU_NORM_ARGUMENTS
namespace anneal::cpu {
struct RmsNormGradient {
  float* dx;
  const float *dy, *x, *w, *rstd;
  int64_t groups, D, x_stride, dy_stride;
  bool accumulate;
};
struct LayerNormGradient {
  float* dx;
  const float *dy, *x, *w, *mean, *rstd;
  int64_t D;
  bool accumulate;
};
}  // namespace anneal::cpu
#endif

HWY_BEFORE_NAMESPACE();
namespace anneal::cpu::HWY_NAMESPACE {

void rms_norm_rows(float* y, float* rstd, const float* x, const float* w, int64_t groups, int64_t D,
                   int64_t x_stride, int64_t y_stride, float eps, int64_t begin, int64_t end) {
  const F32 d;
  for (int64_t t = begin; t < end; ++t) {
    for (int64_t g = 0; g < groups; ++g) {
      const float* xr = x + t * x_stride + g * D;
      float* yr = y + t * y_stride + g * D;
      Vec squares = hn::Zero(d);
      for_each_vector(0, D, [&](auto load, auto) HWY_ATTR {
        const Vec v = load(xr);
        squares = hn::MulAdd(v, v, squares);
      });
      const float r = 1.0f / std::sqrt(sum_lanes(squares) / static_cast<float>(D) + eps);
      const Vec rv = hn::Set(d, r);
      for_each_vector(
          0, D, [=](auto load, auto store) HWY_ATTR { store(hn::Mul(hn::Mul(load(xr), rv), load(w)), yr); });
      if (rstd != nullptr) rstd[t * groups + g] = r;
    }
  }
}

/// With xh = x rstd and g = dy w: dx = rstd (g - xh mean(g xh)); dw += dy xh. dx may be dy or x.
void rms_norm_gradient_rows(const RmsNormGradient& a, float* dw, int64_t begin, int64_t end) {
  const F32 d;
  for (int64_t t = begin; t < end; ++t) {
    for (int64_t g = 0; g < a.groups; ++g) {
      const float* xr = a.x + t * a.x_stride + g * a.D;
      const float* dyr = a.dy + t * a.dy_stride + g * a.D;
      float* dxr = a.dx + t * a.x_stride + g * a.D;
      const float* w = a.w;
      const float r = a.rstd[t * a.groups + g];
      const Vec rv = hn::Set(d, r);
      Vec dot = hn::Zero(d);
      for_each_vector(0, a.D, [&](auto load, auto store) HWY_ATTR {
        const Vec dy_xh = hn::Mul(load(dyr), hn::Mul(load(xr), rv));
        dot = hn::MulAdd(dy_xh, load(w), dot);
        store(hn::Add(load(dw), dy_xh), dw);
      });
      const Vec c = hn::Set(d, r * sum_lanes(dot) / static_cast<float>(a.D));
      const bool accumulate = a.accumulate;
      for_each_vector(0, a.D, [=](auto load, auto store) HWY_ATTR {
        const Vec gradient = hn::NegMulAdd(load(xr), c, hn::Mul(load(dyr), load(w)));
        store(hn::MulAdd(gradient, rv, accumulate ? load(dxr) : hn::Zero(F32())), dxr);
      });
    }
  }
}

/// Sum of (x[i] - mean)^2.
HWY_INLINE float squared_deviations(const float* x, int64_t D, Vec mean) {
  const F32 d;
  Vec squares = hn::Zero(d);
  int64_t i = 0;
  for (; i + kLanes <= D; i += kLanes) {
    const Vec v = hn::Sub(hn::LoadU(d, x + i), mean);
    squares = hn::MulAdd(v, v, squares);
  }
  if (i < D) {
    const auto live = hn::FirstN(d, static_cast<size_t>(D - i));
    const Vec v = hn::IfThenElseZero(live, hn::Sub(load_tail(x + i, D - i), mean));
    squares = hn::MulAdd(v, v, squares);
  }
  return sum_lanes(squares);
}

void layer_norm_rows(float* y, float* mean, float* rstd, const float* x, const float* w, const float* b,
                     int64_t D, float eps, int64_t begin, int64_t end) {
  const F32 d;
  for (int64_t t = begin; t < end; ++t) {
    const float* xr = x + t * D;
    float* yr = y + t * D;
    Vec sum = hn::Zero(d);
    for_each_vector(0, D, [&](auto load, auto) HWY_ATTR { sum = hn::Add(sum, load(xr)); });
    const float m = sum_lanes(sum) / static_cast<float>(D);
    const Vec mv = hn::Set(d, m);
    const float variance = squared_deviations(xr, D, mv) / static_cast<float>(D);
    const float r = 1.0f / std::sqrt(variance + eps);
    const Vec rv = hn::Set(d, r);
    for_each_vector(0, D, [=](auto load, auto store) HWY_ATTR {
      store(hn::MulAdd(hn::Mul(hn::Sub(load(xr), mv), rv), load(w), load(b)), yr);
    });
    if (mean != nullptr) mean[t] = m;
    if (rstd != nullptr) rstd[t] = r;
  }
}

/// With xh = (x - mean) rstd and g = dy w: dx = rstd (g - mean(g) - xh mean(g xh)); dw += dy xh; db += dy.
void layer_norm_gradient_rows(const LayerNormGradient& a, float* dw, float* db, int64_t begin, int64_t end) {
  const F32 d;
  for (int64_t t = begin; t < end; ++t) {
    const float* xr = a.x + t * a.D;
    const float* dyr = a.dy + t * a.D;
    float* dxr = a.dx + t * a.D;
    const float* w = a.w;
    const Vec mv = hn::Set(d, a.mean[t]);
    const Vec rv = hn::Set(d, a.rstd[t]);
    Vec sum = hn::Zero(d);
    Vec dot = hn::Zero(d);
    for_each_vector(0, a.D, [&](auto load, auto store) HWY_ATTR {
      const Vec dy = load(dyr);
      const Vec g = hn::Mul(dy, load(w));  // 0 in idle lanes
      const Vec xh = hn::Mul(hn::Sub(load(xr), mv), rv);
      sum = hn::Add(sum, g);
      dot = hn::MulAdd(g, xh, dot);
      store(hn::MulAdd(dy, xh, load(dw)), dw);
      store(hn::Add(load(db), dy), db);
    });
    const Vec c0 = hn::Set(d, sum_lanes(sum) / static_cast<float>(a.D));
    const Vec c1 = hn::Set(d, sum_lanes(dot) / static_cast<float>(a.D));
    const bool accumulate = a.accumulate;
    for_each_vector(0, a.D, [=](auto load, auto store) HWY_ATTR {
      const Vec xh = hn::Mul(hn::Sub(load(xr), mv), rv);
      const Vec gradient = hn::Sub(hn::NegMulAdd(xh, c1, hn::Mul(load(dyr), load(w))), c0);
      store(hn::MulAdd(gradient, rv, accumulate ? load(dxr) : hn::Zero(F32())), dxr);
    });
  }
}

}  // namespace anneal::cpu::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace anneal::cpu {

HWY_EXPORT(rms_norm_rows);
HWY_EXPORT(rms_norm_gradient_rows);
HWY_EXPORT(layer_norm_rows);
HWY_EXPORT(layer_norm_gradient_rows);

namespace {

constexpr int64_t kMinPerThread = 1 << 14;  // elements

int64_t min_rows(int64_t D) { return kMinPerThread / std::max<int64_t>(1, D); }

/// sums[i] += pieces[0][i] + pieces[1][i] + ..., pieces `width` floats apart.
void add_pieces(float* sums, const float* pieces, int num_pieces, int64_t width, int64_t D) {
  for (int piece = 0; piece < num_pieces; ++piece) {
    for (int64_t i = 0; i < D; ++i) sums[i] += pieces[piece * width + i];
  }
}

}  // namespace

void CpuBackend::rms_norm_forward(float* y, float* rstd, const float* x, const float* w, int64_t T,
                                  int64_t groups, int64_t D, int64_t x_stride, int64_t y_stride, float eps) {
  parallel_ranges(threads_, T, min_rows(groups * D), [&](int64_t begin, int64_t end, int) {
    HWY_DYNAMIC_DISPATCH(rms_norm_rows)(y, rstd, x, w, groups, D, x_stride, y_stride, eps, begin, end);
  });
}

size_t CpuBackend::rms_norm_backward_workspace(int64_t D) const {
  return static_cast<size_t>(threads_ * D) * sizeof(float);
}

void CpuBackend::rms_norm_backward(float* dx, float* dw, const float* dy, const float* x, const float* w,
                                   const float* rstd, int64_t T, int64_t groups, int64_t D, int64_t x_stride,
                                   int64_t dy_stride, bool accumulate, float* workspace) {
  const RmsNormGradient arguments{dx, dy, x, w, rstd, groups, D, x_stride, dy_stride, accumulate};
  parallel_ranges(threads_, T, min_rows(groups * D), [&](int64_t begin, int64_t end, int part) {
    float* piece = workspace + part * D;
    std::fill_n(piece, D, 0.0f);
    HWY_DYNAMIC_DISPATCH(rms_norm_gradient_rows)(arguments, piece, begin, end);
  });
  if (dw != nullptr) add_pieces(dw, workspace, num_parts(threads_, T, min_rows(groups * D)), D, D);
}

void CpuBackend::layer_norm_forward(float* y, float* mean, float* rstd, const float* x, const float* w,
                                    const float* b, int64_t T, int64_t D, float eps) {
  parallel_ranges(threads_, T, min_rows(D), [&](int64_t begin, int64_t end, int) {
    HWY_DYNAMIC_DISPATCH(layer_norm_rows)(y, mean, rstd, x, w, b, D, eps, begin, end);
  });
}

size_t CpuBackend::layer_norm_backward_workspace(int64_t D) const {
  return 2 * static_cast<size_t>(threads_ * D) * sizeof(float);
}

void CpuBackend::layer_norm_backward(float* dx, float* dw, float* db, const float* dy, const float* x,
                                     const float* w, const float* mean, const float* rstd, int64_t T,
                                     int64_t D, bool accumulate, float* workspace) {
  const LayerNormGradient arguments{dx, dy, x, w, mean, rstd, D, accumulate};
  parallel_ranges(threads_, T, min_rows(D), [&](int64_t begin, int64_t end, int part) {
    float* piece = workspace + part * 2 * D;
    std::fill_n(piece, 2 * D, 0.0f);
    HWY_DYNAMIC_DISPATCH(layer_norm_gradient_rows)(arguments, piece, piece + D, begin, end);
  });
  const int parts = num_parts(threads_, T, min_rows(D));
  if (dw != nullptr) add_pieces(dw, workspace, parts, 2 * D, D);
  if (db != nullptr) add_pieces(db, workspace + D, parts, 2 * D, D);
}

}  // namespace anneal::cpu
#endif
