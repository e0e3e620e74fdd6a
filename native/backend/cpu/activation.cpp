// Feed-forward activations: SwiGLU, and GELU exact and by tanh.
#include "backend/cpu/cpu_backend.h"
#include "backend/cpu/parallel.h"

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "backend/cpu/activation.cpp"
#include <hwy/foreach_target.h>
#include <hwy/highway.h>

#include "backend/cpu/simd-inl.h"

HWY_BEFORE_NAMESPACE();
namespace anneal::cpu::HWY_NAMESPACE {

/// The normal distribution's cumulative function, (1 + erf(x / sqrt 2)) / 2. With a = |x| / sqrt 2 and
/// t = 1 / (1 + a / 2), erfc(a) = t exp(P(t) - a^2): the left tail keeps its relative precision.
HWY_INLINE Vec normal_cdf(Vec x) {
  const F32 d;
  const Vec one = hn::Set(d, 1.0f);
  const Vec a = hn::Mul(hn::Abs(x), hn::Set(d, 0.70710678f));
  const Vec t = hn::Div(one, hn::MulAdd(a, hn::Set(d, 0.5f), one));
  constexpr float kCoefficients[] = {-0.816410124f, 1.47133124f,  -1.10795045f, 0.253336281f, -0.171611056f,
                                     0.0916300565f, 0.375148177f, 0.999910653f, -1.26550746f};
  Vec p = hn::Set(d, 0.170122772f);
  for (const float c : kCoefficients) p = hn::MulAdd(p, t, hn::Set(d, c));
  const Vec half_erfc = hn::Mul(hn::Mul(t, hn::Set(d, 0.5f)), exp(hn::NegMulAdd(a, a, p)));
  return hn::IfThenElse(hn::Lt(x, hn::Zero(d)), half_erfc, hn::Sub(one, half_erfc));
}

/// The argument of GELU's tanh form, doubled: x (1 + tanh(u)) / 2 = x sigmoid(2 u). Also its slope.
HWY_INLINE Vec gelu_tanh_argument(Vec x, Vec& slope) {
  const F32 d;
  const Vec c0 = hn::Set(d, 1.59576912f);  // 2 sqrt(2 / pi)
  const Vec c1 = hn::Set(d, 1.59576912f * 0.044715f);
  const Vec x2 = hn::Mul(x, x);
  slope = hn::MulAdd(hn::Mul(hn::Set(d, 3.0f), c1), x2, c0);
  return hn::Mul(x, hn::MulAdd(c1, x2, c0));
}

void swiglu_forward_rows(float* out, const float* in, int64_t F, int64_t begin, int64_t end) {
  for (int64_t t = begin; t < end; ++t) {
    const float* gate = in + t * 2 * F;
    const float* up = gate + F;
    float* row = out + t * F;
    for_each_vector(0, F, [=](auto load, auto store) HWY_ATTR {
      const Vec g = load(gate);
      store(hn::Mul(hn::Mul(g, sigmoid(g)), load(up)), row);
    });
  }
}

void swiglu_backward_rows(float* d_in, const float* d_out, const float* in, int64_t F, int64_t begin,
                          int64_t end) {
  const Vec one = hn::Set(F32(), 1.0f);
  for (int64_t t = begin; t < end; ++t) {
    const float* gate = in + t * 2 * F;
    const float* up = gate + F;
    const float* dy = d_out + t * F;
    float* d_gate = d_in + t * 2 * F;
    float* d_up = d_gate + F;
    for_each_vector(0, F, [=](auto load, auto store) HWY_ATTR {
      const Vec g = load(gate);
      const Vec u = load(up);
      const Vec dv = load(dy);
      const Vec s = sigmoid(g);
      const Vec silu = hn::Mul(g, s);
      // d silu / d g = s (1 + g (1 - s)) = s + silu (1 - s)
      const Vec slope = hn::MulAdd(silu, hn::Sub(one, s), s);
      store(hn::Mul(hn::Mul(dv, u), slope), d_gate);
      store(hn::Mul(dv, silu), d_up);
    });
  }
}

void gelu_forward_range(float* out, const float* in, bool exact, int64_t begin, int64_t end) {
  for_each_vector(begin, end, [=](auto load, auto store) HWY_ATTR {
    const Vec x = load(in);
    Vec slope;
    store(hn::Mul(x, exact ? normal_cdf(x) : sigmoid(gelu_tanh_argument(x, slope))), out);
  });
}

void gelu_backward_range(float* d_in, const float* d_out, const float* in, bool exact, int64_t begin,
                         int64_t end) {
  const F32 d;
  for_each_vector(begin, end, [=](auto load, auto store) HWY_ATTR {
    const Vec x = load(in);
    Vec gradient;
    if (exact) {
      const Vec density = hn::Mul(hn::Set(d, 0.39894228f), exp(hn::Mul(hn::Mul(x, x), hn::Set(d, -0.5f))));
      gradient = hn::MulAdd(x, density, normal_cdf(x));
    } else {
      Vec slope;
      const Vec s = sigmoid(gelu_tanh_argument(x, slope));
      const Vec ds = hn::Mul(hn::Mul(s, hn::Sub(hn::Set(d, 1.0f), s)), slope);
      gradient = hn::MulAdd(x, ds, s);
    }
    store(hn::Mul(load(d_out), gradient), d_in);
  });
}

}  // namespace anneal::cpu::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace anneal::cpu {

HWY_EXPORT(swiglu_forward_rows);
HWY_EXPORT(swiglu_backward_rows);
HWY_EXPORT(gelu_forward_range);
HWY_EXPORT(gelu_backward_range);

namespace {
constexpr int64_t kMinPerThread = 1 << 13;  // outputs
}

void CpuBackend::activation_forward(float* out, const float* in, Activation kind, int64_t T, int64_t F) {
  if (kind == Activation::kSwiGlu) {
    parallel_ranges(threads_, T, kMinPerThread / std::max<int64_t>(1, F),
                    [&](int64_t begin, int64_t end, int) {
                      HWY_DYNAMIC_DISPATCH(swiglu_forward_rows)(out, in, F, begin, end);
                    });
    return;
  }
  parallel_ranges(threads_, T * F, kMinPerThread, [&](int64_t begin, int64_t end, int) {
    HWY_DYNAMIC_DISPATCH(gelu_forward_range)(out, in, kind == Activation::kGelu, begin, end);
  });
}

void CpuBackend::activation_backward(float* d_in, const float* d_out, const float* in, Activation kind,
                                     int64_t T, int64_t F) {
  if (kind == Activation::kSwiGlu) {
    parallel_ranges(threads_, T, kMinPerThread / std::max<int64_t>(1, F),
                    [&](int64_t begin, int64_t end, int) {
                      HWY_DYNAMIC_DISPATCH(swiglu_backward_rows)(d_in, d_out, in, F, begin, end);
                    });
    return;
  }
  parallel_ranges(threads_, T * F, kMinPerThread, [&](int64_t begin, int64_t end, int) {
    HWY_DYNAMIC_DISPATCH(gelu_backward_range)(d_in, d_out, in, kind == Activation::kGelu, begin, end);
  });
}

}  // namespace anneal::cpu
#endif
