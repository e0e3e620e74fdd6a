// The gradient's norm and AdamW.
#include <cmath>

#include "backend/cpu/cpu_backend.h"
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

}  // namespace anneal::cpu::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace anneal::cpu {

HWY_EXPORT(sum_of_squares_range);
HWY_EXPORT(adamw_range);

namespace {
constexpr int64_t kMinPerThread = 1 << 14;
}

double CpuBackend::sum_of_squares(const float* x, int64_t n) {
  // The parts depend on n alone, so the sum has the same bits whatever the threads.
  const auto num_sums = std::min<int64_t>(static_cast<int64_t>(partial_sums_.size()), 1 + n / kMinPerThread);
  parallel_ranges(threads_, num_sums, 1, [&](int64_t first, int64_t last, int) {
    for (int64_t part = first; part < last; ++part) {
      partial_sums_[static_cast<size_t>(part)] =
          HWY_DYNAMIC_DISPATCH(sum_of_squares_range)(x, n * part / num_sums, n * (part + 1) / num_sums);
    }
  });
  double total = 0.0;
  for (int64_t part = 0; part < num_sums; ++part) total += partial_sums_[static_cast<size_t>(part)];
  return total;
}

void CpuBackend::adamw(float* w, float* m, float* v, const float* g, int64_t n, const AdamWOptions& options) {
  parallel_ranges(threads_, n, kMinPerThread, [&](int64_t begin, int64_t end, int) {
    HWY_DYNAMIC_DISPATCH(adamw_range)(w, m, v, g, options, begin, end);
  });
}

}  // namespace anneal::cpu
#endif
