// The gradient's norm, and the optimisers that treat each weight alone: AdamW, Lion, SGD.
#include <cmath>

#include "backend/cpu/cpu_backend.h"
#include "backend/cpu/optimizer_parts.h"
#include "backend/cpu/parallel.h"

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "backend/cpu/optimizer.cpp"
#include <hwy/foreach_target.h>
#include <hwy/highway.h>

#include "backend/cpu/simd-inl.h"

HWY_BEFORE_NAMESPACE();
namespace anneal::cpu::HWY_NAMESPACE {

double sum_of_squares_range(const float* x, int64_t begin, int64_t end) {
  constexpr int64_t kBlock = 1024;  // summed in float lanes before it goes to double precision
  double total = 0.0;
  for (int64_t block = begin; block < end; block += kBlock) {
    Vec sum = hn::Zero(F32());
    for_each_vector(block, std::min(end, block + kBlock), [&](auto load, auto) HWY_ATTR {
      const Vec v = load(x);
      sum = hn::MulAdd(v, v, sum);
    });
    alignas(64) float lanes[kLanes];
    hn::Store(sum, F32(), lanes);
    for (const float lane : lanes) total += static_cast<double>(lane);
  }
  return total;
}

void adamw_range(float* w, float* m, float* v, const float* g, const AdamWOptions& o, int64_t begin,
                 int64_t end) {
  const F32 d;
  const Vec grad_scale = hn::Set(d, o.grad_scale);
  const Vec keep = hn::Set(d, 1.0f - o.learning_rate * o.weight_decay);
  const Vec one_minus_beta1 = hn::Set(d, 1.0f - o.beta1);
  const Vec beta2 = hn::Set(d, o.beta2);
  const Vec one_minus_beta2 = hn::Set(d, 1.0f - o.beta2);
  const Vec inverse_root2 = hn::Set(d, 1.0f / std::sqrt(o.bias_correction2));
  const Vec step = hn::Set(d, o.learning_rate / o.bias_correction1);
  const Vec eps = hn::Set(d, o.eps);
  for_each_vector(begin, end, [=](auto load, auto store) HWY_ATTR {
    const Vec gv = hn::Mul(load(g), grad_scale);
    const Vec m0 = load(m);
    const Vec m1 = hn::MulAdd(hn::Sub(gv, m0), one_minus_beta1, m0);
    const Vec v1 = hn::MulAdd(hn::Mul(gv, gv), one_minus_beta2, hn::Mul(load(v), beta2));
    const Vec denominator = hn::MulAdd(hn::Sqrt(v1), inverse_root2, eps);
    store(hn::NegMulAdd(step, hn::Div(m1, denominator), hn::Mul(load(w), keep)), w);
    store(m1, m);
    store(v1, v);
  });
}

void lion_range(float* w, float* m, const float* g, const LionOptions& o, int64_t begin, int64_t end) {
  const F32 d;
  const Vec grad_scale = hn::Set(d, o.grad_scale);
  const Vec keep = hn::Set(d, 1.0f - o.learning_rate * o.weight_decay);
  const Vec one_minus_beta1 = hn::Set(d, 1.0f - o.beta1);
  const Vec one_minus_beta2 = hn::Set(d, 1.0f - o.beta2);
  const Vec rate = hn::Set(d, o.learning_rate);
  const Vec zero = hn::Zero(d);
  for_each_vector(begin, end, [=](auto load, auto store) HWY_ATTR {
    const Vec gv = hn::Mul(load(g), grad_scale);
    const Vec m0 = load(m);
    const Vec direction = hn::MulAdd(hn::Sub(gv, m0), one_minus_beta1, m0);
    // Where the direction is zero, so is its sign.
    const Vec update = hn::IfThenElseZero(hn::Ne(direction, zero), hn::CopySign(rate, direction));
    store(hn::Sub(hn::Mul(load(w), keep), update), w);
    store(hn::MulAdd(hn::Sub(gv, m0), one_minus_beta2, m0), m);
  });
}

void sgd_range(float* w, float* m, const float* g, const SgdOptions& o, int64_t begin, int64_t end) {
  const F32 d;
  const Vec grad_scale = hn::Set(d, o.grad_scale);
  const Vec decay = hn::Set(d, o.weight_decay);
  const Vec momentum = hn::Set(d, o.momentum);
  const Vec rate = hn::Set(d, o.learning_rate);
  for_each_vector(begin, end, [=](auto load, auto store) HWY_ATTR {
    const Vec w0 = load(w);
    const Vec gv = hn::MulAdd(decay, w0, hn::Mul(load(g), grad_scale));
    const Vec m1 = hn::MulAdd(momentum, load(m), gv);
    const Vec update = o.nesterov ? hn::MulAdd(momentum, m1, gv) : m1;
    store(hn::NegMulAdd(rate, update, w0), w);
    store(m1, m);
  });
}

}  // namespace anneal::cpu::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace anneal::cpu {

HWY_EXPORT(sum_of_squares_range);
HWY_EXPORT(adamw_range);
HWY_EXPORT(lion_range);
HWY_EXPORT(sgd_range);

namespace {
constexpr int64_t kMinPerThread = 1 << 14;
}

double CpuBackend::sum_of_squares(const float* x, int64_t n) {
  return sum_of_parts(threads_, partial_sums_, n, kMinPerThread, [x](int64_t begin, int64_t end) {
    return HWY_DYNAMIC_DISPATCH(sum_of_squares_range)(x, begin, end);
  });
}

void CpuBackend::adamw(float* w, float* m, float* v, const float* g, int64_t n, const AdamWOptions& options) {
  parallel_ranges(threads_, n, kMinPerThread, [&](int64_t begin, int64_t end, int) {
    HWY_DYNAMIC_DISPATCH(adamw_range)(w, m, v, g, options, begin, end);
  });
}

void CpuBackend::lion(float* w, float* m, const float* g, int64_t n, const LionOptions& options) {
  parallel_ranges(threads_, n, kMinPerThread, [&](int64_t begin, int64_t end, int) {
    HWY_DYNAMIC_DISPATCH(lion_range)(w, m, g, options, begin, end);
  });
}

void CpuBackend::sgd(float* w, float* m, const float* g, int64_t n, const SgdOptions& options) {
  parallel_ranges(threads_, n, kMinPerThread, [&](int64_t begin, int64_t end, int) {
    HWY_DYNAMIC_DISPATCH(sgd_range)(w, m, g, options, begin, end);
  });
}

}  // namespace anneal::cpu
#endif
